"""Which bundle a box comes up with, whatever its disk looks like."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_sync.device.probation import Limits, combined, fault, is_kept
from cloud_sync.device.slots import Slot, SlotInfo, Slots, begin
from cloud_sync.messages import BundleMeasures

LIMITS = Limits()


def whole(folder: Path) -> None:
    """A bundle of these tests is one file."""
    if (folder / "content").read_text() != "good":
        raise ValueError("not good")


def opened(folder: Path) -> Slots:
    return Slots(folder, whole)


def install(slots: Slots, name: str) -> Slot:
    (slots.workplace() / "bundle" / "content").write_text("good")
    slot = slots.install(SlotInfo(bundle=name, version=1, digest=name * 64))
    slots.switch(slot)
    return slot


def content_of(slots: Slots, slot: Slot) -> Path:
    folder = slots.bundle(slot)
    assert folder is not None
    return folder / "content"


def test_a_fresh_box_runs_what_came_with_it(tmp_path: Path) -> None:
    assert opened(tmp_path).current is None


def test_two_bundles_take_turns_in_two_slots(tmp_path: Path) -> None:
    slots = opened(tmp_path)
    assert [install(slots, name) for name in "abc"] == ["a", "b", "a"]
    slots.commit()
    again = opened(tmp_path)
    assert again.current == tmp_path / "a" / "bundle"
    assert again.state == slots.state


def test_a_bundle_on_probation_goes_back_to_the_one_before(tmp_path: Path) -> None:
    slots = opened(tmp_path)
    install(slots, "a")
    slots.commit()
    slots.change(measures=BundleMeasures(decisions=9))
    install(slots, "b")
    slots.go_back("it is bad", 5.0)
    assert slots.state.current == "a"
    assert slots.state.measures.decisions == 9
    refusal = opened(tmp_path).refusal("b" * 64)
    assert refusal is not None
    assert (refusal.reason, refusal.taken_back) == ("it is bad", True)


@pytest.mark.parametrize("harm", ["gone", "rotten"])
def test_a_slot_that_is_not_whole_is_passed_over(tmp_path: Path, harm: str) -> None:
    slots = opened(tmp_path)
    install(slots, "a")
    slots.commit()
    install(slots, "b")
    if harm == "gone":
        shutil.rmtree(tmp_path / "b")
    else:
        content_of(slots, "b").write_text("rot")
    again = opened(tmp_path)
    assert again.state.current == "a"
    content_of(slots, "a").write_text("rot")
    assert opened(tmp_path).current is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"current": "c"}', b"\xff"])
def test_a_state_that_cannot_be_read_means_the_packaged_bundle(
    tmp_path: Path, content: bytes
) -> None:
    slots = opened(tmp_path)
    install(slots, "a")
    (tmp_path / "state.json").write_bytes(content)
    again = opened(tmp_path)
    assert again.current is None
    assert install(again, "b") == "a"


def test_half_an_installation_is_cleared_away(tmp_path: Path) -> None:
    slots = opened(tmp_path)
    install(slots, "a")
    (slots.workplace() / "bundle" / "content").write_text("half")
    (tmp_path / ".state.json.xyz").write_text("half")
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    again = opened(tmp_path)
    assert again.current == tmp_path / "a" / "bundle"
    assert not (tmp_path / "next").exists()
    assert not list(tmp_path.glob(".state*"))


def test_falls_count_and_power_cuts_and_goodbyes_do_not(tmp_path: Path) -> None:
    install(opened(tmp_path), "a")
    for boot in ("one", "two", "three", "four", "five"):
        slots = opened(tmp_path)
        begin(slots, LIMITS, boot)
        assert slots.state.measures.restarts == 0
    for _ in range(3):
        slots.change(running="")
        slots = opened(tmp_path)
        begin(slots, LIMITS, "five")
    assert slots.state.measures.restarts == 0
    for fallen in (1, 2):
        slots = opened(tmp_path)
        begin(slots, LIMITS, "five")
        assert (slots.state.measures.restarts, slots.state.current) == (fallen, "a")
    slots = opened(tmp_path)
    begin(slots, LIMITS, "five")
    assert slots.current is None
    refusal = slots.refusal("a" * 64)
    assert refusal is not None
    assert "came down 3 times" in refusal.reason


GOOD = BundleMeasures(decisions=200, unknown=20, mean_ms=10.0, seconds=9_000.0)


@pytest.mark.parametrize(
    ("now", "because"),
    [
        (BundleMeasures(decisions=20, unknown=14, mean_ms=10.0), "14 of 20 items are unknown"),
        (
            BundleMeasures(decisions=20, errors=3),
            "items that could not be decided: 3, that could: 20",
        ),
        (BundleMeasures(errors=1), "items that could not be decided: 1, that could: 0"),
        (BundleMeasures(decisions=20, mean_ms=90.0), "takes 90 ms to decide"),
        (BundleMeasures(restarts=3), "came down 3 times"),
    ],
)
def test_a_bundle_that_does_worse_is_found_out(now: BundleMeasures, because: str) -> None:
    assert because in (fault(now, GOOD, LIMITS) or "")


@pytest.mark.parametrize(
    "now",
    [
        BundleMeasures(),
        BundleMeasures(decisions=5, unknown=5),
        BundleMeasures(decisions=20, unknown=4, mean_ms=12.0),
        BundleMeasures(decisions=200, unknown=30, errors=2, mean_ms=30.0, restarts=1),
    ],
)
def test_one_that_does_as_well_or_has_hardly_begun_is_not(now: BundleMeasures) -> None:
    assert fault(now, GOOD, LIMITS) is None


def test_without_one_to_compare_with_only_the_plainly_useless_is_taken_back() -> None:
    half = BundleMeasures(decisions=20, unknown=12, mean_ms=500.0)
    assert fault(half, None, LIMITS) is None
    assert fault(BundleMeasures(decisions=20, unknown=20), None, LIMITS)


def test_a_bundle_is_kept_after_long_enough_and_enough_items() -> None:
    assert not is_kept(BundleMeasures(seconds=599.0, decisions=500), LIMITS)
    assert not is_kept(BundleMeasures(seconds=700.0, decisions=19), LIMITS)
    assert is_kept(BundleMeasures(seconds=601.0, decisions=20), LIMITS)
    assert is_kept(BundleMeasures(seconds=25 * 3600.0), LIMITS)


counts = st.integers(0, 10_000)
measures = st.builds(
    BundleMeasures, decisions=counts, unknown=counts, errors=counts, restarts=st.integers(0, 5),
    mean_ms=st.floats(0, 1e4), seconds=st.floats(0, 1e6),
)  # fmt: skip


@given(measures, measures)
def test_stretches_add_up(one: BundleMeasures, other: BundleMeasures) -> None:
    both = combined(one, other)
    for sum_of in ("decisions", "unknown", "errors", "restarts", "seconds"):
        assert getattr(both, sum_of) == getattr(one, sum_of) + getattr(other, sum_of), sum_of
    total_ms = one.mean_ms * one.decisions + other.mean_ms * other.decisions
    assert both.mean_ms * both.decisions == pytest.approx(total_ms)
    assert both.decisions or both.mean_ms == 0.0
    fault(both, one, LIMITS)
