"""Material, training, export and judging of detectors, on the smallest scale that shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detection import Detection, Label
from models.detector_commands import detector
from models.detector_cutouts import from_packshot
from models.detector_evaluate import average_precision, table
from models.detector_labels import Labelled, MaterialError, Picture, read, write
from models.detector_scenes import Ground, Stock, compose
from models.detector_simulator import known_boxes

YOLOX = Path(__file__).parents[2] / "edge/detectors/yolox_nano"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(detector, [str(word) for word in words])


def a_packshot(colour: tuple[int, int, int] = (40, 60, 200)) -> Picture:
    picture = np.full((120, 100, 3), 255, np.uint8)
    picture[20:110, 30:70] = colour
    return picture


def found(x: float, score: float, label: Label = "product") -> Detection:
    return Detection((x, 0, x + 10, 10), score, label)


def true(x: float, label: Label = "product") -> Labelled:
    return Labelled(label, (x, 0, x + 10, 10))


def test_a_packshot_comes_off_its_white_ground() -> None:
    cut = from_packshot(a_packshot())
    assert cut is not None
    assert cut.picture.shape[:2] == pytest.approx((90, 40), abs=4)
    assert (cut.cover > 0).mean() > 0.9


def test_a_white_picture_holds_no_goods() -> None:
    assert from_packshot(np.full((80, 80, 3), 255, np.uint8)) is None


def a_stock() -> Stock:
    red, green, hand = (
        from_packshot(a_packshot(colour)) for colour in ((0, 0, 200), (0, 180, 0), (120, 150, 220))
    )
    assert red is not None
    assert green is not None
    assert hand is not None
    return Stock(
        [red, green], [replace(hand, label="hand")], [Ground(np.full((180, 320, 3), 90, np.uint8))]
    )


def test_composed_pictures_show_goods_and_hands() -> None:
    shown = {
        each.label
        for seed in range(20)
        for each in compose(a_stock(), np.random.default_rng(seed))[1]
    }
    assert shown >= {"product", "hand"}


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_boxes_of_a_composed_picture_lie_in_it_and_are_not_empty(seed: int) -> None:
    picture, boxes = compose(a_stock(), np.random.default_rng(seed))
    height, width = picture.shape[:2]
    assert picture.dtype == np.uint8
    for each in boxes:
        x1, y1, x2, y2 = each.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


def test_a_set_reads_back_as_it_was_written(tmp_path: Path) -> None:
    boxes = [Labelled("hand", (10, 20, 60, 80)), Labelled("person", (0, 0, 100, 100))]
    write(tmp_path, "one", np.full((100, 200, 3), 50, np.uint8), boxes)
    [(picture, again)] = read(tmp_path)
    assert picture.shape == (100, 200, 3)
    assert [each.label for each in again] == ["hand", "person"]
    for one, other in zip(boxes, again, strict=True):
        assert other.box == pytest.approx(one.box, abs=0.01)


def test_a_perfect_detector_has_an_average_precision_of_one() -> None:
    judged = [([found(0, 0.9), found(50, 0.8)], [true(0), true(50)])]
    assert average_precision(judged, "product") == pytest.approx(1.0)


def test_a_false_detection_before_the_right_ones_costs_precision() -> None:
    judged = [([found(99, 0.95), found(0, 0.9), found(50, 0.8)], [true(0), true(50)])]
    assert average_precision(judged, "product") == pytest.approx(2 / 3)


def test_a_box_is_claimed_once() -> None:
    judged = [([found(0, 0.9), found(1, 0.8)], [true(0), true(50)])]
    assert average_precision(judged, "product") == pytest.approx(0.5)


def test_other_labels_neither_help_nor_hurt() -> None:
    judged = [([found(0, 0.9, "hand"), found(50, 0.8)], [true(0, "hand"), true(50)])]
    assert average_precision(judged, "product") == pytest.approx(1.0)
    assert average_precision(judged, "person") == 0.0


def test_the_table_has_a_column_a_detector() -> None:
    figures = {"ap50": 0.5, "recall": 0.6, "boxes": 7}
    partly = {"ap50": None, "recall": 0.25, "boxes": 4}
    result = {
        "sets": {"bottles": {"hand": figures}, "simulator": {"product": partly}},
        "ms_per_picture": 12.3,
    }
    lines = table([result, result], ["one", "two"]).splitlines()
    assert lines[0].endswith("| one | two |")
    assert "| bottles | hand | 7 | AP50 | 0.500 | 0.500 |" in lines
    assert "| simulator | product | 4 | recall | 0.250 | 0.250 |" in lines


def a_simulated_clip(folder: Path) -> None:
    folder.mkdir()
    clip = cv2.VideoWriter(
        str(folder / "front.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 120)
    )
    for i in range(60):
        frame = np.full((120, 160, 3), 200, np.uint8)
        if i < 30:
            frame[40:100, 20:60] = (30, 30, 180)
        clip.write(frame)
    clip.release()
    event = {"kind": "pick", "time_s": 3.0, "camera": "front", "box": [20, 40, 60, 100]}
    (folder / "truth.jsonl").write_text(json.dumps(event) + "\n")


def test_a_simulated_clip_shows_the_article_before_it_is_picked(tmp_path: Path) -> None:
    a_simulated_clip(tmp_path / "store")
    [(frame, [box])] = known_boxes(tmp_path / "store")
    assert box.box == (20, 40, 60, 100)
    assert frame[70, 40, 2] > 150 > frame[70, 40, 0]


def test_a_folder_without_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match=r"truth\.jsonl"):
        list(known_boxes(tmp_path))


def test_a_detector_that_sees_everything_gets_full_marks(tmp_path: Path, shared_data: Path) -> None:
    capture = cv2.VideoCapture(str(shared_data / "video/bottle-detection.mp4"))
    frame = capture.read()[1].astype(np.uint8)
    boxes = [(58, 110, 123, 316), (286, 109, 344, 315), (509, 105, 571, 318)]
    write(tmp_path / "kept/bottles", "one", frame, [Labelled("product", box) for box in boxes])
    done = run("evaluate", YOLOX, "--material", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    [result] = json.loads(done.output)["detectors"]
    assert result["sets"]["bottles"]["product"] == {"ap50": 1.0, "recall": 1.0, "boxes": 3}
    assert (
        "| bottles | product | 3 | AP50 | 1.000 |"
        in run("evaluate", YOLOX, "--material", tmp_path).output
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "{here}", "--material", "{here}"), "detector.json"),
        (("evaluate", str(YOLOX), "--material", "{here}"), "kept: "),
        (("train", "--material", "{here}", "--out", "{here}/run"), "data.yaml: missing"),
        (
            ("material", "--data", "{here}", "--teacher", str(YOLOX), "--out", "{here}/new"),
            "palm detector is missing",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = run(*(word.replace("{here}", str(tmp_path)) for word in words))
    assert done.exit_code == 2
    assert message in done.output
    assert done.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_training_says_which_weights_it_cannot_go_on_from(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="needs the train extra")
    (tmp_path / "data.yaml").write_text("names: [product, hand, person]")
    (tmp_path / "letter.txt").write_text("Dear shop,")
    where = ("train", "--material", tmp_path, "--out", tmp_path / "run")
    done = run(*where, "--weights", tmp_path / "letter.txt")
    assert (done.exit_code, "letter.txt: no weights of a detector" in done.output) == (2, True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_material_is_made_trained_exported_and_judged(tmp_path: Path, shared_data: Path) -> None:
    pytest.importorskip("ultralytics")
    made = run(
        "material", "--data", shared_data, "--teacher", YOLOX, "--out", tmp_path / "all",
        "--composites", "20", "--json",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    sets = json.loads(made.stdout)["sets"]
    assert sets["kept/bottles"]["hand"] > 10
    assert sets["kept/people"]["person"] > 30
    few = tmp_path / "few"
    for where in ("train", "val", "kept/bottles"):
        for i, (picture, boxes) in enumerate(read(tmp_path / "all" / where)):
            if i < 8:
                write(few / where, f"{i}", picture, boxes)
    yaml = (tmp_path / "all/data.yaml").read_text()
    (few / "data.yaml").write_text(yaml.replace(str(tmp_path / "all"), str(few)))
    start = shared_data / "weights/mobilenet_v2_imagenet_fp16.safetensors"
    trained = run(
        "train", "--material", few, "--out", tmp_path / "run", "--epochs", "1", "--start", start
    )
    assert trained.exit_code == 0, trained.output
    weights = tmp_path / "run/weights/last.pt"
    exported = run("export", weights, "--out", tmp_path / "ours", "--pictures", few / "train")
    assert exported.exit_code == 0, exported.output
    ours = [tmp_path / "ours/fp16", tmp_path / "ours/int8"]
    judged = run("evaluate", *ours, "--material", few, "--json")
    assert judged.exit_code == 0, judged.output
    assert len(json.loads(judged.stdout)["detectors"]) == 2
