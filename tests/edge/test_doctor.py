"""The doctor finds what is wrong with a box, says what to do, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloud_sync.hub.authority import Authority, write_key
from edge import doctor
from edge.cli import main
from edge.config import CameraSettings
from edge.doctor import Outcome
from edge.ledger import Ledger
from edge.zones import Zone
from tests.cloud_sync.a_device import an_event, book


def test_what_every_box_needs_is_there() -> None:
    for check in (doctor.check_python, doctor.check_opencv, doctor.check_openvino):
        finding = check()
        assert finding.outcome is Outcome.OK, finding
    assert doctor.check_onnxruntime(needed=True).outcome is Outcome.OK
    assert doctor.check_clock().outcome is Outcome.OK


def test_a_clock_from_before_the_release_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86400.0)
    finding = doctor.check_clock()
    assert finding.outcome is Outcome.FAILED
    assert finding.advice


def test_the_state_folder_may_be_made_later_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    finding = doctor.check_state(tmp_path / "not" / "yet")
    assert finding.outcome is Outcome.OK
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_under_a_file_system_that_refuses_is_said() -> None:
    finding = doctor.check_state(Path("/proc/shelfgate"))
    assert finding.outcome is Outcome.FAILED
    assert "state_dir" in finding.advice


def test_too_little_disk_space_is_said(tmp_path: Path) -> None:
    assert doctor.check_disk(tmp_path, 10**9).outcome is Outcome.FAILED
    assert doctor.check_disk(tmp_path, 0).outcome is Outcome.OK


def a_certificate(folder: Path, days: float) -> Path:
    """A box's folder of certificates, with one that holds so long."""
    authority = Authority.make(folder / "authority")
    issued, key = authority.issue("store-1/box-1", days=days)
    tls = folder / "tls"
    tls.mkdir()
    (tls / "device.pem").write_bytes(issued.pem)
    write_key(tls / "device.key", key)
    return tls


@pytest.mark.parametrize(
    ("days_later", "outcome", "said"),
    [
        (0.0, Outcome.OK, "renewed by itself before"),
        (250.0, Outcome.OK, "renewed by itself before"),
        (290.0, Outcome.WARNING, "it ends on"),
        (366.0, Outcome.FAILED, "it ended on"),
    ],
)
def test_a_certificate_that_should_have_been_renewed_is_said(
    tmp_path: Path, days_later: float, outcome: Outcome, said: str
) -> None:
    tls = a_certificate(tmp_path, 365.0)
    finding = doctor.check_certificate(tls, lambda: time.time() + days_later * 86_400)
    assert finding.outcome is outcome
    assert said in finding.found
    assert bool(finding.advice) is (outcome is not Outcome.OK)


def test_a_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    assert "no such file" in doctor.check_certificate(tmp_path).found
    (tmp_path / "device.pem").write_text("noise")
    finding = doctor.check_certificate(tmp_path)
    assert (finding.outcome, "shelfgate enrol" in finding.advice) == (Outcome.FAILED, True)


def test_a_ledger_is_counted_and_left_as_it_is(tmp_path: Path) -> None:
    assert "none yet" in doctor.check_ledger(tmp_path).found
    ledger = Ledger(tmp_path / "ledger.db", "box-1")
    ledger.open_session("s-1", 0.0)
    book(ledger, an_event("e-1"))
    book(ledger, an_event("e-2", sku=None))

    while_open = doctor.check_ledger(tmp_path)
    ledger.close()
    after = doctor.check_ledger(tmp_path)

    for finding in (while_open, after):
        assert finding.outcome is Outcome.OK
        assert finding.found == "3 entries, 3 of them not sent, 1 wait for a person"
    assert os.listdir(tmp_path) == ["ledger.db"]


@pytest.mark.parametrize("content", [b"not a ledger" * 400, b""])
def test_a_damaged_ledger_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    finding = doctor.check_ledger(tmp_path)
    assert finding.outcome is Outcome.FAILED
    assert "ledger.db" in finding.found
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.db"]


def test_a_hub_without_its_postgresql_driver_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    there = doctor.check_hub()
    assert there.outcome is Outcome.OK
    assert "psycopg 3" in there.found
    monkeypatch.setattr(doctor, "HUB_PACKAGES", ("sqlalchemy", "psycopg-that-is-not-there"))
    finding = doctor.check_hub()
    assert finding.outcome is Outcome.WARNING
    assert "shelfgate[hub]" in finding.advice
    monkeypatch.setattr(doctor, "HUB_PACKAGES", ("none-such",))
    assert doctor.check_hub().outcome is Outcome.OK


def test_a_missing_broker_is_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    finding = doctor.check_mosquitto()
    assert finding.outcome is Outcome.WARNING
    assert "apt-get install mosquitto" in finding.advice


def test_an_unknown_detector_is_said_with_those_that_ship() -> None:
    finding = doctor.check_detector("yolox_nanno")
    assert finding.outcome is Outcome.FAILED
    assert "yolox_nano" in finding.found


def test_a_bundle_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert doctor.check_bundle(tmp_path, "openvino").outcome is Outcome.FAILED


def test_a_camera_that_does_not_answer_fails_and_its_password_stays_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "CAMERA_ANSWERS_S", 1.0)
    finding = doctor.check_camera(CameraSettings("front", "http://me:secret@127.0.0.1:9/"))
    assert finding.outcome is Outcome.FAILED
    assert "refused" in finding.found
    assert "secret" not in finding.found


def test_a_zone_outside_a_cameras_picture_is_said(shared_data: Path) -> None:
    clip = str(shared_data / "video" / "bottle-detection.mp4")
    inside = Zone("a", ((0, 0), (640, 0), (640, 360)))
    outside = Zone("b", ((0, 0), (800, 0), (640, 360)))
    assert doctor.check_camera(CameraSettings("c", clip, zones=(inside,))).outcome is Outcome.OK
    finding = doctor.check_camera(CameraSettings("c", clip, zones=(inside, outside)))
    assert finding.outcome is Outcome.FAILED
    assert "zone 'b' lies outside the frame" in finding.found


def test_the_command_prints_one_object_and_ends_with_1_where_a_check_failed(
    tmp_path: Path,
) -> None:
    config = tmp_path / "edge.toml"
    config.write_text('[detector]\nenabled = false\n[[camera]]\nid = "a"\nsource = "none.mp4"\n')
    result = CliRunner().invoke(main, ["doctor", "--config", str(config), "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    by_name = {check["check"]: check for check in report["checks"]}
    assert "no such file" in by_name["camera a"]["found"]
    assert "detector" not in by_name
    assert os.listdir(tmp_path) == ["edge.toml"]


def test_a_configuration_that_cannot_be_read_ends_with_2_and_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--config", str(tmp_path / "none.toml")])
    assert result.exit_code == 2
    assert "none.toml: no such file or directory" in result.stderr
    assert result.stdout == ""
