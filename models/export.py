"""Bring a trained embedder into the forms boxes run: OpenVINO IR and ONNX, from the same weights.

Weights are stored in half precision in both, so that the two forms hold exactly the same numbers.
Needs the `train` extra.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

OPSET = 18
_HALVED_FROM = 256


def export_embedder(embedder: nn.Module, stem: Path, *, side: int) -> tuple[Path, Path]:
    """Write stem.xml, stem.bin and stem.onnx; return the IR's and the ONNX file's paths.

    embedder: (B, side, side, 3) uint8 to (B, D) float32; left in evaluation mode, with its batch
        norms folded into its convolutions.
    """
    embedder.eval()
    fold_batch_norms(embedder)
    onnx_path, ir_path = stem.with_suffix(".onnx"), stem.with_suffix(".xml")
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
    model = halved(program.model_proto)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(onnx_path))
    ov.save_model(ov.convert_model(str(onnx_path)), str(ir_path), compress_to_fp16=True)
    return ir_path, onnx_path


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
        if values.size < _HALVED_FROM:
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


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution into it, in place."""
    children = list(module.named_children())
    for (name, first), (next_name, second) in itertools.pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(first, second))
            # timm's batch norm carries the activation with it.
            setattr(module, next_name, getattr(second, "act", nn.Identity()))
    for _, child in module.named_children():
        fold_batch_norms(child)
