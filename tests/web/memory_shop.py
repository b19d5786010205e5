"""A shop kept in memory, for the page to show."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.status import view
from edge.status.app import Refused
from edge.status.picture import CameraPicture, DrawnBox, ZoneOutline

PRODUCTS = (
    view.CandidateView("oat-1l", "Oat drink, 1 l", 0.11),
    view.CandidateView("oat-barista", "Oat drink barista, 1 l", 0.19),
    view.CandidateView("milk-1l", "Whole milk, 1 l", 0.34),
    view.CandidateView("apple-bag", "Royal gala apples, bag", 0.61),
)


def a_picture(hue: int = 20, size: tuple[int, int] = (640, 360)) -> NDArray[np.uint8]:
    """Return a plain shelf, (H, W, 3) uint8 BGR."""
    width, height = size
    image = np.full((height, width, 3), (196, 208, 214), np.uint8)
    for row in range(3):
        floor = int(height * (row + 1) / 3) - 8
        for place in range(9):
            left = 12 + place * (width - 20) // 9
            tone = np.array([[[(hue + 17 * place) % 180, 120, 190]]], np.uint8)
            colour = cv2.cvtColor(tone, cv2.COLOR_HSV2BGR)
            top = floor - 60 - 8 * ((place + row) % 3)
            cv2.rectangle(image, (left, top), (left + 40, floor), colour[0, 0].tolist(), -1)
        cv2.rectangle(image, (0, floor), (width, floor + 8), (120, 130, 140), -1)
    return image


def a_camera(
    camera: str = "front", health: view.Health = "ok", **fields: object
) -> view.CameraState:
    """Return a camera that is well, unless told otherwise."""
    state = view.CameraState(
        camera=camera,
        health=health,
        words=view.HEALTH_WORDS[health],
        since=1_790_000_000.0,
        note="",
        picture=f"{camera}-1",
        size=(640, 360),
        zones=("shelf-1",),
        capture_fps=14.9,
        frames=1200,
        stage_ms={"motion": 0.4, "detect": 11.2, "shelf": 2.1},
    )
    return replace(state, **fields)  # type: ignore[arg-type]


def an_event(event_id: str = "front-1", **fields: object) -> view.EventView:
    """Return a pick that the gate was sure of."""
    event = view.EventView(
        event_id=event_id,
        kind="pick",
        at_s=12.4,
        booked=1_790_000_100.0,
        camera="front",
        zone="shelf-1",
        quantity=1,
        verdict="accept",
        sku="oat-1l",
        name="Oat drink, 1 l",
        distance=0.112,
        session="s-104",
        nearest=PRODUCTS[:3],
        crops=("demo/crop-0.jpg",),
        before="demo/before.jpg",
        after="demo/after.jpg",
    )
    return replace(event, **fields)  # type: ignore[arg-type]


def a_review(event_id: str = "front-9", **fields: object) -> view.ReviewView:
    """Return a pick that the gate left to a person."""
    unsure = {"verdict": "review", "sku": None, "name": "", "session": None, "distance": 0.31}
    event = an_event(event_id, **(unsure | fields))
    return view.ReviewView(event, "Two products look alike here.", ("s-104", "s-105"))


def a_cart(session: str = "s-104", **fields: object) -> view.CartView:
    """Return an open cart with two products."""
    cart = view.CartView(
        session=session,
        is_open=True,
        opened=1_790_000_000.0,
        closed=None,
        lines=(
            view.LineView("oat-1l", "Oat drink, 1 l", 2, 1990, 3980),
            view.LineView("apple-bag", "Royal gala apples, bag", 1, 2950, 2950),
        ),
        total_minor=6930,
        currency="SEK",
        waiting=1,
    )
    return replace(cart, **fields)  # type: ignore[arg-type]


def a_state(**fields: object) -> view.State:
    """Return a store on an ordinary day."""
    state = view.State(
        device="box-1",
        site="Corner store",
        cameras=(a_camera("front"), a_camera("above", "lost", note="trying again in 4 s")),
        carts=(a_cart(),),
        reviews=(a_review(),),
        events=(an_event("front-2", kind="return"), an_event()),
        bundle=view.BundleView("default", "1.0.0", 48, ("packages",)),
        sync=view.SyncView("up", "127.0.0.1:1883", 0, "", 1_800_000_000.0),
        warnings=(),
    )
    return replace(state, **fields)  # type: ignore[arg-type]


@dataclass
class MemoryShop:
    """Satisfies `edge.status.app.Shop` and writes down what it was asked."""

    folder: Path
    now: view.State = field(default_factory=a_state)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    image: NDArray[np.uint8] = field(default_factory=a_picture)

    def __post_init__(self) -> None:
        """Put some evidence into the folder."""
        demo = self.folder / "demo"
        demo.mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(("crop-0", "before", "after")):
            cv2.imwrite(str(demo / f"{name}.jpg"), a_picture(40 * index, (120, 140)))

    def state(self) -> view.State:
        """Return what the test put there."""
        return self.now

    def picture(self, camera: str) -> CameraPicture | None:
        """Return the shelf with one zone and one box."""
        name = {state.camera: state.picture for state in self.now.cameras}[camera]
        if not name:
            return None
        zone = ZoneOutline("shelf-1", ((10, 10), (620, 10), (620, 340), (10, 340)))
        box = DrawnBox((300, 120, 380, 330), "person", 0.83)
        return CameraPicture(name, self.image, (zone,), (box,))

    def products(self, text: str, limit: int) -> tuple[view.CandidateView, ...]:
        """Return the products whose name holds text."""
        found = [product for product in PRODUCTS if text.lower() in product.name.lower()]
        return tuple(found[:limit])

    def evidence(self, folder: str, name: str) -> Path | None:
        """Return a file of the folder."""
        return self.folder / folder / name

    def open_session(self, session_id: str) -> None:
        """Add an empty cart."""
        if any(cart.session == session_id for cart in self.now.carts):
            raise Refused(409, f"session {session_id!r} is open already")
        self.asked.append(("open", session_id))
        cart = a_cart(session_id, lines=(), total_minor=0, waiting=0)
        self.now = replace(self.now, carts=(*self.now.carts, cart))

    def close_session(self, session_id: str) -> None:
        """Mark the cart."""
        self.asked.append(("close", session_id))
        carts = [
            replace(cart, is_open=False, closed=1_790_000_500.0)
            if cart.session == session_id
            else cart
            for cart in self.now.carts
        ]
        self.now = replace(self.now, carts=tuple(carts))

    def settle(self, event_id: str, sku: str, session_id: str) -> None:
        """Take the review off the list."""
        if sku not in {product.sku for product in PRODUCTS}:
            raise Refused(422, f"the bundle holds no product {sku!r}")
        self.asked.append(("settle", event_id, sku, session_id))
        self._drop(event_id)

    def dismiss(self, event_id: str) -> None:
        """Take the review off the list."""
        self.asked.append(("dismiss", event_id))
        self._drop(event_id)

    def _drop(self, event_id: str) -> None:
        left = tuple(item for item in self.now.reviews if item.event.event_id != event_id)
        self.now = replace(self.now, reviews=left)
