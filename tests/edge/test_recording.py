"""A recording gives every frame with its time; what is no video is refused; a cut is said."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.capture import CaptureError, Recording, State, open_source
from edge.config import CameraSettings

FRAMES = 60


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 60 frames at 20 frames a second; the red value of frame n is about 4 n."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (160, 120))
    noise = np.random.default_rng(1).integers(0, 60, (FRAMES, 120, 160, 3), dtype=np.uint8)
    for index, image in enumerate(noise):
        image[:, :, 2] = 4 * index
        writer.write(image)
    writer.release()
    return path


def with_index_first(clip: Path, folder: Path) -> bytes:
    """Return the clip in a container that has its list of frames at its start."""
    path = folder / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (160, 120))
    for frame in Recording(clip, "c"):
        writer.write(frame.image)
    writer.release()
    return path.read_bytes()


def test_every_frame_comes_in_order_with_its_time(clip: Path) -> None:
    recording = Recording(clip, "front")
    frames = list(recording)
    assert [frame.sequence for frame in frames] == list(range(FRAMES))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 20 for n in range(FRAMES)])
    assert {frame.camera for frame in frames} == {"front"}
    assert [float(frame.image[:, :, 2].mean()) for frame in frames] == pytest.approx(
        [4.0 * n for n in range(FRAMES)], abs=6
    )
    assert recording.ended
    assert recording.cut is None
    assert recording.health.state is State.ENDED
    assert recording.read() is None


def test_a_clip_in_real_time_is_never_ahead_of_its_clock(clip: Path) -> None:
    recording = Recording(clip, "front", real_time=True)
    started = time.monotonic()
    frames = [next(iter(recording)) for _ in range(11)]
    assert time.monotonic() - started >= frames[-1].time_s - 0.05
    assert recording.read(timeout_s=0.0) is None
    assert not recording.ended


def test_stop_ends_a_recording_that_waits(clip: Path) -> None:
    recording = Recording(clip, "front", real_time=True)
    frames: list[object] = []
    reader = threading.Thread(target=lambda: frames.extend(recording))
    reader.start()
    time.sleep(0.3)
    recording.stop()
    reader.join(1.0)
    assert not reader.is_alive()
    assert 0 < len(frames) < FRAMES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"this is a letter, not a clip\n" * 99, "no video"),
        (b"\x00" * 5000, "no video"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=said) as caught:
        Recording(path, "front")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_a_folder_and_a_photo_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no such file"):
        open_source(CameraSettings("front", str(tmp_path / "none.mp4")))
    with pytest.raises(CaptureError, match="is a directory"):
        Recording(tmp_path, "front")
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((50, 50, 3), 90, np.uint8))
    with pytest.raises(CaptureError, match="a single picture"):
        Recording(tmp_path / "photo.jpg", "front")


def test_a_file_cut_off_in_the_middle_is_read_up_to_the_cut_and_says_so(
    clip: Path, tmp_path: Path
) -> None:
    whole = with_index_first(clip, tmp_path)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    recording = Recording(cut, "front")
    frames = list(recording)
    assert 20 <= len(frames) <= 32
    assert recording.cut is not None
    assert f"{len(frames)} of about {FRAMES} frames" in recording.cut
    assert recording.health.message == recording.cut


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_file_cut_off_before_its_index_is_refused_and_says_why(
    clip: Path, tmp_path: Path, suffix: str
) -> None:
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(clip.read_bytes()[:-2000])
    with pytest.raises(CaptureError, match="cut off: its index is missing") as caught:
        Recording(cut, "front")
    assert "\n" not in str(caught.value)


def in_container(clip: Path, path: Path, codec: str) -> bytes:
    """Return the clip in the container that the path's ending names."""
    if path.suffix == ".mp4":
        path.write_bytes(index_first(clip.read_bytes()))
        return path.read_bytes()
    four = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, four, 20.0, (160, 120))
    assert writer.isOpened()
    for frame in Recording(clip, "c"):
        writer.write(frame.image)
    writer.release()
    return path.read_bytes()


def index_first(mp4: bytes) -> bytes:
    """Return an MP4 file with its index before its frames, as for the web."""
    boxes, at = {}, 0
    while at < len(mp4):
        length = int.from_bytes(mp4[at : at + 4], "big")
        boxes[mp4[at + 4 : at + 8]] = mp4[at : at + length]
        at += length
    index = bytearray(boxes[b"moov"])
    table = index.index(b"stco") + 8
    for place in range(int.from_bytes(index[table : table + 4], "big")):
        entry = slice(table + 4 + 4 * place, table + 8 + 4 * place)
        moved = int.from_bytes(index[entry], "big") + len(index)
        index[entry] = moved.to_bytes(4, "big")
    rest = b"".join(box for kind, box in boxes.items() if kind not in (b"ftyp", b"moov"))
    return boxes[b"ftyp"] + bytes(index) + rest


CONTAINERS = [
    ("clip.mkv", "mp4v"),
    ("clip.webm", "VP80"),
    ("clip.avi", "MJPG"),
    ("clip.ts", "mp4v"),
    ("first.mp4", "mp4v"),
]


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
@pytest.mark.parametrize("left", [0.97, 0.5])
def test_a_cut_is_noticed_in_every_container_also_near_the_end(
    clip: Path, tmp_path: Path, name: str, codec: str, left: float
) -> None:
    whole = in_container(clip, tmp_path / name, codec)
    recording = Recording(tmp_path / name, "front")
    assert len(list(recording)) == FRAMES
    assert recording.cut is None

    cut = tmp_path / f"cut-{name}"
    length = int(len(whole) * left)
    cut.write_bytes(whole[: length + (length % 188 == 0)])
    recording = Recording(cut, "front")
    frames = list(recording)

    assert (left - 0.15) * FRAMES <= len(frames) <= FRAMES
    assert recording.cut is not None
    assert f"{cut}: cut off at " in recording.cut
    assert f"{len(frames)} " in recording.cut


def test_a_stream_that_ends_after_a_whole_packet_is_taken_for_whole(
    clip: Path, tmp_path: Path
) -> None:
    whole = in_container(clip, tmp_path / "clip.ts", "mp4v")
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) // 188 // 2 * 188])
    recording = Recording(tmp_path / "cut.ts", "front")
    assert 20 < len(list(recording)) < 40
    assert recording.cut is None


def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(
    clip: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "clip.mp4"
    copy.write_bytes(clip.read_bytes())
    recording = Recording(copy, "front")
    copy.unlink()
    assert len(list(recording)) == FRAMES
    assert recording.cut is None


def test_nothing_is_written_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no clip" * 400)
    with pytest.raises(CaptureError):
        Recording(tmp_path / "clip.mp4", "front")
    assert capfd.readouterr() == ("", "")


def test_a_gif_keeps_its_own_times_and_a_cut_one_says_so(shared_data: Path, tmp_path: Path) -> None:
    whole = shared_data / "video" / "store-aisle-detection.gif"
    recording = Recording(whole, "front")
    times = [frame.time_s for frame in recording]
    assert len(times) == 67
    assert times[:4] == pytest.approx([0, 0.07, 0.13, 0.2])
    assert recording.cut is None
    (tmp_path / "cut.gif").write_bytes(whole.read_bytes()[:1_500_000])
    cut = Recording(tmp_path / "cut.gif", "front")
    assert 20 < len(list(cut)) < 60
    assert cut.cut is not None


def test_the_bottle_clip_gives_all_its_frames(shared_data: Path) -> None:
    recording = Recording(shared_data / "video" / "bottle-detection.mp4", "front")
    frames = [(frame.sequence, frame.time_s) for frame in recording]
    assert len(frames) == recording.frames == 1189
    assert frames[600][1] == pytest.approx(600 / 29.8333, abs=0.002)
