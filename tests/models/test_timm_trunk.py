"""Any image network of timm can be trained and exported, whatever its maps and sizes are."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
timm = pytest.importorskip("timm", reason="needs the train extra")
pytest.importorskip("onnxscript", reason="needs the train extra")

from edge.runtime import RUNTIMES, TOLERANCE, open_network  # noqa: E402
from models.backbone import BackboneError, licence, open_trunk  # noqa: E402
from models.export import export_onnx  # noqa: E402
from models.pictures import find_pictures  # noqa: E402
from models.recipe import Recipe  # noqa: E402
from models.train import NETWORK, fresh_embedder, open_trained, train  # noqa: E402
from models.train_data import plain  # noqa: E402
from tests.models.drawn_pictures import put_pictures  # noqa: E402

SCRATCH = Recipe(
    pretrained=False, side=112, small_side=56, dim=16, passes=1, products=3, pictures=2
)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("timm-shop"), np.random.default_rng(0)
    put_pictures(folder, {f"p{number}": number for number in range(3)}, 2, random)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_a_network_of_timm_is_trained_and_exported_to_the_same_embeddings(
    backbone: str, shop: Path, tmp_path: Path
) -> None:
    recipe = replace(SCRATCH, backbone=backbone)
    pictures = find_pictures([shop])
    train(pictures, tmp_path, recipe)
    trained = open_trained(tmp_path / NETWORK)
    _, crops = plain(pictures, recipe.side, recipe.fit)
    some = np.stack(list(crops))
    with torch.inference_mode():
        expected = trained.embedder(torch.from_numpy(some)).numpy()
    assert np.linalg.norm(expected[0] - expected[-1]) > 1e-3

    onnx = export_onnx(trained.embedder, tmp_path / "network", side=recipe.side)
    one, other = (
        open_network(onnx, onnx, runtime=name, threads=1).infer(some) for name in RUNTIMES
    )
    assert np.abs(one - other).max() <= TOLERANCE
    assert (1.0 - (other * expected).sum(axis=1)).max() < 1e-3


def test_pictures_reach_a_network_as_it_was_trained_to_see_them() -> None:
    trunk = open_trunk("resnet18", pretrained=False, side=64).eval()
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    mean, std = (
        torch.tensor(trunk.network.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std")
    )
    with torch.inference_mode():
        expected = trunk.network((pixels / 255.0 - mean) / std)
        found = trunk((pixels - 127.0) / 128.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_features_of_either_sign_lose_nothing() -> None:
    trunk = open_trunk("vit_tiny_patch16_224", pretrained=False, side=32).eval()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        found, pooled = trunk(images), trunk.network(images * trunk.gain + trunk.shift)
    assert float(found.min()) == 0.0
    assert found.shape == (2, trunk.length) == (2, 2 * pooled.shape[1])
    ups, downs = found.chunk(2, dim=1)
    torch.testing.assert_close(ups - downs, pooled)


def test_maps_with_channels_last_are_pooled_over_their_places() -> None:
    trunk = open_trunk("swin_tiny_patch4_window7_224", pretrained=False, side=56).eval()
    with torch.inference_mode():
        last = trunk.network.forward_features(torch.zeros(1, 3, 56, 56) + trunk.shift)
        found = trunk(torch.zeros(1, 3, 56, 56))
    assert last.shape == (1, 2, 2, 768)
    torch.testing.assert_close(found[0, :768] - found[0, 768:], last.mean(dim=(0, 1, 2)))


def test_what_is_frozen_are_its_own_leading_stages() -> None:
    trunk = open_trunk("resnet18", pretrained=False, side=64)
    assert trunk.freeze(3) == 3
    learn = {name.split(".")[0] for name, p in trunk.network.named_parameters() if p.requires_grad}
    assert learn == {"layer3", "layer4"}
    assert sum(map(len, trunk.stage_parameters())) == len(list(trunk.parameters()))
    assert trunk.freeze(99) == len(trunk.stage_parameters()) - 1
    assert any(p.requires_grad for p in trunk.parameters())


def test_more_frozen_stages_than_there_are_and_smaller_passes_than_it_takes_are_said(
    shop: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = replace(SCRATCH, backbone="test_vit", frozen_stages=40)
    with caplog.at_level(logging.WARNING):
        train(find_pictures([shop]), tmp_path, recipe)
    assert "7 stages: the first 6 are frozen, not 40" in caplog.text
    assert "one size only: all passes see 112" in caplog.text


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        ("nonsense", 224, "no network 'nonsense'"),
        ("vit_tiny_patch16_224.nonsense", 224, "nonsense"),
        ("efficientformer_l1", 112, "112 pixels a side; it was made for 224"),
    ],
)
def test_what_timm_cannot_do_is_one_clear_line(name: str, side: int, said: str) -> None:
    with pytest.raises(BackboneError) as refused:
        open_trunk(name, pretrained=False, side=side)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_of_weights_is_read_and_another_networks_refused(tmp_path: Path) -> None:
    torch.manual_seed(4)
    source = timm.create_model("test_efficientnet", pretrained=False)
    torch.save(source.state_dict(), tmp_path / "own.pth")
    trunk = open_trunk("test_efficientnet", weights=tmp_path / "own.pth", side=56)
    stem = trunk.network.conv_stem.weight
    torch.testing.assert_close(stem, source.conv_stem.weight)
    for name in ("own.pth", "missing.pth"):
        with pytest.raises(BackboneError, match=name):
            open_trunk("resnet18", weights=tmp_path / name, side=56)


def test_published_statistics_stay_and_the_file_they_came_in_is_needed_no_more(
    shop: Path, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    source = timm.create_model("test_efficientnet", pretrained=False)
    source.bn1.running_mean.uniform_(-1, 1)
    torch.save(source.state_dict(), tmp_path / "own.pth")
    recipe = replace(SCRATCH, backbone="test_efficientnet", pretrained=True, project=True)
    train(find_pictures([shop]), tmp_path, replace(recipe, weights=str(tmp_path / "own.pth")))
    (tmp_path / "own.pth").unlink()
    network = open_trained(tmp_path / NETWORK).embedder.trunk.network
    assert torch.equal(network.bn1.running_mean, source.bn1.running_mean)
    assert torch.equal(network.conv_stem.weight, source.conv_stem.weight)  # frozen
    assert not torch.equal(network.conv_head.weight, source.conv_head.weight)


def test_a_network_that_was_trained_is_opened_without_the_weights_it_started_from() -> None:
    recipe = Recipe(backbone="mobilenetv2", weights="/nowhere/at/all.safetensors")
    blank = fresh_embedder(recipe, blank=True)
    assert blank.trunk.published
    with pytest.raises(BackboneError, match=r"all\.safetensors"):
        fresh_embedder(recipe)
    assert fresh_embedder(Recipe(backbone="resnet18"), blank=True).trunk.published


def test_weights_say_whose_they_are() -> None:
    assert "your own" in licence("lite0", pretrained=False, given=False)
    assert "Google" in licence("lite0", pretrained=True, given=False)
    assert "file" in licence("resnet18", pretrained=True, given=True)
    assert "apache-2.0" in licence("resnet18", pretrained=True, given=False)
