"""Any image network of timm as a trunk: its own stages, its own pooling, its own normalisation.

Networks differ in what their last map is (channels first, channels last, tokens) and in how it
becomes one feature; timm's `forward_head` knows, so that nothing here has to. Needs the `train`
extra.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from models.trunk import BackboneError, Trunk

_MIDDLE, _RANGE = 127.0, 128.0
"""What `models.embedder` scales pixels by: an image of a trunk is (pixels - 127) / 128."""


class TimmTrunk(Trunk):
    """A network of timm, run as timm runs it.

    Features of either sign come as two, one for each, since a trunk's features are none negative.
    """

    opaque = True
    """The order in which its parts run is not known, so that `models.folding` leaves it alone."""

    gain: Tensor
    shift: Tensor

    def __init__(self, network: Any, side: int, *, published: bool, fixed: bool) -> None:
        """Take a network without its classifier.

        side: of the images, in pixels. fixed: it takes no other. Raises BackboneError.
        """
        super().__init__([], 0, published=published)
        self.network = network
        self.fixed_side = side if fixed else None
        config = network.pretrained_cfg
        mean, std = (torch.tensor(config[key]).view(-1, 1, 1) for key in ("mean", "std"))
        # As buffers that are not saved: they belong to the network, not to what was learned.
        self.register_buffer("gain", _RANGE / 255.0 / std, persistent=False)
        self.register_buffer("shift", (_MIDDLE / 255.0 - mean) / std, persistent=False)
        found = self.try_out(side)
        self._signed = bool(found.min() < 0)
        self.length = found.shape[1] * (2 if self._signed else 1)

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each stage, as timm groups them; of one if it does not say."""
        if not hasattr(self.network, "group_matcher"):
            return [list(self.network.parameters())]
        named = dict(self.network.named_parameters())
        groups = group_parameters(self.network, self.network.group_matcher(coarse=True))
        return [[named[name] for name in groups[number]] for number in sorted(groups)]

    def try_out(self, side: int) -> Tensor:
        """Return the pooled features of two images of noise; raise BackboneError where it can't."""
        images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0)) * 2 - 1
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                found = self._pooled(images.to(self.gain.device))
        except Exception as error:  # networks refuse a size each in a way of its own
            made_for = self.network.pretrained_cfg["input_size"][-1]
            raise BackboneError(
                f"{self._name}: cannot take pictures of {side} pixels a side; it was made for "
                f"{made_for} ({one_line(error)})"
            ) from error
        finally:
            self.train(was_training)
        if not isinstance(found, Tensor) or found.ndim != 2 or not found.isfinite().all():
            raise BackboneError(f"{self._name}: does not give one feature a picture")
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return features, none negative: (B, length)."""
        found = self._pooled(images)
        if self._signed:
            return torch.relu(torch.cat([found, -found], dim=1))
        return torch.relu(found)

    def _pooled(self, images: Tensor) -> Tensor:
        maps = self.network.forward_features(images * self.gain + self.shift)
        found: Tensor = self.network.forward_head(maps, pre_logits=True)
        return found

    @property
    def _name(self) -> str:
        return str(self.network.pretrained_cfg["architecture"])


def open_timm(
    name: str, side: int | None, *, pretrained: bool, weights: Path | None, blank: bool
) -> TimmTrunk:
    """Return a network by what timm calls it, with or without a tag.

    side: of the images it will see; None for what it was made for. pretrained, weights, blank: as
    for `models.backbone.open_trunk`. Raises BackboneError.
    """
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise BackboneError(f"{name}: {one_line(error)}") from error
    if config is None:
        raise BackboneError(f"{name}: timm does not say what pictures it takes")
    made_for = int(config.input_size[-1])
    side = side or made_for
    fixed = bool(config.fixed_input_size)
    downloads = pretrained and not blank and weights is None
    if downloads and not config.has_weights:
        raise BackboneError(f"{name}: no weights are published: name a file, or start from scratch")
    size: dict[str, Any] = {"img_size": side} if fixed and side != made_for else {}
    try:
        network = timm.create_model(name, pretrained=downloads, num_classes=0, **size)
    except TypeError as error:
        if not size:
            raise
        raise BackboneError(
            f"{name}: takes pictures of {made_for} pixels a side only, not of {side}"
        ) from error
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        what = "weights cannot be had" if downloads else f"cannot be made for {side} pixels a side"
        raise BackboneError(f"{name}: {what}: {one_line(error)}") from error
    if pretrained and not blank and weights is not None:
        _load(network, weights)
    return TimmTrunk(network, side, published=pretrained, fixed=fixed)


def licence_of(name: str) -> str:
    """Return the licence timm states for a network's weights; empty where it states none."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return str(config.license or "") if config else ""


def one_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _load(network: Any, path: Path) -> None:
    """Read a file of weights of this network, in timm's names or the ones they were published in.

    Raises BackboneError.
    """
    module = importlib.import_module(type(network).__module__)
    renamed = getattr(module, "checkpoint_filter_fn", None)
    try:
        found = timm.models.load_checkpoint(network, str(path), strict=False, filter_fn=renamed)
    except Exception as error:  # whatever unpickling, safetensors and names that do not fit raise
        raise BackboneError(f"{path}: does not fit: {one_line(error)}") from error
    if found is not None and found.missing_keys:
        count = len(found.missing_keys)
        raise BackboneError(
            f"{path}: does not fit: {count} weights are missing, {found.missing_keys[0]} for one"
        )
