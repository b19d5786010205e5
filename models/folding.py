"""Fold batch norms into the convolutions before them: fewer steps, the same numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class FoldedStep(nn.Module):
    """A convolution and a batch norm whose statistics stay, in one step that still learns.

    Scale and shift go into the convolution's weights each time anew: what a gradient is, and of
    which parameters, stays as it was, and maps are gone through once instead of twice.
    """

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        """Take both; neither is changed."""
        super().__init__()
        self.convolution, self.norm = convolution, norm

    def forward(self, images: Tensor) -> Tensor:
        """Return what the batch norm makes of the convolution: (B, C, H, W)."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        folded = {
            "weight": self.convolution.weight * scale[:, None, None, None],
            "bias": norm.bias - norm.running_mean * scale,
        }
        found: Tensor = torch.func.functional_call(self.convolution, folded, (images,))
        return found


def fold_in_training(module: nn.Module) -> None:
    """Put a `FoldedStep` in place of each convolution that a batch norm directly follows.

    For networks whose batch norms keep the statistics they came with.
    """
    for parent, (name, first), (next_name, second) in _pairs(module):
        activation = _activation(second)
        if isinstance(activation, nn.ReLU | nn.ReLU6):
            # For the gradient the map is kept, so that in place means a copy first.
            activation.inplace = False
        setattr(parent, name, FoldedStep(first, second))
        setattr(parent, next_name, activation)


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution into it, in place, and for good.

    The module must be in evaluation mode.
    """
    for parent, (name, first), (next_name, second) in _pairs(module):
        setattr(parent, name, _fused(first, second))
        setattr(parent, next_name, _activation(second))
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FoldedStep):
                setattr(parent, name, _fused(child.convolution, child.norm))


def _pairs(
    module: nn.Module,
) -> Iterator[tuple[nn.Module, tuple[str, nn.Conv2d], tuple[str, nn.BatchNorm2d]]]:
    """Yield convolutions with the batch norms that follow them, and whose children they are."""
    for parent in list(_known(module)):
        for (name, first), (next_name, second) in itertools.pairwise(list(parent.named_children())):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                yield parent, (name, first), (next_name, second)


def _known(module: nn.Module) -> Iterator[nn.Module]:
    """Yield a module and those in it, but for folded steps and what runs in an order not known."""
    if isinstance(module, FoldedStep) or getattr(module, "opaque", False):
        return
    yield module
    for child in module.children():
        yield from _known(child)


def _fused(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    fused = fuse_conv_bn_eval(convolution, norm)
    # The new bias stands for the batch norm's shift, and learns as that would.
    assert fused.bias is not None
    fused.bias.requires_grad_(convolution.weight.requires_grad)
    return fused


def _activation(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what timm's batch norm does beside: it carries the activation with it."""
    return getattr(norm, "act", nn.Identity())
