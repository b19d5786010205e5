"""What a simulated store is asked to be, checked before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class SimulationError(Exception):
    """The store cannot be simulated as asked; the message says what to change."""


class Lighting(StrEnum):
    """How the light behaves during the clip."""

    STEADY = "steady"
    CHANGING = "changing"
    SWITCHING = "switching"
    DIM = "dim"
    SHADOWS = "shadows"


class Occlusion(StrEnum):
    """How much people stand between the camera and the shelf."""

    NONE = "none"
    LIGHT = "light"
    HEAVY = "heavy"


class Angle(StrEnum):
    """Where the cameras hang; BOTH gives every shelf one camera of each kind."""

    FRONT = "front"
    ABOVE = "above"
    BOTH = "both"


MAX_SKUS_PER_SHELF = 60
MAX_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Settings:
    """One simulated store; the same settings always give the same pictures and truth.

    shoppers: visits during the clip. cameras: clips to make. minutes: length of each.
    hands: 1, or 2 for shoppers who sometimes take with both at once.
    skus: products in the catalogue. unknown: further products that no catalogue knows.
    depth: fewest and most items standing behind one another in a facing.
    products: folder of pictures to draw the packages from, or None to invent packages.
    width, height: of the frames in pixels. fps: frames a second.
    jitter_px: standard deviation of the camera's shake. noise: of the sensor's noise, grey levels.
    """

    seed: int = 0
    shoppers: int = 3
    cameras: int = 1
    minutes: float = 3.0
    lighting: Lighting = Lighting.STEADY
    occlusion: Occlusion = Occlusion.LIGHT
    hands: int = 1
    skus: int = 40
    depth: tuple[int, int] = (1, 6)
    angle: Angle = Angle.FRONT
    lookalikes: bool = True
    unknown: int = 2
    products: Path | None = None
    width: int = 960
    height: int = 540
    fps: float = 15.0
    jitter_px: float = 0.25
    noise: float = 2.5

    def __post_init__(self) -> None:
        """Raise SimulationError where a value makes no store."""
        _within("seed", self.seed, 0, 2**63 - 1)
        _within("shoppers", self.shoppers, 0, 1000)
        _within("cameras", self.cameras, 1, 64)
        _within("minutes", self.minutes, 0.1, 24 * 60)
        _within("hands", self.hands, 1, 2)
        _within("skus", self.skus, 2, 10_000)
        _within("unknown", self.unknown, 0, 1000)
        _within("fps", self.fps, 5, 120)
        _within("width", self.width, 320, 3840)
        _within("height", self.height, 180, 2160)
        _within("jitter_px", self.jitter_px, 0, 10)
        _within("noise", self.noise, 0, 60)
        fewest, most = self.depth
        if not 1 <= fewest <= most <= MAX_DEPTH:
            raise SimulationError(
                f"depth {fewest}-{most}: give two numbers from 1 to {MAX_DEPTH}, the smaller first"
            )
        if self.angle is Angle.BOTH and self.cameras % 2:
            raise SimulationError(
                f"angle both puts two cameras on every shelf: {self.cameras} cameras is an odd "
                "number, give an even one"
            )
        if self.skus + self.unknown > self.shelves * MAX_SKUS_PER_SHELF:
            raise SimulationError(
                f"{self.skus + self.unknown} products do not fit on {self.shelves} shelves of "
                f"{MAX_SKUS_PER_SHELF}: give more cameras or fewer skus"
            )

    @property
    def shelves(self) -> int:
        """Number of shelves: one a camera, or one a pair where cameras share."""
        return self.cameras // 2 if self.angle is Angle.BOTH else self.cameras

    @property
    def duration_s(self) -> float:
        """Length of the clips in seconds."""
        return self.minutes * 60.0

    @property
    def frames(self) -> int:
        """Number of frames in each clip."""
        return round(self.duration_s * self.fps)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SimulationError(f"{name} {value:g}: must lie between {low:g} and {high:g}")
