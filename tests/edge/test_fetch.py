"""A recording at a web address, served by a real HTTP server, is played like a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge import fetch as fetching
from edge.appliance import Appliance
from edge.capture import CaptureError, Recording
from edge.cli import main
from edge.config import load
from models.bundle import DEFAULT_BUNDLE
from tests.cloud_sync.a_device import until
from tests.edge.bottles import a_config
from tests.edge.test_demo import demo

SECRET = "Basic bWU6c2VjcmV0"


@dataclass
class Host:
    """A web server. files: what lies where; breaks: it hangs up in the middle of those."""

    url: str
    files: dict[str, bytes]
    breaks: set[str]


@pytest.fixture
def host() -> Iterator[Host]:
    served = Host("", {}, set())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = served.files.get(self.path)
            locked = self.path.startswith("/locked/") and self.headers["authorization"] != SECRET
            if body is None or locked:
                self.send_error(401 if locked else 404)
                return
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path in served.breaks else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def a_clip(path: Path) -> bytes:
    """A red box leaves a grey shelf and comes back."""
    bare = np.full((180, 320, 3), 120, np.uint8)
    full = bare.copy()
    cv2.rectangle(full, (60, 40), (100, 140), (40, 60, 200), -1)
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 15, (320, 180))
    for image in [full] * 30 + [bare] * 40 + [full] * 40:
        writer.write(image)
    writer.release()
    return path.read_bytes()


def replayed(source: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["replay", source, "--json"])
    return done.exit_code, done.stdout, done.stderr


def test_an_address_gives_the_same_events_as_the_file(
    host: Host, tmp_path: Path, temp: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    host.files["/shop/clip.mp4?day=3"] = a_clip(clip)

    code, out, said = replayed(f"{host.url}/shop/clip.mp4?day=3")

    assert code == 0, said
    assert json.loads(out)["events"] == json.loads(replayed(str(clip))[1])["events"]
    assert [event["kind"] for event in json.loads(out)["events"]] == ["pick", "return"]
    assert list(temp.iterdir()) == []


def test_the_demo_plays_an_address_to_its_receipt(host: Host, tmp_path: Path) -> None:
    host.files["/clip.mp4"] = a_clip(tmp_path / "clip.mp4")
    temp = tmp_path / "temp"
    temp.mkdir()

    process = demo(temp, "--clip", f"{host.url}/clip.mp4", "--json")
    out, said = process.communicate(timeout=180)

    assert process.returncode == 0, said
    result = json.loads(out)
    assert (result["frames"], result["synced"], len(result["receipts"])) == (110, True, 1)
    assert list(temp.iterdir()) == []


def test_an_appliance_watches_a_recording_at_an_address(
    host: Host, tmp_path: Path, temp: Path
) -> None:
    host.files["/clip.mp4"] = a_clip(tmp_path / "clip.mp4")
    path = a_config(tmp_path / "box", Path("clip"), DEFAULT_BUNDLE)
    path.write_text(path.read_text().replace('"clip"', f'"{host.url}/clip.mp4"'))
    appliance = Appliance(load(path))
    try:
        appliance.start()
        until(lambda: appliance.done, 60)
        booked = appliance.bookkeeper.booked
    finally:
        appliance.stop()

    assert booked == 2
    assert list(temp.iterdir()) == []


def test_a_user_and_password_in_the_address_are_sent_and_not_shown(
    host: Host, tmp_path: Path, temp: Path
) -> None:
    host.files["/locked/clip.avi"] = a_clip(tmp_path / "clip.avi")
    place = host.url.removeprefix("http://")

    assert Recording(f"http://me:secret@{place}/locked/clip.avi", "c").frames == 110
    with pytest.raises(CaptureError, match="answers 401") as caught:
        Recording(f"http://me:wrong@{place}/locked/clip.avi", "c")
    assert "wrong" not in str(caught.value)


def test_a_connection_that_breaks_is_a_cut(host: Host, tmp_path: Path, temp: Path) -> None:
    host.files["/clip.avi"] = a_clip(tmp_path / "clip.avi")
    host.breaks.add("/clip.avi")

    code, out, said = replayed(f"{host.url}/clip.avi")

    assert code == 0
    assert 40 < json.loads(out)["report"]["frames"] < 70
    assert f"{host.url}/clip.avi: cut off at" in said
    assert list(temp.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none.mp4", "the server answers 404"),
        ("/page.mp4", "no video"),
        ("/empty.mp4", "the file is empty"),
    ],
)
def test_what_is_no_recording_is_one_line_and_leaves_nothing(
    host: Host, temp: Path, path: str, reason: str
) -> None:
    host.files |= {"/page.mp4": b"<html>hello</html>" * 50, "/empty.mp4": b""}

    code, out, said = replayed(host.url + path)

    assert (code, out) == (2, "")
    assert len(said.strip().splitlines()) == 1
    assert f"{host.url}{path}: {reason}" in said
    assert list(temp.iterdir()) == []


def test_nobody_at_the_address_and_no_address_are_one_line(temp: Path) -> None:
    for address, reason in (
        ("http://127.0.0.1:1/clip.mp4", "refused"),
        ("http://[/clip.mp4", "ipv6"),
    ):
        code, _, said = replayed(address)
        assert code == 2
        assert reason in said.lower()
        assert len(said.strip().splitlines()) == 1


def test_a_recording_larger_than_the_disk_is_refused_before_it_comes(
    host: Host, temp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.files["/clip.avi"] = a_clip(tmp_path / "clip.avi")
    monkeypatch.setattr(fetching, "ROOM_LEFT", 1 << 60)

    with pytest.raises(CaptureError, match="no room for it"):
        Recording(f"{host.url}/clip.avi", "c")
    assert list(temp.iterdir()) == []


def test_what_is_no_recordings_address_says_what_is_expected() -> None:
    code, _, said = replayed("rtsp://127.0.0.1/stream")
    assert code == 2
    assert "a recording is expected" in said
