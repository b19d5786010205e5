"""Evidence: complete files or none, and room left for the ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.evidence import EvidenceFolder, EvidenceRefused
from tests.cloud_sync.a_device import an_event


def test_an_event_keeps_its_crops_and_both_pictures(tmp_path: Path) -> None:
    event = an_event("cam-1:7").event
    event = replace(event, crops=(np.full((20, 30, 3), 200, np.uint8),) * 5)

    names = EvidenceFolder(tmp_path, 0).keep("cam-1:7", event)

    assert names == (
        "cam-1:7/crop-0.jpg",
        "cam-1:7/crop-1.jpg",
        "cam-1:7/crop-2.jpg",
        "cam-1:7/before.jpg",
        "cam-1:7/after.jpg",
    )
    assert cv2.imread(str(tmp_path / names[0])).shape == (20, 30, 3)
    assert not list(tmp_path.rglob("*.part"))


def test_the_same_event_again_gives_the_same_files(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path, 0)
    event = an_event("a").event

    assert folder.keep("a", event) == folder.keep("a", event)
    assert len(list(tmp_path.rglob("*.jpg"))) == 3


@pytest.mark.parametrize("event_id", ["../../etc", "a/b", ".", "x" * 190, "!%"])
def test_an_odd_event_id_stays_inside_the_folder(tmp_path: Path, event_id: str) -> None:
    root = tmp_path / "evidence"

    names = EvidenceFolder(root, 0).keep(event_id, an_event("a").event)

    assert all((root / name).resolve().is_relative_to(root.resolve()) for name in names)
    assert {path.parent.parent for path in tmp_path.rglob("*.jpg")} == {root}


def test_a_nearly_full_disk_keeps_no_pictures_and_leaves_nothing(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path / "evidence", min_free_mb=10**9)

    with pytest.raises(EvidenceRefused, match="MB free"):
        folder.keep("a", an_event("a").event)

    assert not list(tmp_path.rglob("*.jpg"))


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("in the way")

    with pytest.raises(EvidenceRefused, match="not kept"):
        EvidenceFolder(tmp_path / "evidence", 0).keep("a", an_event("a").event)


def test_only_what_was_kept_is_found(tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path / "evidence", 0)
    folder.keep("a", an_event("a").event)
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "evidence" / "a" / "link.jpg").symlink_to(tmp_path / "secret.jpg")

    assert folder.file("a", "before.jpg") is not None
    assert folder.file("a", "none.jpg") is None
    assert folder.file("..", "secret.jpg") is None
    assert folder.file("a", "../../secret.jpg") is None
    assert folder.file("a", "link.jpg") is None
