from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cloud_sync.messages import ItemBooked, LedgerEntry, LineSettled, Provenance
from edge.cart import Reason, fold, unattributed

PRICES = {"cola": 150, "chips": 275}
BUNDLE = Provenance(bundle="b", bundle_version="1", model="m", table="t")


def an_item(
    number: int,
    kind: str = "pick",
    sku: str | None = "cola",
    session: str | None = "s",
    **more: object,
) -> ItemBooked:
    fields: dict[str, object] = {
        "event_id": f"e{number}",
        "ledger": "l",
        "sequence": number,
        "recorded_at": 0.0,
        "kind": kind,
        "session": session,
        "attribution": "only_session" if session else "several_sessions",
        "sku": sku,
        "quantity": 1,
        "decision": "accept" if sku else "review",
        "distance": 0.1,
        "nearest": (),
        "group": "all",
        "unit_price_minor": PRICES.get(sku or ""),
        "currency": "EUR" if sku in PRICES else None,
        "time_s": float(number),
        "decided_s": float(number),
        "camera": "c",
        "zone": "z",
        "box": (0.0, 0.0, 1.0, 1.0),
        "evidence": (f"e{number}.jpg",),
        "provenance": BUNDLE,
    }
    return ItemBooked(**{**fields, **more})  # type: ignore[arg-type]


def a_settlement(
    number: int, item: int, sku: str | None = "cola", session: str | None = "s"
) -> LineSettled:
    return LineSettled(
        event_id=f"e{number}",
        ledger="l",
        sequence=number,
        recorded_at=0.0,
        item=f"e{item}",
        session=session,
        sku=sku,
        unit_price_minor=PRICES.get(sku or ""),
        currency="EUR" if sku else None,
        by="staff",
    )


def test_picks_of_one_product_are_one_line_with_all_its_evidence() -> None:
    cart = fold("s", [an_item(1), an_item(2), an_item(3, sku="chips")])
    assert [(line.sku, line.quantity, line.amount_minor) for line in cart.lines] == [
        ("cola", 2, 300),
        ("chips", 1, 275),
    ]
    assert cart.lines[0].evidence == ("e1.jpg", "e2.jpg")
    assert (cart.total_minor, cart.currency) == (575, "EUR")


def test_a_return_takes_the_same_product_off() -> None:
    assert fold("s", [an_item(1), an_item(2, "return")]).lines == ()


def test_the_return_of_another_item_credits_nothing_and_waits_for_review() -> None:
    cart = fold("s", [an_item(1), an_item(2, "return", "chips")])
    assert cart.total_minor == 150
    assert [(one.event_id, one.reason) for one in cart.reviews] == [
        ("e2", Reason.NOTHING_TO_RETURN)
    ]


def test_more_returned_than_taken_takes_nothing_off() -> None:
    cart = fold("s", [an_item(1), an_item(2, "return", quantity=2)])
    assert cart.total_minor == 150
    assert cart.reviews[0].reason is Reason.NOTHING_TO_RETURN


def test_what_is_unknown_unsure_or_without_a_price_is_charged_to_nobody() -> None:
    cart = fold(
        "s",
        [
            an_item(1, sku=None, decision="reject"),
            an_item(2, sku=None),
            an_item(3, sku="gift"),
            an_item(4),
            an_item(5, sku="chips", currency="USD"),
        ],
    )
    assert cart.total_minor == 150
    assert [one.reason for one in cart.reviews] == [
        Reason.UNKNOWN_ITEM,
        Reason.UNSURE,
        Reason.NO_PRICE,
        Reason.OTHER_CURRENCY,
    ]


def test_a_review_is_charged_once_settled_and_a_line_can_be_corrected() -> None:
    nobodys = an_item(1, session=None)
    assert fold("s", [nobodys]).total_minor == 0
    assert len(unattributed([nobodys])) == 1
    assert fold("s", [nobodys, a_settlement(2, 1)]).total_minor == 150
    assert unattributed([nobodys, a_settlement(2, 1)]) == ()
    corrected = [nobodys, a_settlement(2, 1), a_settlement(3, 1, "chips")]
    assert fold("s", corrected).total_minor == 275
    given_away = [nobodys, a_settlement(2, 1), a_settlement(3, 1, session="t")]
    assert (fold("s", given_away).total_minor, fold("t", given_away).total_minor) == (0, 150)
    assert fold("s", [an_item(1), a_settlement(2, 1, None, None)]).total_minor == 0


def test_a_return_finds_a_pick_that_is_settled_after_it() -> None:
    entries = [an_item(1, sku=None), an_item(2, "return")]
    assert len(fold("s", entries).reviews) == 2
    cart = fold("s", [*entries, a_settlement(3, 1)])
    assert (cart.lines, cart.reviews) == ((), ())


@st.composite
def ledgers(draw: st.DrawFn) -> list[LedgerEntry]:
    skus = st.sampled_from(["cola", "chips", "gift", None])
    sessions = st.sampled_from(["s", "t", None])
    entries: list[LedgerEntry] = []
    for number in range(1, draw(st.integers(1, 25)) + 1):
        if number > 1 and draw(st.integers(0, 4)) == 0:
            session = draw(sessions)
            sku = draw(st.sampled_from(list(PRICES))) if session else None
            entries.append(a_settlement(number, draw(st.integers(1, number - 1)), sku, session))
        else:
            kind = draw(st.sampled_from(["pick", "pick", "return"]))
            quantity = draw(st.integers(1, 3))
            item = an_item(number, kind, draw(skus), draw(sessions), quantity=quantity)
            entries.append(item)
    return entries


@given(ledgers(), st.randoms(use_true_random=False))
def test_order_of_arrival_and_repetition_change_nothing(
    entries: list[LedgerEntry], chance: random.Random
) -> None:
    mixed = entries + chance.choices(entries, k=len(entries))
    chance.shuffle(mixed)
    assert fold("s", mixed) == fold("s", entries)
    assert unattributed(mixed) == unattributed(entries)


@given(ledgers())
def test_amounts_are_whole_never_negative_and_add_up(entries: list[LedgerEntry]) -> None:
    cart = fold("s", entries)
    for line in cart.lines:
        assert line.quantity > 0
        assert line.amount_minor == line.quantity * line.unit_price_minor
    assert cart.total_minor == sum(line.amount_minor for line in cart.lines)
    assert isinstance(cart.total_minor, int)


@given(ledgers())
def test_every_item_is_in_at_most_one_place(entries: list[LedgerEntry]) -> None:
    places = [
        event_id
        for name in "st"
        for line in fold(name, entries).lines
        for event_id in line.event_ids
    ]
    places += [one.event_id for name in "st" for one in fold(name, entries).reviews]
    places += [one.event_id for one in unattributed(entries)]
    assert len(places) == len(set(places))
