"""The whole appliance: real footage through real parts, a real broker and a real hub."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from cloud_sync.broker import Broker
from edge.appliance import Appliance
from edge.config import load
from edge.ledger import Ledger
from tests.cloud_sync.a_device import HubProcess, until
from tests.edge.bottles import CLIP, ROOT, SHELFGATE, TAKEN, a_config, beginning

DEAD = """
[[camera]]
id = "dead"
source = "rtsp://127.0.0.1:1/none"
"""


@pytest.fixture
def quiet_clip(tmp_path: Path) -> Path:
    """Five seconds of a grey shelf with two boxes on it."""
    path = tmp_path / "quiet.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (320, 180))
    image = np.full((180, 320, 3), 150, np.uint8)
    cv2.rectangle(image, (60, 60), (110, 150), (40, 90, 200), -1)
    cv2.rectangle(image, (200, 60), (250, 150), (200, 90, 40), -1)
    for _ in range(125):
        writer.write(image)
    writer.release()
    return path


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SHELFGATE, "run", "--config", str(config), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_footage_becomes_a_receipt_at_the_hub(
    shared_data: Path, bottle_bundle: Path, broker: Broker, hub: HubProcess, tmp_path: Path
) -> None:
    clip = beginning(shared_data, tmp_path)
    path = a_config(tmp_path, clip, bottle_bundle, broker_port=broker.port)
    appliance = Appliance(load(path))
    page = httpx.Client(base_url=appliance.page.url, timeout=10)
    try:
        appliance.storefront.open_session("shopper-1")
        appliance.start()
        until(lambda: appliance.done, 90)
        state = page.get("api/state").json()
        closed = page.post("api/sessions/shopper-1/close", json={})
        assert appliance.wait_until_synced(20)
    finally:
        page.close()
        appliance.stop()

    assert closed.status_code == 200
    assert state["cameras"][0]["health"] == "ended"
    assert state["cameras"][0]["frames"] > 600
    assert len(state["events"]) == 4
    (receipt,) = hub.get("/receipts")
    (cart,) = state["carts"]
    assert receipt["session"] == "shopper-1"
    assert receipt["total_minor"] == cart["total_minor"] == TAKEN * 1490
    assert [line["quantity"] for line in receipt["lines"]] == [TAKEN]
    assert [line["quantity"] for line in cart["lines"]] == [TAKEN]


@pytest.mark.slow
def test_the_same_recording_again_books_nothing_twice(
    shared_data: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    path = a_config(tmp_path, shared_data / CLIP, bottle_bundle)

    def entries() -> int:
        ledger = Ledger(tmp_path / "state" / "ledger.db", "box-1")
        count = ledger.waiting()
        ledger.close()
        return count

    assert run(path, "--until-end").returncode == 0
    once = entries()
    assert run(path, "--until-end").returncode == 0

    assert once >= 8
    assert entries() == once


def test_a_dead_camera_slows_neither_the_page_nor_the_other_camera(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    path = a_config(tmp_path, quiet_clip, bottle_bundle, pace="real", extra=DEAD)
    appliance = Appliance(load(path))
    try:
        appliance.start()
        alive = next(one for one in appliance.cameras if one.source.camera == "bottles")
        with httpx.Client(base_url=appliance.page.url, timeout=5) as page:
            began = time.monotonic()
            while not alive.done and time.monotonic() - began < 15:
                assert page.get("api/state").status_code == 200
                page.get("cameras/dead.jpg")
                page.get("cameras/bottles.jpg")
                time.sleep(0.1)
            states: dict[str, Any] = {
                one["camera"]: one for one in page.get("api/state").json()["cameras"]
            }
    finally:
        began = time.monotonic()
        appliance.stop()
        stop_s = time.monotonic() - began

    assert alive.progress.frames == 125
    assert states["dead"]["health"] == "lost"
    assert states["dead"]["note"]
    assert stop_s < 5.0


def test_the_gate_is_called_over_http(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    appliance = Appliance(load(a_config(tmp_path, quiet_clip, bottle_bundle, pace="real")))
    try:
        appliance.start()
        with httpx.Client(base_url=appliance.page.url, timeout=5) as page:
            assert page.post("api/sessions", json={"session_id": "s-1"}).status_code == 201
            assert page.post("api/sessions", json={"session_id": "s-1"}).status_code == 201
            assert page.get("api/carts").json()["carts"][0]["is_open"] is True
            assert page.post("api/sessions/s-1/close", json={}).status_code == 200
            assert page.post("api/sessions/s-1/close", json={}).status_code == 200
            again = page.post("api/sessions", json={"session_id": "s-1"})
            nobody = page.post("api/sessions/s-9/close", json={})
            nothing = page.post("api/reviews/none/dismiss", json={})
    finally:
        appliance.stop()

    assert (again.status_code, nobody.status_code, nothing.status_code) == (409, 404, 404)
    assert "never used twice" in again.json()["error"]


def test_it_lets_go_of_old_evidence_while_it_runs(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    extra = "[evidence]\nkeep_days = 1\n"
    path = a_config(tmp_path, quiet_clip, bottle_bundle, pace="real", extra=extra)
    for name, days in (("old", 2), ("new", 0)):
        folder = tmp_path / "state" / "evidence" / name
        folder.mkdir(parents=True)
        (folder / "before.jpg").write_bytes(b"x" * 5000)
        os.utime(folder, (time.time() - days * 86_400,) * 2)
    appliance = Appliance(load(path))
    try:
        appliance.start()
        until(lambda: not (tmp_path / "state" / "evidence" / "old").exists(), 10)
        warnings = httpx.get(appliance.page.url + "api/state").json()["warnings"]
    finally:
        appliance.stop()

    assert (tmp_path / "state" / "evidence" / "new" / "before.jpg").is_file()
    assert warnings == []


def test_it_stops_in_good_order_at_sigterm(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    path = a_config(tmp_path, quiet_clip, bottle_bundle, pace="real", extra=DEAD)
    process = subprocess.Popen(
        [*SHELFGATE, "run", "--config", str(path), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["page"]
    assert httpx.get(url + "api/state").status_code == 200

    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=15)[1]

    assert process.returncode == 0
    assert time.monotonic() - began < 6.0
    assert "Traceback" not in said


def test_two_appliances_do_not_share_a_state_folder(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    path = a_config(tmp_path, quiet_clip, bottle_bundle)
    first = Appliance(load(path))
    try:
        second = run(path)
    finally:
        first.stop()

    # It may pass: what starts appliances is to try again.
    assert second.returncode == 1
    assert "another appliance is running" in second.stderr


def test_a_ledger_of_another_box_is_for_somebody_to_mend_and_exit_code_2(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    path = a_config(tmp_path, quiet_clip, bottle_bundle)
    (tmp_path / "state").mkdir()
    Ledger(tmp_path / "state" / "ledger.db", "box-9").close()

    ended = run(path)

    assert ended.returncode == 2
    assert "belongs to device 'box-9'" in ended.stderr


def test_a_page_whose_port_is_taken_may_be_free_later_and_is_exit_code_1(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    path = a_config(tmp_path, quiet_clip, bottle_bundle)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path.write_text(path.read_text().replace("port = 0", f"port = {port}"))
        ended = run(path)

    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("pace = ", "pase = "), "did you mean 'pace'"),
        (("quiet.mp4", "none.mp4"), "no such file"),
        (("quiet.mp4", "text.mp4"), "no video"),
        (('path = "', 'path = "/nowhere'), "no such bundle"),
        (("port = 0", "port = 70000"), "port"),
        (("[[camera]]", "[camera]"), "[[camera]]"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    (tmp_path / "text.mp4").write_text("this is a letter, not a video")
    path = a_config(tmp_path / "box", quiet_clip, bottle_bundle)
    path.write_text(path.read_text().replace(*change))

    ended = run(path)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "box" / "state").exists()


def test_a_zone_outside_the_frame_is_refused_before_anything_starts(
    quiet_clip: Path, bottle_bundle: Path, tmp_path: Path
) -> None:
    zone = "[[camera.zones]]\nid = 'far'\npolygon = [[0, 0], [900, 0], [900, 90]]\n"
    path = a_config(tmp_path, quiet_clip, bottle_bundle, extra=zone)

    ended = run(path)

    assert ended.returncode == 2
    assert "zone 'far' lies outside the frame" in ended.stderr
    assert not (tmp_path / "state").exists()
