"""Training learns, can be interrupted, and is the same every time."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("pytorch_metric_learning", reason="needs the train extra")

from edge.cli import main  # noqa: E402
from models import checkpoint  # noqa: E402
from models.backbone import open_trunk  # noqa: E402
from models.checkpoint import CheckpointError  # noqa: E402
from models.embedder import ROOT  # noqa: E402
from models.features import embedded, embedded_batches, nearest_is_alike  # noqa: E402
from models.losses import Term  # noqa: E402
from models.pictures import find_pictures  # noqa: E402
from models.recipe import Recipe, RecipeError, from_plain  # noqa: E402
from models.train import (  # noqa: E402
    CHECKPOINT,
    NETWORK,
    open_trained,
    train,
)
from models.train_data import plain  # noqa: E402
from tests.models.drawn_pictures import put_pictures  # noqa: E402

PRODUCTS, EACH = 6, 6
TINY = Recipe(
    backbone="mobilenetv3_small_050",
    pretrained=False,
    frozen_stages=0,
    project=True,
    small_share=0.0,
    side=56,
    dim=16,
    losses=(Term("softmax"), Term("triplet", 0.25)),
    passes=2,
    products=4,
    pictures=3,
    learning_rate=2e-3,
    pull=0.0,
    average=0.5,
    warm_up=2,
)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    random = np.random.default_rng(0)
    put_pictures(folder / "train", {f"p{n}": n for n in range(PRODUCTS)}, EACH, random)
    lines = "".join(f"p{number},Product {number},Things\n" for number in range(PRODUCTS))
    (folder / "catalog.csv").write_text("sku,name,category\n" + lines)
    return folder


class _Cut(Exception):
    """The power went."""


def weights(path: Path) -> dict[str, torch.Tensor]:
    return open_trained(path).embedder.state_dict()


@pytest.mark.slow
def test_cut_off_in_a_pass_it_goes_on_as_if_it_had_not_been(shop: Path, tmp_path: Path) -> None:
    pictures = find_pictures([shop / "train"])
    train(pictures, tmp_path / "whole", TINY, val=pictures)

    def cut(number: int, batch: int, batches: int, loss: float) -> None:
        if (number, batch) == (1, 2):
            raise _Cut

    with pytest.raises(_Cut):
        train(pictures, tmp_path / "cut", TINY, val=pictures, watch=cut)
    assert (tmp_path / "cut" / CHECKPOINT).is_file()
    seen: list[int] = []
    train(
        pictures, tmp_path / "cut", TINY, val=pictures, watch=lambda n, b, of, loss: seen.append(n)
    )
    assert set(seen) == {1}
    whole, resumed = (weights(tmp_path / name / NETWORK) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with (tmp_path / "cut/metrics.csv").open() as stream:
        assert [row["pass"] for row in csv.DictReader(stream)] == ["1", "2"]
    assert list((tmp_path / "cut/tensorboard").iterdir())


@pytest.mark.slow
def test_it_learns_to_tell_products_apart(shop: Path, tmp_path: Path) -> None:
    pictures = find_pictures([shop / "train"])
    losses: list[float] = []
    recipe = from_plain(TINY.as_plain() | {"passes": 72, "colour_weight": 0.0})
    trained = train(pictures, tmp_path, recipe, watch=lambda n, b, of, loss: losses.append(loss))
    assert losses[-1] < 0.7 * losses[0]
    skus, crops = plain(pictures, recipe.side, recipe.fit)
    with torch.inference_mode():
        rows = trained.embedder(torch.from_numpy(np.stack(list(crops)))).numpy()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-4)
    near = (rows @ rows.T - 2 * np.eye(len(rows))).argmax(axis=1)
    names = np.array(skus)
    assert (names[near] == names).mean() > 0.7


@pytest.mark.slow
def test_two_processes_train_one_network(shop: Path, tmp_path: Path) -> None:
    settings = "--backbone mobilenetv3_small_050 --scratch --side 56 --dim 16 --passes 1"
    settings += " --products 3 --each 2 --loss triplet"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "edge", "models", "train", "--catalogue", str(shop / "catalog.csv")]
    command += ["--pictures", str(shop / "train"), "--out", str(tmp_path), *settings.split()]
    command += ["--json"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["network"] == str(tmp_path / NETWORK)
    assert said["products"] == PRODUCTS
    trained = open_trained(tmp_path / NETWORK)
    assert trained.skus == tuple(f"p{number}" for number in range(PRODUCTS))
    assert trained.recipe.losses == (Term("triplet", 1.0),)


def test_told_apart_block_by_block_is_told_apart_all_at_once() -> None:
    random = np.random.default_rng(1)
    of = random.integers(0, 40, 700)
    rows = random.normal(0, 1, (40, 16))[of] + random.normal(0, 0.8, (700, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    names = np.array([f"p{number}" for number in of])
    alike = rows @ rows.T
    np.fill_diagonal(alike, -2.0)
    expected = (names[alike.argmax(axis=1)] == names).mean()
    assert 0.2 < expected < 0.98
    assert nearest_is_alike(rows, names) == pytest.approx(expected)


def test_telling_pictures_apart_takes_no_memory_in_proportion_to_their_square() -> None:
    rows = np.eye(4, dtype=np.float32)[np.arange(8000) % 4]
    names = np.array([f"p{number % 4}" for number in range(8000)])
    tracemalloc.start()
    assert nearest_is_alike(rows, names) == 1.0
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8000 * 8000 * 4 / 10


class _Drawn(list[int]):
    """Crops that are made when they are asked for."""

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        return np.full((56, 56, 3), index % 256, np.uint8)


def test_features_come_a_few_at_a_time_and_crops_are_not_kept() -> None:
    def mean(crops: torch.Tensor) -> torch.Tensor:
        return crops.float().mean(dim=(1, 2))

    def most_for(count: int) -> int:
        tracemalloc.start()
        rows = sum(len(batch) for batch in embedded_batches(mean, _Drawn(range(count))))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == count
        return most

    assert most_for(2000) < 1.2 * most_for(200) + 100_000
    np.testing.assert_allclose(embedded(mean, _Drawn(range(70)))[:, 0], range(70))


def test_a_folder_of_another_training_is_left_alone(shop: Path, tmp_path: Path) -> None:
    pictures = find_pictures([shop / "train"])
    recipe = from_plain(TINY.as_plain() | {"passes": 1})
    train(pictures, tmp_path, recipe)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match="other settings"):
        train(pictures, tmp_path, from_plain(recipe.as_plain() | {"dim": 8}))
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    state = checkpoint.load(tmp_path / CHECKPOINT)
    checkpoint.save(tmp_path / CHECKPOINT, {**state, "mean": {}})
    with pytest.raises(CheckpointError, match="built now"):
        train(pictures, tmp_path, recipe)
    (tmp_path / CHECKPOINT).write_bytes(before[:1000])
    with pytest.raises(CheckpointError, match="delete it"):
        train(pictures, tmp_path, recipe)


@pytest.mark.slow
def test_of_a_catalogue_only_some_categories_are_trained_on(shop: Path, tmp_path: Path) -> None:
    rows = "".join(f"p{n},Product {n},{'Odd' if n % 2 else 'Even'}\n" for n in range(PRODUCTS))
    (tmp_path / "c.csv").write_text("sku,name,category\n" + rows)
    command = ["models", "train", "--catalogue", str(tmp_path / "c.csv"), "--scratch"]
    command += ["--pictures", str(shop / "train"), "--out", str(tmp_path / "out")]
    settings = (
        "--backbone mobilenetv3_small_050 --side 56 --dim 16 --passes 1 --products 2 --each 2"
    )
    done = CliRunner().invoke(main, [*command, *settings.split(), "--category", "Odd"])
    assert done.exit_code == 0, done.output
    assert open_trained(tmp_path / "out" / NETWORK).skus == ("p1", "p3", "p5")
    refused = CliRunner().invoke(main, [*command, "--category", "Strange"])
    assert refused.exit_code == 2
    assert "--category 'Strange': no product with pictures is of it; there are Even, Odd" in (
        refused.stderr
    )


def test_a_checkpoint_from_before_a_setting_was_there_goes_on(shop: Path, tmp_path: Path) -> None:
    pictures = find_pictures([shop / "train"])
    recipe = from_plain(TINY.as_plain() | {"passes": 1})
    train(pictures, tmp_path, recipe)
    state = checkpoint.load(tmp_path / CHECKPOINT)
    del state["recipe"]["backgrounds"]
    checkpoint.save(tmp_path / CHECKPOINT, state)
    seen: list[int] = []
    train(pictures, tmp_path, recipe, watch=lambda n, b, of, loss: seen.append(n))
    assert seen == []


def test_a_network_keeps_the_root_its_projection_was_learned_with(
    shop: Path, tmp_path: Path
) -> None:
    pictures = find_pictures([shop / "train"])
    recipe = from_plain(TINY.as_plain() | {"passes": 1})
    train(pictures, tmp_path, recipe)
    assert open_trained(tmp_path / NETWORK).embedder.root == ROOT
    for name in (NETWORK, CHECKPOINT):
        state = checkpoint.load(tmp_path / name)
        del state["root"]
        checkpoint.save(tmp_path / name, state)
    # From before networks said so: there was one root then.
    assert open_trained(tmp_path / NETWORK).embedder.root == 0.25
    assert train(pictures, tmp_path, recipe).embedder.root == 0.25


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(RecipeError, match="multiple of 56"):
        Recipe(side=100)
    with pytest.raises(RecipeError, match="two pictures"):
        Recipe(pictures=1)
    with pytest.raises(RecipeError, match="no setting"):
        from_plain({"colour": 1})
    assert from_plain(Recipe().as_plain()) == Recipe()


def test_the_first_passes_see_smaller_pictures() -> None:
    recipe = Recipe(side=224, small_side=168, passes=4, small_share=0.5)
    assert [recipe.side_in(number) for number in range(4)] == [168, 168, 224, 224]
    with pytest.raises(RecipeError, match="small_side is 100"):
        Recipe(small_side=100)


def test_of_published_weights_all_learn_that_are_not_frozen() -> None:
    trunk = open_trunk("lite0")
    assert all(weight.requires_grad for weight in trunk.parameters())
    trunk.freeze(3)
    learn = [any(p.requires_grad for p in stage.parameters()) for stage in trunk.stages]
    assert learn == [number >= 3 for number in range(len(trunk.stages))]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--backbone", "nonsense"], "no network 'nonsense'"),
        (["--loss", "nonsense"], "no loss 'nonsense'"),
        (["--loss", "triplet:much"], "NAME:WEIGHT"),
        (["--side", "57"], "multiple of 56"),
    ],
)
def test_the_command_says_what_cannot_be(
    shop: Path, tmp_path: Path, given: list[str], said: str
) -> None:
    arguments = ["models", "train", "--catalogue", str(shop / "catalog.csv"), "--scratch"]
    arguments += ["--pictures", str(shop / "train"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*arguments, *given])
    assert done.exit_code == 2
    assert said in done.output
