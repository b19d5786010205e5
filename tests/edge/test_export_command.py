"""`models export` makes a bundle of a network, or says in a line why it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pytorch_metric_learning", reason="needs the train extra")

from edge.cli import main  # noqa: E402
from edge.embed import Recogniser  # noqa: E402
from models import checkpoint  # noqa: E402
from models.bundle import load_bundle  # noqa: E402
from models.pictures import find_pictures  # noqa: E402
from models.recipe import Recipe  # noqa: E402
from models.train import NETWORK, train  # noqa: E402
from tests.models.drawn_pictures import put_pictures  # noqa: E402

SKUS = ("milk", "juice", "rice")
RECIPE = Recipe(
    backbone="test_efficientnet",
    pretrained=False,
    frozen_stages=0,
    side=56,
    dim=16,
    passes=1,
    products=3,
    pictures=2,
)


def pictures_of(folder: Path, sku: str, count: int) -> None:
    put_pictures(folder, {sku: len(sku)}, count, np.random.default_rng(len(sku) + count))


def catalogue_of(path: Path, *skus: str) -> None:
    path.write_text("sku,name,category\n" + "".join(f"{sku},{sku},Things\n" for sku in skus))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported-shop")
    for sku in SKUS:
        pictures_of(folder / "train", sku, 3)
        pictures_of(folder / "val", sku, 2)
        pictures_of(folder / "single", sku, 1)
    pictures_of(folder / "others", "cheese", 2)
    catalogue_of(folder / "catalog.csv", *SKUS)
    catalogue_of(folder / "fewer.csv", *SKUS[:2])
    train(find_pictures([folder / "train"]), folder / "trained", RECIPE)
    state = checkpoint.load(folder / "trained" / NETWORK)
    for name, settings in (("unknown", {"backbone": "nonsense"}), ("newer", {"brighter": 1})):
        odd = {**state, "recipe": {**state["recipe"], **settings}}
        checkpoint.save(folder / f"{name}.pt", odd)
    return folder


def arguments(shop: Path, out: Path, **given: str) -> list[str]:
    options = {"catalogue": "catalog.csv", "pictures": "train", "val": "val"} | given
    network = options.pop("network", f"trained/{NETWORK}")
    found = ["models", "export", str(shop / network), "--json", "--out", str(out)]
    for name, value in options.items():
        found += [f"--{name}", str(shop / value)]
    return found


@pytest.mark.parametrize(
    ("given", "more", "said"),
    [
        ({"val": "others"}, [], "none of the pictures to calibrate with"),
        ({"pictures": "others"}, [], "none of the pictures is of a product"),
        ({"val": "single"}, ["--int8"], "two or more pictures"),
        ({"catalogue": "fewer.csv"}, [], "sku 'rice' has pictures but is not in the catalogue"),
        ({"network": "unknown.pt"}, [], "no network 'nonsense'"),
        ({"network": "newer.pt"}, [], "no setting 'brighter'"),
    ],
)
def test_what_no_bundle_can_be_made_of_is_one_clear_line(
    shop: Path, tmp_path: Path, given: dict[str, str], more: list[str], said: str
) -> None:
    done = CliRunner().invoke(main, [*arguments(shop, tmp_path / "out", **given), *more])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_network_from_scratch_is_the_users_own_and_what_is_left_out_is_named(
    shop: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    more = ["--pictures", str(shop / "others")]
    done = CliRunner().invoke(main, [*arguments(shop, out), *more])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["products"] == len(SKUS)
    assert "not trained on, to be enrolled afterwards: cheese" in done.stderr
    bundle = load_bundle(out)
    Recogniser(bundle).check()
    assert "your own" in bundle.licences[RECIPE.backbone]
    assert not list(out.glob("licences/*"))
