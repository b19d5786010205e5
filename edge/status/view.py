"""What the status page shows, as plain data.

The appliance composes a `State` from its parts; the server turns it into JSON, the page draws it.
Nothing here reads a clock, a file or a database: what the page says can be tested as values.
Times are seconds since 1970 unless a name says otherwise; amounts are integers in minor units.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

Health = Literal["starting", "ok", "lost", "frozen", "black", "resized", "ended", "failed"]
Verdict = Literal["accept", "refine", "reject", "review", "settled", "dismissed"]
Link = Literal["off", "connecting", "up", "down"]

HEALTH_WORDS: dict[Health, str] = {
    "starting": "starting",
    "ok": "alive",
    "lost": "no picture",
    "frozen": "picture frozen",
    "black": "picture black",
    "resized": "picture size changed",
    "ended": "recording finished",
    "failed": "stopped",
}
"""The state of a camera in words for the staff of a store."""


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera as the page lists it.

    since: when the health last changed, None before the first picture.
    note: one sentence for a person, empty while there is nothing to say.
    picture: names the newest picture; the page fetches again when it changes.
    capture_fps: frames a second that come in; frames: how many were looked at.
    stage_ms: milliseconds a frame spends in each stage, on average.
    """

    camera: str
    health: Health
    words: str
    since: float | None
    note: str
    picture: str
    size: tuple[int, int]
    zones: tuple[str, ...]
    capture_fps: float
    frames: int
    stage_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class CandidateView:
    """A product the gate considered, nearest first in its list."""

    sku: str
    name: str
    distance: float


@dataclass(frozen=True, slots=True)
class EventView:
    """One shelf event with its decision and its evidence (paths under /evidence/).

    verdict: the gate's, or what a person has said since.
    session: whose cart it went to, None where it waits for a person or went to nobody.
    at_s: stream time of the event; booked: when it reached the ledger, None where that is unknown.
    """

    event_id: str
    kind: Literal["pick", "return"]
    at_s: float
    booked: float | None
    camera: str
    zone: str
    quantity: int
    verdict: Verdict
    sku: str | None
    name: str
    distance: float
    session: str | None
    nearest: tuple[CandidateView, ...]
    crops: tuple[str, ...]
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class LineView:
    """One product in a cart."""

    sku: str
    name: str
    quantity: int
    price_minor: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class CartView:
    """One shopper's cart.

    opened, closed: None where it has not happened or the box does not know when.
    waiting: how many events a person still has to settle.
    """

    session: str
    is_open: bool
    opened: float | None
    closed: float | None
    lines: tuple[LineView, ...]
    total_minor: int
    currency: str
    waiting: int


@dataclass(frozen=True, slots=True)
class ReviewView:
    """An event that waits for a person, and why."""

    event: EventView
    reason: str
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BundleView:
    """The bundle in use; note: what there is to say of the one that the hub wants."""

    bundle_id: str
    version: str
    products: int
    groups: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class SyncView:
    """How the hub link stands; waiting is what the outbox still holds.

    certificate_until: when the box's certificate ends, None where it has none.
    """

    link: Link
    hub: str
    waiting: int
    note: str
    certificate_until: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Everything on the page.

    warnings: sentences about the box as a whole (the disk is full, a thread has stopped).
    """

    device: str
    site: str
    cameras: tuple[CameraState, ...]
    carts: tuple[CartView, ...]
    reviews: tuple[ReviewView, ...]
    events: tuple[EventView, ...]
    bundle: BundleView
    sync: SyncView
    warnings: tuple[str, ...]


def to_json(state: State) -> str:
    """Return the state as one line of JSON, the same text for the same state."""
    return json.dumps(asdict(state), ensure_ascii=False, separators=(",", ":"))


def carts_json(carts: Iterable[CartView]) -> str:
    """Return carts alone, for GET /api/carts."""
    return json.dumps({"carts": [asdict(cart) for cart in carts]}, ensure_ascii=False)
