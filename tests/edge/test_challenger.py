"""A group below its bar gets a challenger trained, with nobody in between; the better one stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pytorch_metric_learning", reason="needs the train extra")

from edge.challenger import Trainer, divided, read_recipe
from edge.cli import main
from edge.embed import Recogniser, open_embedder
from models.bundle import DEFAULT_BUNDLE, Group, load_bundle
from models.bundle_writer import draft_of, write_bundle
from models.catalogue import read_catalogue
from models.enrol import enrol
from models.pictures import find_pictures, read_picture
from models.table import SAFE, build_table
from models.train import NETWORK
from tests.models.drawn_pictures import put_pictures

SKUS = [f"p{number}" for number in range(4)]
TINY = """
backbone = "test_efficientnet"
pretrained = false
frozen_stages = 0
side = 56
dim = 16
passes = 1
products = 4
pictures = 2
"""


def put_labelled(folder: Path, labels: list[str], count: int, seed: int) -> None:
    """Write pictures of the drawn products, each under its label."""
    shown = {label: number for number, label in enumerate(labels)}
    put_pictures(folder, shown, count, np.random.default_rng(seed), f"{seed}-")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue, pictures, and a recipe for a tiny network."""
    folder = tmp_path_factory.mktemp("shop")
    put_labelled(folder / "train", SKUS, 5, seed=1)
    put_labelled(folder / "test", SKUS, 7, seed=3)
    # One in eight is labelled wrongly, so that no model reaches its bar.
    put_labelled(folder / "test", SKUS[1:] + SKUS[:1], 1, seed=4)
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


@pytest.fixture(scope="session")
def taken_over(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of releases after a refresh of a champion that errs, and what it said."""
    folder = tmp_path_factory.mktemp("refreshed")
    champion = mistaken(shop, folder, {"p0": "p1", "p1": "p2", "p2": "p3", "p3": "p0"})
    return folder / "releases", refreshed(shop, champion, folder, "train")[1]


@pytest.mark.slow
def test_a_better_challenger_is_trained_and_published(taken_over: tuple[Path, Result]) -> None:
    releases, result = taken_over
    said = json.loads(result.stdout)
    assert [step["what"] for step in said["steps"]] == ["all: challenger takes over"]
    assert said["published"]
    assert "all is below its bar: training a challenger on 16 pictures of 4 products" in (
        result.stderr
    )
    figures = said["steps"][0]["figures"]
    assert figures["champion"]["accuracy"] < 0.5 < figures["challenger"]["accuracy"]
    bundle = load_bundle(Path(said["bundle"]))
    Recogniser(bundle).check()
    assert bundle.path == releases / "0002"
    assert bundle.groups[0].model.name.startswith("test_efficientnet-")
    assert sorted(bundle.groups[0].table.skus) == SKUS
    assert bundle.provenance["challengers"]["all"]["photographs"] == 16


@pytest.mark.slow
def test_a_challenger_that_is_not_better_is_not_published_nor_trained_again(
    shop: Path, taken_over: tuple[Path, Result], tmp_path: Path
) -> None:
    """There is nothing new to learn from, so it is the champion once more."""
    shutil.copytree(taken_over[0], tmp_path / "releases")
    (network,) = (tmp_path / "releases" / "challengers").rglob(NETWORK)
    written = network.stat().st_mtime_ns
    said, result = refreshed(shop, tmp_path / "unused", tmp_path, "train")
    assert [step["what"] for step in said["steps"]] == ["all: champion stays", "nothing published"]
    figures = said["steps"][0]["figures"]
    assert figures["challenger"] == figures["champion"]
    assert not said["published"]
    assert Path(said["bundle"]) == tmp_path / "releases" / "0002"
    assert "nothing new to train on" in result.stderr
    assert network.stat().st_mtime_ns == written


@pytest.mark.slow
def test_one_can_go_back_from_a_challenger(taken_over: tuple[Path, Result], tmp_path: Path) -> None:
    shutil.copytree(taken_over[0], tmp_path / "releases")
    back = CliRunner().invoke(
        main, ["models", "refresh", "--releases", str(tmp_path / "releases"), "--back", "--json"]
    )
    assert back.exit_code == 0, back.output
    bundle = load_bundle(Path(json.loads(back.stdout)["bundle"]))
    assert bundle.path.name == "0001"
    assert bundle.groups[0].model.name == load_bundle(DEFAULT_BUNDLE).groups[0].model.name


@pytest.mark.slow
def test_a_training_that_was_cut_off_goes_on_where_it_was(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(TINY.replace("passes = 1", "passes = 2"))
    seen: list[int] = []

    def cut(number: int, batch: int, batches: int, loss: float) -> None:
        seen.append(number)
        if number == 1:
            raise KeyboardInterrupt

    source = load_bundle(DEFAULT_BUNDLE).groups[0]
    group = replace(source, table=build_table({}, source.table.dim, SAFE))
    trainer = Trainer(
        read_catalogue(shop / "catalog.csv"), tmp_path / "work",
        read_recipe(tmp_path / "two.toml"), lambda text: None, lambda passes: nullcontext(cut),
    )  # fmt: skip
    for passes in ({0, 1}, {1}):
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            trainer(group, find_pictures([shop / "train"]))
        assert set(seen) == passes


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
    put_labelled(tmp_path / "test", [sku], 1, seed=4)
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
