"""Both runtimes give the same answers, in order, and say what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

from edge.runtime import RUNTIMES, TOLERANCE, Network, RuntimeUnavailable, open_network, unpacked
from models.bundle import DEFAULT_BUNDLE, load_bundle

MODEL = load_bundle(DEFAULT_BUNDLE).groups[0].model


@pytest.fixture(scope="session", params=RUNTIMES)
def network(request: pytest.FixtureRequest) -> Network:
    return open_network(MODEL.openvino, MODEL.onnx, runtime=request.param, threads=1)


def batch(count: int, seed: int = 0) -> np.ndarray:
    size = (count, MODEL.side, MODEL.side, 3)
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def test_runtimes_agree_within_the_tolerance() -> None:
    crops = batch(4)
    answers = [
        open_network(MODEL.openvino, MODEL.onnx, runtime=name, threads=1).infer(crops)
        for name in RUNTIMES
    ]
    assert np.abs(answers[0] - answers[1]).max() <= TOLERANCE


def test_any_batch_gives_unit_embeddings(network: Network) -> None:
    for count in (1, 3):
        answer = network.infer(batch(count))
        assert answer.shape == (count, MODEL.dim)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1.0, atol=1e-4)


def test_a_batch_does_not_change_its_members(network: Network) -> None:
    crops = batch(3)
    together = network.infer(crops)
    alone = np.concatenate([network.infer(crops[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_many_answers_come_in_order(network: Network) -> None:
    batches = [batch(1, seed) for seed in range(9)]
    many = list(network.infer_many(batches))
    assert len(many) == 9
    for got, asked in zip(many, batches, strict=True):
        np.testing.assert_allclose(got, network.infer(asked), atol=1e-4)


def test_networks_opened_again_and_again_give_the_same_answers() -> None:
    batches = [batch(1, seed) for seed in range(2)]
    expected = list(
        open_network(MODEL.openvino, MODEL.onnx, runtime="onnxruntime").infer_many(batches)
    )
    for _ in range(6):
        opened = open_network(MODEL.openvino, MODEL.onnx)
        for got, right in zip(opened.infer_many(batches), expected, strict=True):
            assert np.abs(got - right).max() <= TOLERANCE


def test_no_weight_is_left_to_be_unpacked_when_a_network_is_compiled() -> None:
    network = unpacked(openvino.Core().read_model(MODEL.openvino))
    stored = [step for step in network.get_ops() if step.get_type_name() == "Constant"]
    assert {step.get_element_type().to_string() for step in stored} <= {"f32", "i64"}


def test_a_stream_can_be_left_and_begun_again(network: Network) -> None:
    stream = network.infer_many(batch(1, seed) for seed in range(6))
    next(stream)
    stream.close()
    assert len(list(network.infer_many([batch(1)]))) == 1


def test_answers_stay_after_the_next_question(network: Network) -> None:
    first = network.infer(batch(1, 1))
    kept = first.copy()
    network.infer(batch(1, 2))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_that_is_no_network_is_named(runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(RuntimeUnavailable, match=r"broken\.onnx") as raised:
        open_network(path, path, runtime=runtime)
    assert "\n" not in str(raised.value)


def test_an_unknown_runtime_names_those_there_are() -> None:
    with pytest.raises(RuntimeUnavailable, match="openvino, onnxruntime"):
        open_network(MODEL.openvino, MODEL.onnx, runtime="abacus")


def test_compiled_networks_can_be_kept(tmp_path: Path) -> None:
    open_network(MODEL.openvino, MODEL.onnx, cache_dir=tmp_path)
    assert list(tmp_path.iterdir())
