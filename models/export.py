"""Bring a trained embedder into the forms boxes run: OpenVINO IR and ONNX, from the same weights.

Weights are stored in 16 bits, or in 8 bits with one scale a channel, the same in both forms, so
that they give the same embeddings; the arithmetic stays in floats (in 8 bits: `models.quantise`).
Needs the `train` extra.
"""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models.folding import fold_batch_norms

OPSET = 18
_SMALL = 256
"""Tensors of fewer numbers are not worth storing in fewer bits."""

_LARGE = 2048
"""Weights between so few channels stay in 16 bits: they are little, and sensitive."""


def export_embedder(
    embedder: nn.Module, stem: Path, *, side: int, bits: int = 16
) -> tuple[Path, Path]:
    """Write stem.xml, stem.bin and stem.onnx; return the IR's and the ONNX file's paths.

    As `export_onnx` otherwise, from whose file the IR is made.
    """
    onnx_path, ir_path = export_onnx(embedder, stem, side=side, bits=bits), stem.with_suffix(".xml")
    ov.save_model(ov.convert_model(str(onnx_path)), str(ir_path), compress_to_fp16=True)
    return ir_path, onnx_path


def export_onnx(embedder: nn.Module, stem: Path, *, side: int, bits: int = 16) -> Path:
    """Write stem.onnx and return its path.

    embedder: (B, side, side, 3) uint8 to (B, D) float32; left in evaluation mode, with its batch
        norms folded into its convolutions.
    bits: 16 or 8, of what a weight is stored in.
    """
    embedder.eval()
    fold_batch_norms(embedder)
    path = stem.with_suffix(".onnx")
    model = in_8_bits(as_onnx(embedder, side)) if bits == 8 else as_onnx(embedder, side)
    model = halved(model)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(path))
    return path


def as_onnx(embedder: nn.Module, side: int) -> onnx.ModelProto:
    """Return an embedder as a graph for any number of crops."""
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            embedder,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["crops"],
            output_names=["embeddings"],
            opset_version=OPSET,
        )
    assert program is not None
    return program.model_proto


def in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large weights of convolutions and products in 8 bits, one scale an output channel.

    Those of depthwise convolutions, (C, 1, k, k), are small by this measure.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        axis = {"Conv": 0, "Gemm": 0, "MatMul": 1}.get(node.op_type)
        tensor = stored.get(node.input[1]) if axis is not None else None
        if tensor is None or np.prod(tensor.dims[:2]) < _LARGE:
            continue
        values = numpy_helper.to_array(tensor)
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.maximum(np.abs(values).max(axis=others), 1e-12).astype(np.float32) / 127
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        small = np.clip(np.rint(values / scale.reshape(shape)), -127, 127).astype(np.int8)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(small, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        zero = np.zeros(len(scale), np.int8)
        graph.initializer.append(numpy_helper.from_array(zero, f"{name}.zero"))
        inputs = [f"{name}.int8", f"{name}.scale", f"{name}.zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=axis))
        del stored[name]
    for extra in reversed(nodes):
        graph.node.insert(0, extra)
    del graph.value_info[:]
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Round a model's float32 weights to half precision, and store the large ones as such.

    The small ones keep their type, and lose what OpenVINO will round away when it compresses.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT:
            continue
        name = tensor.name
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < _SMALL or name.endswith(".scale"):
            fits = np.isfinite(half) & ((half != 0) | (values == 0))
            rounded = np.where(fits, half.astype(np.float32), values).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, name))
            continue
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    del graph.value_info[:]
    return model
