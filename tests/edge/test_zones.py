"""Zones files are read in both forms; what is wrong in one is said with file and zone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.zones import Zone, ZoneError, check_inside, load_zones, whole_frame, zones_for

SQUARE = [[0, 0], [90, 0], [90, 90], [0, 90]]


def written(folder: Path, content: object) -> Path:
    path = folder / "zones.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_plain_list_is_for_any_camera(tmp_path: Path) -> None:
    zones = load_zones(
        written(tmp_path, {"zones": [{"id": "a", "polygon": SQUARE, "groups": ["tea"]}]})
    )
    (zone,) = zones_for(zones, "front")
    assert zone == Zone("a", ((0, 0), (90, 0), (90, 90), (0, 90)), ("tea",))


def test_each_camera_has_its_own(tmp_path: Path) -> None:
    cameras = {"one": [{"id": "a", "polygon": SQUARE}], "two": []}
    zones = load_zones(written(tmp_path, {"cameras": cameras}))
    assert [zone.id for zone in zones_for(zones, "one")] == ["a"]
    assert zones_for(zones, "two") == zones_for(zones, "three") == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"zones": [', "zones.json:1: not valid JSON"),
        ([], 'expected {"zones": [...]}'),
        ({"zones": {}}, "zones is a list of zones"),
        ({"zones": [3]}, "zones[0]: a zone is"),
        ({"zones": [{"polygon": SQUARE}]}, "zones[0]: a zone needs an id"),
        ({"zones": [{"id": "a"}]}, "zones[0] 'a': a polygon is a list of corners"),
        ({"zones": [{"id": "a", "polygon": SQUARE[:2]}]}, "at least 3 corners, this one has 2"),
        ({"zones": [{"id": "a", "polygon": [[0, 0], [1, 1], [9, 9]]}]}, "encloses nothing"),
        ({"zones": [{"id": "a", "polygon": [["0", 1]] * 3}]}, "a polygon is a list of corners"),
        ({"zones": [{"id": "a", "polygon": SQUARE, "group": []}]}, "unknown key 'group'"),
        ({"zones": [{"id": "a", "polygon": SQUARE, "groups": "tea"}]}, "groups is a list"),
        ({"zones": [{"id": "a", "polygon": SQUARE}] * 2}, "two zones 'a'"),
        ({"cameras": []}, '"cameras" maps each camera'),
        ({"zone": []}, "expected"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(ZoneError) as caught:
        load_zones(written(tmp_path, content))
    assert said in str(caught.value)
    assert "zones.json" in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ZoneError, match="no such file"):
        load_zones(tmp_path / "none.json")


def test_a_zone_must_lie_in_the_frame() -> None:
    zone = Zone("a", ((0, 0), (640, 0), (640, 360)))
    check_inside([zone, whole_frame(640, 360)], 640, 360)
    with pytest.raises(ZoneError, match=r"zone 'a' lies outside the frame: its corner \(640, 0\)"):
        check_inside([zone], 639, 360)
    with pytest.raises(ZoneError, match="lies outside the frame"):
        check_inside([Zone("b", ((-1, 0), (9, 0), (9, 9)))], 640, 360)
