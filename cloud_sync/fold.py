"""What a ledger's entries add up to: a cart, and the questions left open.

Pure, and the same on the device and at the hub: whoever holds the same entries has the same cart,
in whatever order and however often they came. Ground floor: imports only the messages.

The rule. Every item counts as its last settlement says, or as it was booked where nobody settled
it. Items are then taken in the order of the ledger: a pick adds; a return takes the same product
off, the latest pick first; what cannot be charged or taken off is a review, and is not charged. A
pick that is settled late is charged in its own place, so that a return that found nothing to take
off finds it then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from cloud_sync.messages import (
    ItemBooked,
    LedgerEntry,
    LineSettled,
    Nearest,
    SessionClosed,
    SessionOpened,
)


class Reason(StrEnum):
    """Why an item is a question and not a line."""

    NO_SESSION = "no_session"
    SEVERAL_SESSIONS = "several_sessions"
    UNKNOWN_ITEM = "unknown_item"
    UNSURE = "unsure"
    NO_PRICE = "no_price"
    OTHER_CURRENCY = "other_currency"
    NOTHING_TO_RETURN = "nothing_to_return"


@dataclass(frozen=True, slots=True)
class Line:
    """One product at one price in a cart; amounts in minor units of the cart's currency.

    event_ids: the picks that are still in it; evidence: their pictures.
    """

    sku: str
    quantity: int
    unit_price_minor: int
    amount_minor: int
    event_ids: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """An item that waits for a person or a later observation; charged to nobody.

    sku: what the gate took it for, None where it did not say.
    """

    event_id: str
    session: str | None
    reason: Reason
    kind: str
    sku: str | None
    quantity: int
    time_s: float
    camera: str
    zone: str
    nearest: tuple[Nearest, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cart:
    """What a session has taken so far; of a closed session, its receipt.

    opened_s, closed_s: stream time; None where that entry is not (yet) here.
    """

    session: str
    lines: tuple[Line, ...]
    reviews: tuple[Review, ...]
    currency: str | None
    total_minor: int
    opened_s: float | None = None
    closed_s: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the shopper is still in the store."""
        return self.closed_s is None


@dataclass(slots=True)
class _Held:
    item: ItemBooked
    price_minor: int
    left: int


class Tally:
    """A cart in the making: add items in the ledger's order, read the cart at any time."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.opened_s: float | None = None
        self.closed_s: float | None = None
        self._held: list[_Held] = []
        self._reviews: dict[str, Review] = {}

    def add(self, item: ItemBooked) -> Reason | None:
        """Take one item in; give the reason where it becomes a review."""
        reason = self._why_not(item) or self._move(item)
        if reason is not None:
            self._reviews[item.event_id] = review_of(item, reason)
        return reason

    def holds(self, sku: str) -> int:
        """Count how many of a product are in the cart."""
        return sum(held.left for held in self._held if held.item.sku == sku)

    def cart(self) -> Cart:
        """Give the cart as it stands."""
        lines = self._lines()
        return Cart(
            session=self.session,
            lines=lines,
            reviews=tuple(self._reviews.values()),
            currency=self._currency() if lines else None,
            total_minor=sum(line.amount_minor for line in lines),
            opened_s=self.opened_s,
            closed_s=self.closed_s,
        )

    def _why_not(self, item: ItemBooked) -> Reason | None:
        if item.sku is None:
            return Reason.UNKNOWN_ITEM if item.decision == "reject" else Reason.UNSURE
        if item.decision not in ("accept", "refine"):
            return Reason.UNSURE
        if item.kind == "return":
            return None
        if item.unit_price_minor is None or item.currency is None:
            return Reason.NO_PRICE
        if self._currency() not in (None, item.currency):
            return Reason.OTHER_CURRENCY
        return None

    def _move(self, item: ItemBooked) -> Reason | None:
        if item.kind == "pick":
            self._held.append(_Held(item, item.unit_price_minor or 0, item.quantity))
            return None
        if item.sku is None or self.holds(item.sku) < item.quantity:
            return Reason.NOTHING_TO_RETURN
        owed = item.quantity
        for held in reversed(self._held):
            if held.item.sku == item.sku:
                taken = min(owed, held.left)
                held.left -= taken
                owed -= taken
        self._held = [held for held in self._held if held.left]
        return None

    def _currency(self) -> str | None:
        return self._held[0].item.currency if self._held else None

    def _lines(self) -> tuple[Line, ...]:
        groups: dict[tuple[str, int], list[_Held]] = {}
        for held in self._held:
            groups.setdefault((held.item.sku or "", held.price_minor), []).append(held)
        return tuple(_line(sku, price, held) for (sku, price), held in groups.items())


def fold(session: str, entries: Iterable[LedgerEntry]) -> Cart:
    """Add up a session's cart.

    entries: of one device, in any order, repeated or not; those of other sessions are passed over.
    A settlement that gave an item to another session must be among them, or the item counts twice.
    """
    ordered = in_order(entries)
    tally = Tally(session)
    for entry in ordered:
        if isinstance(entry, SessionOpened) and entry.session == session:
            tally.opened_s = entry.at_s
        elif isinstance(entry, SessionClosed) and entry.session == session:
            tally.closed_s = entry.at_s
    for item in as_settled(ordered):
        if item.session == session:
            tally.add(item)
    return tally.cart()


def unattributed(entries: Iterable[LedgerEntry]) -> tuple[Review, ...]:
    """List the items that belong to nobody and that nobody has settled."""
    items = (item for item in as_settled(in_order(entries)) if item.session is None)
    return tuple(review_of(item, nobody(item)) for item in items)


def nobody(item: ItemBooked) -> Reason:
    """Say why an item without a session has none."""
    if item.attribution == "several_sessions":
        return Reason.SEVERAL_SESSIONS
    return Reason.NO_SESSION


def in_order(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Give each entry once, in the order of the ledger."""
    once = {entry.event_id: entry for entry in entries}
    return sorted(once.values(), key=lambda entry: (entry.sequence, entry.event_id))


def as_settled(ordered: Iterable[LedgerEntry]) -> list[ItemBooked]:
    """Give the items as their last settlements say, without those that were nothing."""
    items: dict[str, ItemBooked] = {}
    last: dict[str, LineSettled] = {}
    for entry in ordered:
        if isinstance(entry, ItemBooked):
            items[entry.event_id] = entry
        elif isinstance(entry, LineSettled):
            last[entry.item] = entry
    settled = (_settle(item, last.get(item.event_id)) for item in items.values())
    return [item for item in settled if item is not None]


def review_of(item: ItemBooked, reason: Reason) -> Review:
    """Put an item as a question."""
    return Review(
        event_id=item.event_id,
        session=item.session,
        reason=reason,
        kind=item.kind,
        sku=item.sku,
        quantity=item.quantity,
        time_s=item.time_s,
        camera=item.camera,
        zone=item.zone,
        nearest=item.nearest,
        evidence=item.evidence,
    )


def _settle(item: ItemBooked, settlement: LineSettled | None) -> ItemBooked | None:
    if settlement is None:
        return item
    if settlement.sku is None or settlement.session is None:
        return None
    return replace(
        item,
        session=settlement.session,
        attribution="settled",
        sku=settlement.sku,
        decision="accept",
        unit_price_minor=settlement.unit_price_minor,
        currency=settlement.currency,
    )


def _line(sku: str, price_minor: int, held: list[_Held]) -> Line:
    quantity = sum(one.left for one in held)
    return Line(
        sku=sku,
        quantity=quantity,
        unit_price_minor=price_minor,
        amount_minor=quantity * price_minor,
        event_ids=tuple(one.item.event_id for one in held),
        evidence=tuple(name for one in held for name in one.item.evidence),
    )
