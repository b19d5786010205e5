"""What every network that embeddings start from can do: features, stages, freezing; and several.

The networks themselves: `models.backbone`. Needs the `train` extra.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BackboneError(Exception):
    """A network is not known, cannot take pictures of a size, or weights do not fit it."""


class Trunk(nn.Module):
    """Stages in order; the mean over the last map is the feature.

    length: of the feature. From images (B, 3, H, W) in [-1, 1] to (B, length).
    fixed_side: the only side of images it takes, in pixels; None where it takes any.
    """

    fixed_side: int | None = None

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

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each stage, the first stage first."""
        return [list(stage.parameters()) for stage in self.stages]

    def freeze(self, count: int) -> int:
        """Keep the first count stages as they are; return how many those are.

        The last stage always learns, however many are asked for.
        """
        stages = self.stage_parameters()
        kept = min(count, len(stages) - 1)
        for parameter in (p for stage in stages[:kept] for p in stage):
            parameter.requires_grad_(False)
        return kept

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
