"""What somebody settled comes back as pictures of the product it was said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.ledger import Ledger
from edge.settled import SettledError, settled_pictures
from tests.cloud_sync.a_device import BUNDLE, an_event


def a_state(folder: Path) -> Ledger:
    ledger = Ledger(folder / "ledger.db", "box-1")
    ledger.open_session("anna", 0.0)
    for name in ("e1", "e2", "e3"):
        evidence = [f"{name}/crop-0.jpg", f"{name}/before.jpg"]
        ledger.book(an_event(name), BUNDLE, evidence, 150, "EUR")
        (folder / "evidence" / name).mkdir(parents=True)
        for picture in ("crop-0.jpg", "before.jpg"):
            (folder / "evidence" / name / picture).write_bytes(b"x")
    return ledger


def test_crops_come_back_under_the_last_word(tmp_path: Path) -> None:
    ledger = a_state(tmp_path)
    ledger.settle("e1", "milk", "anna", price_minor=150, currency="EUR")
    ledger.settle("e1", "juice", "anna", price_minor=150, currency="EUR")
    ledger.settle("e2", None, None)
    ledger.close()
    assert settled_pictures(tmp_path) == {"juice": [tmp_path / "evidence/e1/crop-0.jpg"]}


def test_pictures_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    ledger = a_state(tmp_path)
    ledger.settle("e3", "milk", "anna", price_minor=150, currency="EUR")
    ledger.close()
    (tmp_path / "evidence/e3/crop-0.jpg").unlink()
    assert settled_pictures(tmp_path) == {}


def test_a_folder_without_ledger_and_a_file_that_is_none_are_said(tmp_path: Path) -> None:
    with pytest.raises(SettledError, match="no such ledger"):
        settled_pictures(tmp_path)
    (tmp_path / "ledger.db").write_bytes(b"no database at all, but long enough to look like one")
    with pytest.raises(SettledError, match="cannot be read"):
        settled_pictures(tmp_path)
