"""Run a network: one array in, one array out.

Networks run on OpenVINO; on boxes it does not support, on ONNX Runtime behind the same interface.
Both forms of a network carry the same weights and are computed in single precision, so that they
give the same answers within `TOLERANCE`. Called by the embedder, and by the detector for ONNX.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

RUNTIMES = ("openvino", "onnxruntime")

TOLERANCE = 5e-4
"""Greatest difference between the runtimes in any value of an L2-normalised embedding."""


class RuntimeUnavailable(Exception):
    """A runtime is not installed, or cannot read a network; the message says what to do."""


class Network(Protocol):
    """A network with one input and one output whose first dimension is the batch."""

    def infer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run one batch and wait for it; the answer is the caller's to keep."""
        ...

    def infer_many(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        """Run batches with several in flight; answers come in the order of the batches.

        batches: where the first holds one, so do all others.
        Consumes batches only a few ahead of what was asked for.
        """
        ...


def open_network(
    openvino: Path,
    onnx: Path,
    *,
    runtime: str = "openvino",
    threads: int | None = None,
    cache_dir: Path | None = None,
) -> Network:
    """Open a network that is there in both forms.

    runtime: `openvino` or `onnxruntime`.
    threads: CPU threads to use; None leaves it to the runtime.
    cache_dir: where OpenVINO keeps compiled networks, for a quicker start; None for nowhere.
    Raises RuntimeUnavailable.
    """
    if runtime == "openvino":
        return OpenVinoNetwork(openvino, threads=threads, cache_dir=cache_dir)
    if runtime == "onnxruntime":
        return OnnxNetwork(onnx, threads=threads)
    raise RuntimeUnavailable(f"runtime {runtime!r} is not one of {', '.join(RUNTIMES)}")


class OpenVinoNetwork:
    """A network on OpenVINO's CPU device."""

    def __init__(
        self, path: Path, *, threads: int | None = None, cache_dir: Path | None = None
    ) -> None:
        """Read and compile an IR. Raises RuntimeUnavailable."""
        try:
            import openvino as ov
        except ImportError as error:
            raise RuntimeUnavailable(
                f'OpenVINO cannot be loaded ({error}): set runtime = "onnxruntime"'
            ) from error
        self._ov = ov
        # Chips with half-precision or 8-bit matrix units would otherwise round more than others do,
        # activations to 8 bits where weights are, and one box would accept what another sends to
        # review.
        self._properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        if threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = threads
        self._core = ov.Core()
        if cache_dir is not None:
            self._core.set_property({"CACHE_DIR": str(cache_dir)})
        try:
            self._model = unpacked(self._core.read_model(path))
            self._single = self._compile(self._of_one(), "LATENCY").create_infer_request()
        except RuntimeError as error:
            raise RuntimeUnavailable(f"{path}: OpenVINO cannot read it: {_line(error)}") from error
        self._several: Any = None
        self._queues: dict[bool, Any] = {}

    def infer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run one batch and wait for it."""
        request = self._single
        if len(batch) != 1:
            if self._several is None:
                self._several = self._compile(self._model, "LATENCY").create_infer_request()
            request = self._several
        request.infer([batch], share_inputs=True)
        return np.array(request.get_output_tensor(0).data, np.float32)

    def infer_many(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        """Run batches, all of one or all of any size, with as many in flight as the CPU can use."""
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return
        queue = self._queue(of_one=len(first) == 1)
        done: dict[int, NDArray[np.float32]] = {}
        waiting: deque[int] = deque()

        def collect(request: Any, number: int) -> None:
            done[number] = np.array(request.get_output_tensor(0).data, np.float32)

        queue.set_callback(collect)
        try:
            for number, batch in enumerate(chain([first], batches)):
                queue.start_async([batch], number)
                waiting.append(number)
                while waiting and waiting[0] in done:
                    yield done.pop(waiting.popleft())
        finally:
            queue.wait_all()
        while waiting:
            yield done.pop(waiting.popleft())

    def _queue(self, *, of_one: bool) -> Any:
        """Return the requests for batches of one, or of any size; made when first asked for."""
        if of_one not in self._queues:
            model = self._of_one() if of_one else self._model
            self._queues[of_one] = self._ov.AsyncInferQueue(self._compile(model, "THROUGHPUT"))
        return self._queues[of_one]

    def _of_one(self) -> Any:
        """Return the network for batches of one, which runs faster where the size is fixed."""
        model = self._model.clone()
        shape = model.input(0).get_partial_shape()
        shape[0] = 1
        model.reshape(shape)
        return model

    def _compile(self, model: Any, hint: str) -> Any:
        properties = {"PERFORMANCE_HINT": hint, **self._properties}
        return self._core.compile_model(model, "CPU", properties)


def unpacked(model: Any) -> Any:
    """Bring weights stored in fewer bits back to floats, once, before anything is compiled.

    OpenVINO 2026.4 does it in every stream at once, and now and then runs on wrong weights then.
    A network that computes in 8 bits stays as it is: there they are more than a way to store them.
    """
    from openvino.passes import ConstantFolding, Manager

    if any(step.get_type_name() == "FakeQuantize" for step in model.get_ops()):
        return model
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model


class OnnxNetwork:
    """A network on ONNX Runtime's CPU provider.

    shapes: what it takes and what it gives, as the file says; a name where any number will do.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Read a model. Raises RuntimeUnavailable."""
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeUnavailable(
                "ONNX Runtime is not installed: pip install 'onnxruntime>=1.20'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no other base class
            raise RuntimeUnavailable(
                f"{path}: ONNX Runtime cannot read it: {_line(error)}"
            ) from error
        taken, given = self._session.get_inputs(), self._session.get_outputs()
        self._input = taken[0].name
        self.shapes = tuple(taken[0].shape), tuple(given[0].shape)
        self._workers = max(1, min(2, threads or os.cpu_count() or 1))
        self._pool: ThreadPoolExecutor | None = None

    def infer(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Run one batch and wait for it."""
        return np.asarray(self._session.run(None, {self._input: batch})[0], np.float32)

    def infer_many(self, batches: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float32]]:
        """Run batches, a few at once, answers in order."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="onnxruntime")
        waiting: deque[Future[NDArray[np.float32]]] = deque()
        for batch in batches:
            waiting.append(self._pool.submit(self.infer, batch))
            if len(waiting) > self._workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _line(error: Exception) -> str:
    """Return the last line of an error, which is where these runtimes say what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
