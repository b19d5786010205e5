"""Brands, goods, flavours and colours the invented packages are made from. All names are ours."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Blue, green, red, 0-255."""

BRANDS = (
    "Korvo", "Lumi", "Tavola", "Brisk", "Norrsken", "Ombra", "Pikko", "Fjella", "Zesta", "Halvard",
    "Mirelle", "Quill", "Sundby", "Taro", "Velling", "Wendo", "Yarrow", "Amble", "Bexa", "Cirro",
    "Dunmore", "Elko", "Faro", "Grana", "Hodge", "Ivalo", "Jolt", "Kestrel", "Lark", "Mondo",
)  # fmt: skip

GOODS = {
    "box": ("Muesli", "Crackers", "Green Tea", "Rice", "Cookies", "Oats", "Porridge", "Waffles"),
    "carton": ("Oat Drink", "Juice", "Soup", "Milk", "Nectar"),
    "bottle": ("Lemonade", "Syrup", "Iced Tea", "Juice", "Spring", "Soap", "Shampoo"),
    "can": ("Tomatoes", "Beans", "Soup", "Peas", "Sweetcorn", "Soda"),
    "jar": ("Jam", "Honey", "Pickles", "Spread", "Pesto"),
    "bag": ("Chips", "Nuts", "Coffee", "Pasta", "Sweets", "Flakes"),
    "duck": ("Bath Duck",),
    "bear": ("Teddy",),
    "robot": ("Robot",),
    "rings": ("Ring Tower",),
    "ball": ("Ball",),
}

DEPARTMENT = {"duck": "Toys", "bear": "Toys", "robot": "Toys", "rings": "Toys", "ball": "Toys"}

FLAVOURS: tuple[tuple[str, Colour], ...] = (
    ("Mango", (30, 150, 245)),
    ("Berry", (130, 30, 120)),
    ("Lime", (50, 185, 110)),
    ("Cherry", (45, 30, 205)),
    ("Vanilla", (160, 225, 250)),
    ("Cocoa", (35, 60, 105)),
    ("Mint", (160, 175, 40)),
    ("Blueberry", (185, 75, 35)),
    ("Sea Salt", (215, 180, 120)),
    ("Lemon", (40, 220, 250)),
    ("Rose", (170, 120, 240)),
    ("Classic", (60, 55, 55)),
)

GROUNDS: tuple[Colour, ...] = (
    (245, 248, 250), (40, 40, 190), (150, 60, 25), (70, 120, 25), (35, 190, 245), (200, 150, 60),
    (120, 40, 100), (35, 35, 40), (180, 215, 235), (90, 160, 235), (150, 190, 150), (205, 195, 90),
    (160, 140, 220), (60, 90, 140), (90, 70, 60), (225, 225, 205),
)  # fmt: skip

INKS: tuple[Colour, ...] = (
    (255, 255, 255), (30, 30, 40), (40, 200, 250), (60, 40, 180), (130, 60, 20), (60, 130, 40),
)  # fmt: skip


def luminance(colour: Colour) -> float:
    """Return how bright a colour looks, 0-255."""
    return 0.11 * colour[0] + 0.59 * colour[1] + 0.3 * colour[2]


def ink_on(ground: Colour) -> Colour:
    """Return a readable ink on a ground: near white or near black."""
    return (250, 250, 250) if luminance(ground) < 140 else (35, 30, 30)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two; share 0 is the first, 1 the second."""
    blend = [round(a + (b - a) * share) for a, b in zip(first, second, strict=True)]
    return (blend[0], blend[1], blend[2])
