"""What colours a crop has, and where: a part of the embedder's graph that is not learned.

Networks trained to name things learn to look past colour, and colour is often all that tells one
flavour from the next. Both descriptions hold under more or less light, since they are relative to
the crop's own brightness. Needs the `train` extra; on the device it is part of the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GRID = 7
BANDS = 4
BINS = 9

_FINE = 56
_DARK = 16.0
"""Added to brightness, so that noise in the dark makes no colours."""

_WIDTH = 0.07
"""Standard deviation of a bin of the histogram, in units of chromaticity."""

LENGTH = 3 * GRID**2 + (1 + BANDS) * BINS**2


class ColourFeatures(nn.Module):
    """A coarse picture, and histograms of the colours of the whole and of four bands of it."""

    centres: Tensor

    def __init__(self) -> None:
        """Lay out the histogram's bins."""
        super().__init__()
        self.register_buffer("centres", torch.linspace(-0.5, 0.5, BINS).reshape(BINS, 1))

    def forward(self, rgb: Tensor) -> Tensor:
        """Describe (B, 3, S, S) float32 RGB in [0, 255], S a multiple of 56: (B, LENGTH)."""
        side = rgb.shape[-1]
        coarse = nn.functional.avg_pool2d(rgb, side // GRID)
        fine = nn.functional.avg_pool2d(rgb, side // _FINE)
        light = fine.mean(dim=(1, 2, 3)).reshape(-1, 1) + _DARK
        grid = coarse.flatten(1) / light
        bands = self._histograms(fine)
        whole = bands.mean(dim=1)
        return torch.cat([grid, whole.sqrt().flatten(1), bands.sqrt().flatten(1)], dim=1)

    def _histograms(self, fine: Tensor) -> Tensor:
        """Return (B, BANDS, BINS, BINS) soft histograms of red-green against yellow-blue."""
        red, green, blue = (fine / (fine.sum(1, keepdim=True) + 1.5 * _DARK)).unbind(1)
        first = self._soft(red - green)
        second = self._soft((red + green - 2.0 * blue) / 2.0)
        return first @ second.transpose(2, 3) / first.shape[-1]

    def _soft(self, values: Tensor) -> Tensor:
        """Share values (B, H, W) out over the bins: (B, BANDS, BINS, H * W / BANDS)."""
        banded = values.reshape(-1, BANDS, 1, _FINE * _FINE // BANDS)
        return torch.exp(-((banded - self.centres) ** 2) / (2 * _WIDTH**2))
