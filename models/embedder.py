"""What a bundle ships: uint8 BGR crops in, L2-normalised embeddings out, all in one graph.

Trained by `models.train`, projected by `models.default`, written down by `models.export`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from models.colour import LENGTH, ColourFeatures

ROOT = 0.5
"""Power the trunk's features are raised to."""

_LEAST = 1e-4
"""Added under the root, which has no slope at 0."""


class Featured(Protocol):
    """A trunk: images (B, 3, H, W) in [-1, 1] to features (B, length), none negative."""

    length: int

    def __call__(self, images: Tensor) -> Tensor:
        """Return features of images."""
        ...


class Embedder(nn.Module):
    """Trunk, colours and projection.

    The projection sees what the trunk found and what colours there are. Of the trunk's features it
    sees a root: few channels answer strongly, and would otherwise decide alone. Colour
    order, normalisation, trunk and projection are one graph, so that a device cannot prepare a crop
    differently from what the table was built with.

    root: power the trunk's features are raised to; a projection goes with the one it was learned
    with, which for networks of before is another.
    """

    def __init__(self, trunk: Featured, dim: int, *, colour_weight: float) -> None:
        """Take a trunk; the projection to dim numbers is yet to be learned.

        colour_weight: what the colour features are multiplied by; 0 leaves them out.
        """
        super().__init__()
        self.trunk = trunk
        self.root = ROOT
        self.colours = ColourFeatures() if colour_weight else None
        self.colour_weight = colour_weight
        self.projection = nn.Linear(trunk.length + (LENGTH if colour_weight else 0), dim)

    def project_with(self, weight: Tensor, bias: Tensor) -> None:
        """Set the projection: weight (D, F), bias (D,)."""
        with torch.no_grad():
            self.projection.weight.copy_(weight)
            self.projection.bias.copy_(bias)

    def trunk_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the trunk that learn, by name."""
        assert isinstance(self.trunk, nn.Module)
        return {name: p for name, p in self.trunk.named_parameters() if p.requires_grad}

    def trunk_features(self, crops: Tensor) -> Tensor:
        """Return what the trunk finds, scaled to length 1: (B, S, S, 3) uint8 BGR to (B, T)."""
        return nn.functional.normalize(self.trunk(_scaled(_rgb(crops))), dim=1)

    def features(self, crops: Tensor) -> Tensor:
        """Return what the projection sees: (B, S, S, 3) uint8 BGR to (B, F) float32."""
        rgb = _rgb(crops)
        found = torch.pow(self.trunk(_scaled(rgb)) + _LEAST, self.root)
        if self.colours is None:
            return found
        return torch.cat([found, self.colour_weight * self.colours(rgb)], dim=1)

    def forward(self, crops: Tensor) -> Tensor:
        """Embed crops: (B, S, S, 3) uint8 BGR to (B, D) float32."""
        return nn.functional.normalize(self.projection(self.features(crops)), dim=1)


def _rgb(crops: Tensor) -> Tensor:
    return crops.permute(0, 3, 1, 2).float().flip(1)


def _scaled(rgb: Tensor) -> Tensor:
    return (rgb - 127.0) / 128.0
