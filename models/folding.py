"""Fold batch norms into the convolutions before them: fewer steps, the same numbers."""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution into it, in place.

    The module must be in evaluation mode.
    """
    children = list(module.named_children())
    for (name, first), (next_name, second) in itertools.pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            fused = fuse_conv_bn_eval(first, second)
            # The new bias stands for the batch norm's shift, and learns as that would.
            assert fused.bias is not None
            fused.bias.requires_grad_(first.weight.requires_grad)
            setattr(module, name, fused)
            # timm's batch norm carries the activation with it.
            setattr(module, next_name, getattr(second, "act", nn.Identity()))
    for _, child in module.named_children():
        fold_batch_norms(child)
