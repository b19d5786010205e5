"""What a detector finds, and what it says about folders that hold none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.detect import (
    BOX_TOLERANCE,
    SCORE_TOLERANCE,
    SHIPPED,
    Detection,
    DetectorError,
    OnnxDetector,
    OpenVinoDetector,
    load_detector,
)
from edge.runtime import RuntimeUnavailable
from models.detection_boxes import UltralyticsDecoder, YoloxDecoder, letterbox, overlap, suppress


@pytest.fixture(scope="session")
def yolox() -> OpenVinoDetector:
    detector = load_detector("yolox_nano", threads=1)
    assert isinstance(detector, OpenVinoDetector)
    return detector


@pytest.fixture(scope="session")
def onnx() -> OnnxDetector:
    detector = load_detector("yolox_nano", threads=1, runtime="onnxruntime")
    assert isinstance(detector, OnnxDetector)
    return detector


def frames_of(clip: Path, *numbers: int) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(clip))
    frames = []
    for number in range(max(numbers) + 1):
        ok, frame = capture.read()
        assert ok, f"{clip} has no frame {number}"
        if number in numbers:
            frames.append(frame)
    return frames


def labels(detections: list[Detection]) -> list[str]:
    return [each.label for each in detections]


def test_three_bottles_on_the_table_are_three_products(
    yolox: OpenVinoDetector, shared_data: Path
) -> None:
    [frame] = frames_of(shared_data / "video/bottle-detection.mp4", 0)
    found = sorted(yolox.detect(frame), key=lambda each: each.box[0])
    assert labels(found) == ["product"] * 3
    assert min(each.score for each in found) > 0.85
    middles = [(each.box[0] + each.box[2]) / 2 for each in found]
    assert middles == pytest.approx([90, 315, 540], abs=10)


CLIPS = [
    ("bottle-detection.mp4", range(0, 1000, 90)),
    ("one-by-one-person-detection.mp4", range(60, 600, 60)),
    ("store-aisle-detection.gif", range(5, 65, 15)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("clip", "numbers"), CLIPS)
def test_both_runtimes_find_the_same_on_real_frames_within_the_tolerance(
    onnx: OnnxDetector, shared_data: Path, clip: str, numbers: range
) -> None:
    low = load_detector("yolox_nano", threads=1, min_score=0.3 - SCORE_TOLERANCE)
    frames = frames_of(shared_data / "video" / clip, *numbers)
    compared = 0
    for frame in frames:
        pixels = BOX_TOLERANCE * max(frame.shape) / 416
        others = low.detect(frame)
        found = onnx.detect(frame)
        assert len(found) >= sum(each.score >= 0.3 + SCORE_TOLERANCE for each in others)
        for each in found:
            near = [
                other
                for other in others
                if other.label == each.label and np.allclose(other.box, each.box, atol=pixels)
            ]
            assert near, f"{each} is not among {others}"
            assert min(abs(other.score - each.score) for other in near) <= SCORE_TOLERANCE
            compared += 1
    assert compared >= 5


def test_many_at_once_on_onnx_give_what_one_at_a_time_gives(
    onnx: OnnxDetector, shared_data: Path
) -> None:
    frames = frames_of(shared_data / "video/bottle-detection.mp4", *range(100, 106))
    frames[2] = np.ascontiguousarray(frames[2][:200, :300])
    assert list(onnx.detect_many(frames)) == [onnx.detect(frame) for frame in frames]


def test_a_detector_without_an_onnx_form_says_so(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "yolox_nano", tmp_path / "mine")
    described = tmp_path / "mine/detector.json"
    said = json.loads(described.read_text())
    del said["onnx"]
    described.write_text(json.dumps(said))
    with pytest.raises(DetectorError, match="has no ONNX form"):
        load_detector(str(tmp_path / "mine"), runtime="onnxruntime")


def test_a_damaged_or_wrong_onnx_network_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(SHIPPED / "yolox_nano", folder)
    said = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**said, "input_size": 320}))
    with pytest.raises(DetectorError, match="not one 1x3x320x320"):
        load_detector(str(folder), runtime="onnxruntime")
    (folder / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(RuntimeUnavailable, match=r"model\.onnx") as caught:
        load_detector(str(folder), runtime="onnxruntime")
    assert "\n" not in str(caught.value)
    (folder / "model.onnx").unlink()
    with pytest.raises(DetectorError, match=r"model\.onnx: the network is missing"):
        load_detector(str(folder))


def test_a_person_is_found(yolox: OpenVinoDetector, shared_data: Path) -> None:
    frames = frames_of(shared_data / "video/one-by-one-person-detection.mp4", *range(60, 360, 60))
    assert sum("person" in labels(yolox.detect(frame)) for frame in frames) >= 3


def test_many_in_flight_give_what_one_at_a_time_gives(
    yolox: OpenVinoDetector, shared_data: Path
) -> None:
    frames = frames_of(shared_data / "video/bottle-detection.mp4", *range(100, 112))
    together = list(yolox.detect_many(frames))
    alone = [yolox.detect(frame) for frame in frames]
    assert [labels(each) for each in together] == [labels(each) for each in alone]
    for one, other in zip(together, alone, strict=True):
        assert np.allclose([x.box for x in one], [x.box for x in other], atol=1.0)


def test_leaving_early_leaves_the_detector_usable(yolox: OpenVinoDetector) -> None:
    grey = np.full((90, 160, 3), 128, np.uint8)
    for _ in yolox.detect_many(grey for _ in range(10)):
        break
    assert list(yolox.detect_many([grey, grey])) == [[], []]


@pytest.mark.parametrize("size", [(1, 1), (20, 700), (1080, 1920), (480, 480)])
def test_any_size_of_picture_is_taken(yolox: OpenVinoDetector, size: tuple[int, int]) -> None:
    assert yolox.detect(np.full((*size, 3), 90, np.uint8)) == []


def test_a_detector_is_taken_from_a_folder(tmp_path: Path, shared_data: Path) -> None:
    shutil.copytree(SHIPPED / "yolox_nano", tmp_path / "mine")
    described = tmp_path / "mine/detector.json"
    said = json.loads(described.read_text())
    described.write_text(json.dumps({**said, "labels": {"bottle": "product"}}))
    detector = load_detector(str(tmp_path / "mine"))
    [frame] = frames_of(shared_data / "video/bottle-detection.mp4", 0)
    assert labels(detector.detect(frame)) == ["product"] * 3


def test_an_unknown_detector_names_those_there_are() -> None:
    with pytest.raises(DetectorError, match=r"no detector 'yolo99'.*yolox_nano"):
        load_detector("yolo99")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ssd"}, "kind is 'ssd'"),
        ({"input_size": 415}, "multiple of 32"),
        ({"input_size": 320}, "not one 1x3x320x320"),
        ({"labels": {"person": "human"}}, "label 'human'"),
        ({"classes": ["person"]}, "not 1 classes"),
        ({"classes": None}, "needs kind, input_size and classes"),
        ({"model": "other.xml"}, r"other\.xml: the network is missing"),
    ],
)
def test_a_wrong_description_is_one_clear_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(SHIPPED / "yolox_nano", folder)
    said = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**said, **change}))
    with pytest.raises(DetectorError, match=message) as caught:
        load_detector(str(folder))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_damaged_network_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(SHIPPED / "yolox_nano", folder)
    (folder / "model.xml").write_text("<net")
    with pytest.raises(DetectorError, match="cannot be read as a network") as caught:
        load_detector(str(folder))
    assert "\n" not in str(caught.value)


def test_a_box_survives_the_letterbox_and_the_way_back() -> None:
    image = np.zeros((200, 400, 3), np.uint8)
    image[100:150, 40:80] = 255
    blob, scale = letterbox(image, 416)
    rows, columns = np.nonzero(blob[0, :208, :, 0] > 127)
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    assert scale.to_picture(seen, width=400, height=200)[0] == pytest.approx(
        [40, 100, 80, 150], abs=1.5
    )
    assert (blob[0, 208:] == 114).all()


def test_yolox_output_is_read_by_cell_and_stride() -> None:
    output = np.zeros((1, 21, 7), np.float32)
    output[0, 16 + 3] = [0.5, 0.25, np.log(2), np.log(3), 0.9, 0.1, 0.8]
    found = YoloxDecoder(32).decode(output, 0.3)
    assert found.boxes.tolist() == [pytest.approx([24 - 16, 20 - 24, 24 + 16, 20 + 24])]
    assert found.scores == pytest.approx([0.72])
    assert found.classes.tolist() == [1]


def test_ultralytics_output_is_read_by_column() -> None:
    output = np.zeros((1, 7, 5), np.float32)
    output[0, :, 2] = [50, 60, 20, 40, 0.1, 0.2, 0.7]
    found = UltralyticsDecoder().decode(output, 0.3)
    assert found.boxes.tolist() == [[40, 40, 60, 80]]
    assert found.scores == pytest.approx([0.7])
    assert found.classes.tolist() == [2]


@settings(deadline=None, max_examples=50)
@given(
    corners=st.lists(
        st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2), min_size=0, max_size=25
    ),
    seed=st.integers(0, 99),
)
def test_what_is_suppressed_overlaps_something_better_of_its_class(
    corners: list[tuple[int, int, int, int]], seed: int
) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in corners], np.float32).reshape(-1, 4)
    random = np.random.default_rng(seed)
    scores = random.random(len(boxes)).astype(np.float32)
    classes = random.integers(0, 2, len(boxes))
    keep = suppress(boxes, scores, classes)
    shared = overlap(boxes, boxes) > 0.5
    assert list(keep) == sorted(keep, key=lambda i: -scores[i])
    for i in range(len(boxes)):
        better = [k for k in keep if k != i and shared[i, k] and classes[i] == classes[k]]
        assert (i in keep) == all(scores[k] <= scores[i] for k in better)
