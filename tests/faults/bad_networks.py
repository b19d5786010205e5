"""Networks that are none, are others, hang, crash, crawl or eat up memory; each is a real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from models.bundle import Bundle
from tests.cloud_sync.a_bundle import DIM, a_network, changed


def a_network_of_other_shapes(bundle: Bundle, folder: Path) -> None:
    a_network(folder / "other.xml", dim=DIM // 2)
    changed(bundle, "models/small.xml", (folder / "other.xml").read_bytes())
    changed(bundle, "models/small.bin", (folder / "other.bin").read_bytes())


def no_network(bundle: Bundle, folder: Path) -> None:
    changed(bundle, "models/small.xml", b"<?xml version='1.0'?><net>" + b"x" * 5_000)


def half_a_network(bundle: Bundle, folder: Path) -> None:
    weights = (bundle.path / "models" / "small.bin").read_bytes()
    changed(bundle, "models/small.bin", weights[: len(weights) // 2])


def spin(rounds: int, size: int) -> Callable[[Any], Any]:
    """A tail that multiplies a matrix by itself again and again, and adds next to nothing."""

    def tail(flat: Any) -> Any:
        count = op.parameter([], np.int32, "count")
        carried = op.parameter([size, size], np.float32, "carried")
        turned = op.tanh(op.matmul(carried, carried, False, False))
        body = ov.Model([op.constant(True), turned], [count, carried], "body")
        loop = op.loop(op.constant(np.int32(rounds)), op.constant(True))
        loop.set_function(body)
        loop.set_special_body_ports([0, 0])
        first = op.reduce_mean(flat, np.array([0, 1]), True)
        start = op.broadcast(op.reshape(first, np.array([1, 1]), False), np.array([size, size]))
        loop.set_merged_input(carried, start.output(0), turned.output(0))
        spun = loop.get_iter_value(turned.output(0), -1)
        return op.multiply(op.reduce_mean(spun, np.array([0, 1]), True), np.float32(1e-12))

    return tail


def hog(flat: Any) -> Any:
    """A tail that needs more memory than any box has."""
    first = op.reduce_mean(flat, np.array([0, 1]), True)
    large = op.broadcast(op.reshape(first, np.array([1]), False), np.array([40 * 2**30]))
    return op.multiply(op.reduce_mean(op.tanh(large), np.array([0]), True), np.float32(1e-12))


def crash(flat: Any) -> Any:
    """A tail that reads far outside its own memory, which no runtime looks after."""
    return op.gather_nd(flat, op.constant(np.full((1, 1), 2**30, np.int32)), 0)


def fail_in_the_dark(flat: Any) -> Any:
    """A tail that cannot be computed for a picture that is black all over.

    One number is given a shape that is found out from the picture: of one, or of none.
    """
    lightest = op.reduce_max(flat, np.array([0, 1]), False)
    fits = op.convert(op.greater(lightest, np.float32(-0.49)), np.int64)
    shape = op.concat([op.constant(np.array([1])), op.reshape(fits, np.array([1]), False)], 0)
    mean = op.reshape(op.reduce_mean(flat, np.array([0, 1]), True), np.array([1]), False)
    shaped = op.reduce_sum(op.reshape(mean, shape, False), np.array([0, 1]), True)
    return op.multiply(shaped, np.float32(1e-12))
