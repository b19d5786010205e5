"""`shelfgate models`: enrol, evaluate, calibrate and look into bundles, from the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.cli import main
from edge.embed import Recogniser
from models.bundle import DEFAULT_BUNDLE, load_bundle
from models.selftest import drawn
from tests.models.drawn_pictures import put_pictures


def shelfgate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["models", *map(str, arguments)])


def a_shop(folder: Path, products: int = 3, pictures: int = 2) -> tuple[Path, Path, Path]:
    """Write a catalogue, pictures to enrol from and others to ask with; return the three paths."""
    lines = ["sku,name,category,price_minor,name_sv"]
    random = np.random.default_rng(0)
    for number in range(products):
        lines.append(f"item-{number},Item {number},Things,{100 + number},Sak {number}")
        for part, count in (("enrol", pictures), ("query", 4)):
            put_pictures(folder / part, {f"item-{number}": 20 + number}, count, random)
    catalogue = folder / "catalog.csv"
    catalogue.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return catalogue, folder / "enrol", folder / "query"


def digests(bundle: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (bundle / "models").iterdir()
    }


def test_enrolled_products_are_known_and_the_models_are_untouched(tmp_path: Path) -> None:
    catalogue, pictures, _ = a_shop(tmp_path)
    out = tmp_path / "new"
    result = shelfgate(
        "enrol", "--catalogue", catalogue, "--pictures", pictures, "--out", out, "--json"
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["products"], said["version"]) == (62, 2)
    assert [entry["sku"] for entry in said["enrolled"]] == ["item-0", "item-1", "item-2"]
    bundle = load_bundle(out)
    assert bundle.catalogue["item-1"].price_minor == 101
    assert bundle.catalogue["item-1"].name_in("sv") == "Sak 1"
    assert digests(out) == digests(DEFAULT_BUNDLE)
    recogniser = Recogniser(bundle, threads=1)
    recogniser.check()
    assert recogniser.decide([drawn(21)]).nearest[0].sku == "item-1"


def test_a_look_alike_is_named_and_both_are_shown_side_by_side(tmp_path: Path) -> None:
    catalogue, pictures, _ = a_shop(tmp_path, products=1, pictures=6)
    out = tmp_path / "first"
    first = shelfgate("enrol", "--catalogue", catalogue, "--pictures", pictures, "--out", out)
    assert first.exit_code == 0, first.output
    catalogue.write_text("sku,name,category\ntwin,Twin,Things\n", encoding="utf-8")
    (pictures / "item-0").rename(pictures / "twin")
    second = shelfgate(
        "enrol", "--bundle", out, "--catalogue", catalogue, "--pictures", pictures,
        "--out", tmp_path / "second", "--json",
    )  # fmt: skip
    assert second.exit_code == 0, second.output
    (said,) = json.loads(second.stdout)["enrolled"]
    assert said["confused_with"] == "item-0"
    assert said["seconds"] < 10
    assert "can hardly be told from item-0" in second.stderr
    pair = cv2.imread(said["beside"])
    assert pair is not None
    assert pair.shape == (320, 640, 3)


def test_a_removed_product_is_unknown_and_the_models_are_untouched(tmp_path: Path) -> None:
    out = tmp_path / "new"
    result = shelfgate("remove", "lime", "lemon", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    bundle = load_bundle(out)
    assert json.loads(result.stdout)["products"] == {"all": 57}
    assert not {"lime", "lemon"} & {*bundle.catalogue, *bundle.groups[0].table.skus}
    assert digests(out) == digests(DEFAULT_BUNDLE)
    Recogniser(bundle, threads=1).check()
    again = shelfgate("remove", "lime", "--bundle", out, "--out", tmp_path / "newer")
    assert again.exit_code == 2
    assert "no group knows 'lime'" in again.stderr


def test_a_fresh_bundle_knows_only_what_was_enrolled(tmp_path: Path) -> None:
    catalogue, pictures, _ = a_shop(tmp_path)
    out = tmp_path / "new"
    result = shelfgate(
        "enrol", "--fresh", "--catalogue", catalogue, "--pictures", pictures, "--out", out
    )
    assert result.exit_code == 0, result.output
    assert sorted(load_bundle(out).catalogue) == ["item-0", "item-1", "item-2"]
    shipped = load_bundle(DEFAULT_BUNDLE).groups[0].table.thresholds
    assert load_bundle(out).groups[0].table.thresholds == shipped.carried()


def test_evaluation_has_the_shape_of_the_contract(tmp_path: Path) -> None:
    catalogue, pictures, query = a_shop(tmp_path)
    stranger = tmp_path / "unknown" / "stranger"
    stranger.mkdir(parents=True)
    cv2.imwrite(str(stranger / "1.png"), drawn(40))
    result = shelfgate(
        "evaluate", "--catalogue", catalogue, "--enrol", pictures, "--query", query,
        "--unknown", tmp_path / "unknown", "--report", tmp_path / "report.html", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert set(figures) >= {
        "accuracy", "selective", "unknown", "immediate", "counts", "per_query_ms", "search"
    }  # fmt: skip
    assert set(figures["tracks"]) == {"trained", "untrained", "selective", "count"}
    assert figures["risk_coverage"][-1]["coverage"] == 1.0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Item 1" in page
    assert "http" not in page.replace("http-equiv", "")
    assert set(figures["accuracy"]) == {"trained", "untrained", "all"}
    assert set(figures["selective"]) == {"accuracy", "coverage"}
    assert set(figures["unknown"]) == {"rejected", "auroc", "false_accepts"}
    assert figures["accuracy"]["untrained"] == 1.0
    assert figures["accuracy"]["trained"] is None
    assert figures["counts"]["queries"] == 12
    assert figures["counts"]["enrolled"] == 3


def test_too_few_queries_calibrate_to_safe_thresholds(tmp_path: Path) -> None:
    catalogue, pictures, query = a_shop(tmp_path)
    known, out = tmp_path / "known", tmp_path / "calibrated"
    strange = shelfgate("calibrate", "--query", query, "--out", out)
    assert strange.exit_code == 2
    assert "knows none of these 3 products" in strange.stderr
    assert not out.exists()
    shelfgate("enrol", "--catalogue", catalogue, "--pictures", pictures, "--out", known)
    result = shelfgate("calibrate", "--bundle", known, "--query", query, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert "12 known and 12 unknown queries, 60 are needed" in json.loads(result.stdout)["fallback"]
    calibrated = load_bundle(out)
    assert calibrated.version == 3
    assert [step["step"] for step in calibrated.provenance["steps"]] == ["enrol", "calibrate"]
    assert calibrated.provenance["steps"][0]["skus"] == ["item-0", "item-1", "item-2"]
    assert "calibration" not in calibrated.provenance


@pytest.mark.slow
def test_thresholds_are_sure_of_the_rates_that_were_asked_for_or_say_that_they_are_not(
    tmp_path: Path,
) -> None:
    known = load_bundle(DEFAULT_BUNDLE).groups[0].table.skus
    _, _, query = a_shop(tmp_path, products=16)
    for number, folder in enumerate(sorted(query.iterdir())):
        folder.rename(query / known[number])
    asked = ("calibrate", "--query", query, "--json", "--out")
    loose = shelfgate(*asked, tmp_path / "a", "--missed", "0.1", "--confidence", "0.8")
    strict = shelfgate(*asked, tmp_path / "b", "--missed", "0.01", "--confidence", "0.95")
    assert (loose.exit_code, strict.exit_code) == (0, 0), loose.output + strict.output
    assert json.loads(loose.stdout)["rejected_at_most"] <= 0.1
    assert "wrong rejects" not in json.loads(loose.stdout)["doubt"]
    assert json.loads(strict.stdout)["rejected_at_most"] > 0.01
    assert "64 pictures of known products are too few" in json.loads(strict.stdout)["doubt"]


def test_a_bundle_says_what_it_holds() -> None:
    result = shelfgate("bundle", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["groups"] == {"all": 59}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("no bundle", "no such bundle folder"),
        ("no catalogue", "no such catalogue"),
        ("no pictures", "no such folder of pictures"),
        ("unlisted", "'extra' is not in the catalogue"),
        ("broken picture", "not a picture"),
        ("empty folder", "holds no pictures"),
        ("in the way", "is there already"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, spoil: str, says: str) -> None:
    catalogue, pictures, _ = a_shop(tmp_path, products=1, pictures=1)
    bundle, out = DEFAULT_BUNDLE, tmp_path / "out" / "new"
    if spoil == "no bundle":
        bundle = tmp_path / "none"
    elif spoil == "no catalogue":
        catalogue = tmp_path / "none.csv"
    elif spoil == "no pictures":
        pictures = tmp_path / "none"
    elif spoil == "unlisted":
        (pictures / "item-0").rename(pictures / "extra")
    elif spoil == "broken picture":
        (pictures / "item-0" / "0.png").write_bytes(b"no")
    elif spoil == "empty folder":
        pictures = tmp_path / "bare"
        pictures.mkdir()
    elif spoil == "in the way":
        out.mkdir(parents=True)
    result = shelfgate(
        "enrol", "--bundle", bundle, "--catalogue", catalogue, "--pictures", pictures, "--out", out
    )
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert says in result.stderr
    assert not out.exists() or not list(out.iterdir())


def variants(frame: np.ndarray) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).normal(0, 12, frame.shape)
    poor = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    return {
        "plain": frame,
        "dark": (frame * 0.6).astype(np.uint8),
        "noisy": np.clip(frame + noise, 0, 255).astype(np.uint8),
        "poor": cv2.imdecode(poor, cv2.IMREAD_COLOR),
        "small": cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA),
        "large": cv2.resize(frame, (1280, 720)),
        "mirrored": frame[:, ::-1],
    }


def test_the_bottle_of_the_clip_is_known_again_whatever_happens_to_it(shared_data: Path) -> None:
    from models.enrol import enrol

    recogniser = Recogniser(load_bundle(DEFAULT_BUNDLE), threads=1)
    table = recogniser.gate("all").table
    embedder = recogniser.embedder("all")
    video = cv2.VideoCapture(str(shared_data / "video" / "bottle-detection.mp4"))
    frames = [video.read()[1] for _ in range(151)]
    places = [(x - 31, 105, x + 32, 310) for x in (85, 314, 538)]
    pictures = [frames[0][y1:y2, x1:x2] for x1, y1, x2, y2 in places]
    grown = table.with_products({"bottle": enrol("bottle", pictures, embedder, table).looks})
    gate = type(recogniser.gate("all"))(grown, "all")
    random = np.random.default_rng(1)
    for name, frame in variants(frames[150]).items():
        scale = frame.shape[1] / 640
        for x1, y1, x2, y2 in places:
            if name == "mirrored":
                x1, x2 = 640 - x2, 640 - x1
            slip = random.uniform(-0.1, 0.1, 4) * [x2 - x1, y2 - y1, x2 - x1, y2 - y1]
            box = ((np.array([x1, y1, x2, y2]) + slip) * scale).round().astype(int)
            crop = frame[box[1] : box[3], box[0] : box[2]]
            decision = gate.decide(embedder.embed_item([crop]))
            assert decision.sku == "bottle", (name, box, decision)
    wall = [frames[150][10:90, x : x + 80] for x in (150, 250, 400)]
    assert all(gate.decide(row).sku is None for row in embedder.embed(wall))


def a_wide_shop(folder: Path, categories: int = 4) -> tuple[Path, Path, Path]:
    """Write a shop whose products, two a category, are drawn so that a category looks alike."""
    catalogue, pictures, query = a_shop(folder, products=2 * categories)
    lines = ["sku,name,category"]
    lines += [f"item-{n},Item {n},Kind {n // 2}" for n in range(2 * categories)]
    catalogue.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return catalogue, pictures, query


@pytest.mark.slow
def test_categories_are_grouped_within_bounds_and_the_groups_become_a_bundle(
    tmp_path: Path,
) -> None:
    pytest.importorskip("sklearn")
    catalogue, pictures, query = a_wide_shop(tmp_path)
    first = tmp_path / "first"
    enrolled = shelfgate(
        "enrol", "--fresh", "--catalogue", catalogue, "--pictures", pictures, "--out", first
    )
    assert enrolled.exit_code == 0, enrolled.output
    result = shelfgate(
        "group", "--bundle", first, "--catalogue", catalogue, "--pictures", pictures,
        "--query", query, "--least", "1", "--most", "4", "--report", tmp_path / "groups.html",
        "--out", tmp_path / "grouped", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert sum(said["products"].values()) == 8
    assert max(said["products"].values()) <= 4
    assert said["router"]["accuracy"] > 0.9
    assert "Kind 3" in (tmp_path / "groups.html").read_text(encoding="utf-8")
    bundle = load_bundle(tmp_path / "grouped")
    assert {group.name: len(group.table) for group in bundle.groups} == said["in_bundle"]
    assert said["in_bundle"] == said["products"]
    recogniser = Recogniser(bundle, threads=1)
    recogniser.check()
    assert recogniser.decide([drawn(21)]).nearest[0].sku == "item-1"


@pytest.mark.slow
def test_a_bundle_refreshes_itself_and_can_go_back(tmp_path: Path) -> None:
    catalogue, pictures, query = a_shop(tmp_path)
    arguments = (
        "--releases", tmp_path / "releases", "--catalogue", catalogue, "--pictures", pictures,
        "--query", query, "--accuracy", "0.5", "--selective", "0.5",
    )  # fmt: skip
    result = shelfgate("refresh", *arguments, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["published"]
    assert [step["what"] for step in said["steps"]][:3] == [
        f"item-{number}: enrolled in all" for number in range(3)
    ]
    assert "enrolled in all" in Path(said["report"]).read_text(encoding="utf-8")
    bundle = load_bundle(Path(said["bundle"]))
    assert "item-2" in bundle.groups[0].table.skus
    assert digests(Path(said["bundle"])) == digests(DEFAULT_BUNDLE)
    again = json.loads(shelfgate("refresh", *arguments, "--json").stdout)
    assert not again["published"]
    assert again["bundle"] == said["bundle"]
    back = shelfgate("refresh", "--releases", tmp_path / "releases", "--back", "--json")
    assert json.loads(back.stdout)["bundle"].endswith("0001")
    none = shelfgate("refresh", "--releases", tmp_path / "releases", "--back")
    assert none.exit_code == 2
    assert "no earlier release" in none.stderr
    wrong = shelfgate("refresh", *arguments, "--challenger", "models.nothing:here")
    assert wrong.exit_code == 2
    assert "no such trainer" in wrong.stderr
