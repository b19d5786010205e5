"""Whose event is it? One shopper's visit, and who of those in the store an event belongs to.

Pure. A line goes to somebody only where nothing else is possible; everything else is a review.
The ledger calls this for every event that it books.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from edge.events import DecidedEvent, Kind


@dataclass(frozen=True, slots=True)
class Session:
    """One shopper's visit.

    opened_s, closed_s: stream time; closed_s is None while the shopper is in the store.
    timeline: names the stream time that they are measured in; times of different timelines (before
        and after a restart, say) cannot be compared. Empty: not to be compared with any.
    """

    session_id: str
    opened_s: float
    closed_s: float | None = None
    timeline: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the shopper is still in the store."""
        return self.closed_s is None


@dataclass(frozen=True, slots=True)
class Attribution:
    """session_id is None where the event goes to review; reason says what decided."""

    session_id: str | None
    reason: Literal["only_session", "holds_item", "no_session", "several_sessions"]


def present(sessions: Sequence[Session], time_s: float, timeline: str) -> tuple[Session, ...]:
    """Keep the sessions that were open when something happened.

    An event is decided a moment after it happened: the shopper may have left since, and another may
    have come. Sessions of another timeline, or of none, count as long as they are open.
    """

    def was_open(session: Session) -> bool:
        if not timeline or session.timeline != timeline:
            return session.is_open
        return session.opened_s <= time_s and (
            session.closed_s is None or time_s <= session.closed_s
        )

    return tuple(session for session in sessions if was_open(session))


def attribute(
    open_sessions: Sequence[Session],
    event: DecidedEvent,
    *,
    holders: Collection[str] = (),
    unclaimed: bool = False,
) -> Attribution:
    """Say whose event this is.

    open_sessions: those that were open when it happened. One: it is theirs. None: nobody's.
    Several: nobody's, but for the return of a known product that exactly one of them can have.
    holders: the session ids whose cart has this event's product.
    unclaimed: whether a pick that still waits for review may have been of this product. Then any
        shopper may be the one who brings it back, and the return goes to review as well.
    """
    if not open_sessions:
        return Attribution(None, "no_session")
    if len(open_sessions) == 1:
        return Attribution(open_sessions[0].session_id, "only_session")
    returned = event.event.kind is Kind.RETURN and event.decision.sku is not None
    able = [one.session_id for one in open_sessions if one.session_id in holders]
    if returned and len(able) == 1 and not unclaimed:
        return Attribution(able[0], "holds_item")
    return Attribution(None, "several_sessions")
