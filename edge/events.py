"""What the shelf saw, before and after the gate decided what it was.

`ShelfEvent` leaves the shelf stage; `DecidedEvent` leaves the gate and is what gets booked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge.gate import Decision

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the source frame, x2 and y2 exclusive."""


class Kind(StrEnum):
    """An item left the shelf, or came to it."""

    PICK = "pick"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class ShelfEvent:
    """An item left or came to a zone.

    time_s, decided_s: when it happened and when the shelf was sure of it, in stream time.
    box: where the item stood or stands, in pixels of the source frame.
    crops: one or more (h, w, 3) uint8 BGR pictures of the item, best first, never empty.
    before, after: (h, w, 3) uint8 BGR pictures of the surroundings of the box, for a person to see.
    """

    kind: Kind
    time_s: float
    decided_s: float
    camera: str
    zone: str
    box: Box
    quantity: int
    crops: tuple[NDArray[np.uint8], ...]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DecidedEvent:
    """A shelf event with the gate's decision.

    event_id: the same for the same event of the same recording, however often it is processed.
    """

    event_id: str
    event: ShelfEvent
    decision: Decision
