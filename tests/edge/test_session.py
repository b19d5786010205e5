from __future__ import annotations

from edge.session import Session, attribute, present
from tests.cloud_sync.a_device import an_event

ANNA, BEN = Session("anna", 0.0), Session("ben", 5.0)


def test_the_only_shopper_is_who_it_was() -> None:
    assert attribute([ANNA], an_event("e")).session_id == "anna"


def test_with_nobody_there_it_is_nobodys() -> None:
    whose = attribute([], an_event("e"))
    assert (whose.session_id, whose.reason) == (None, "no_session")


def test_two_shoppers_and_a_pick_is_nobodys_even_if_one_has_such_an_item_already() -> None:
    whose = attribute([ANNA, BEN], an_event("e"), holders=["ben"])
    assert (whose.session_id, whose.reason) == (None, "several_sessions")


def test_a_return_that_only_one_can_have_is_theirs() -> None:
    whose = attribute([ANNA, BEN], an_event("e", "return"), holders=["ben"])
    assert (whose.session_id, whose.reason) == ("ben", "holds_item")


def test_a_return_that_two_can_have_is_nobodys() -> None:
    both = attribute([ANNA, BEN], an_event("e", "return"), holders=["anna", "ben"])
    assert both.session_id is None


def test_a_return_is_nobodys_while_an_unclaimed_pick_may_be_the_same_item() -> None:
    event = an_event("e", "return")
    assert attribute([ANNA, BEN], event, holders=["ben"], unclaimed=True).session_id is None


def test_the_return_of_an_unknown_item_is_nobodys() -> None:
    event = an_event("e", "return", None)
    assert attribute([ANNA, BEN], event, holders=["ben"]).session_id is None


def test_who_left_since_was_there_and_who_came_since_was_not() -> None:
    left, came = Session("left", 0.0, 10.0, "clip"), Session("came", 10.5, None, "clip")
    assert present([left, came], 9.5, "clip") == (left,)
    assert present([left, came], 11.0, "clip") == (came,)


def test_times_of_different_clocks_are_not_compared() -> None:
    before_restart = Session("anna", 5000.0, None, "boot-1")
    assert present([before_restart], 3.0, "boot-2") == (before_restart,)
    assert present([Session("gone", 0.0, 10.0, "")], 5.0, "") == ()
