"""Train the product/hand/person detector with ultralytics, from our yaml, on a CPU.

Nothing is downloaded: the network is built from `detector_network.yaml`, and its first part starts
from ImageNet weights that lie on disk. Stopped half-way, it goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn
from ultralytics.models import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from models.detector_labels import MaterialError, read

NETWORK = Path(__file__).parent / "detector_network.yaml"
SIZE = 320
FROZEN = tuple(f"0.m.{i}" for i in range(7))
"""Parts of the network that stay as ImageNet made them: edges and textures, costly to train."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    minutes: stop after so long, whatever epochs says; None for no limit.
    start: ImageNet weights of MobileNetV2 (safetensors), None to start from nothing.
    weights: a detector trained before, to go on from instead.
    """

    epochs: int = 30
    minutes: float | None = None
    batch: int = 16
    threads: int = 2
    start: Path | None = None
    weights: Path | None = None
    seed: int = 1


def train(material: Path, out: Path, plan: Plan) -> Path:
    """Train with the pictures of material; return the weights, out/weights/last.pt.

    Goes on from out/weights/last.pt where that was not finished.
    Raises MaterialError if material is not what `shelfgate detector material` makes.
    """
    data = material / "data.yaml"
    if not data.is_file():
        raise MaterialError(f"{data}: missing; `shelfgate detector material` makes it")
    for weights in (plan.start, plan.weights):
        if weights is not None and not weights.is_file():
            raise MaterialError(f"{weights}: the weights to start from are missing")
    torch.set_num_threads(plan.threads)
    last = out / "weights/last.pt"
    if last.is_file() and _unfinished(last):
        YOLO(last).train(resume=True)
        return last
    network = _network(plan.weights)
    network.train(
        trainer=_trainer(plan.start, material / "train"),
        data=str(data),
        project=str(out.resolve().parent),
        name=out.name,
        exist_ok=True,
        epochs=plan.epochs,
        time=None if plan.minutes is None else plan.minutes / 60,
        batch=plan.batch,
        seed=plan.seed,
        freeze=list(FROZEN) if plan.start or plan.weights else None,
        **SETTINGS,
    )
    return last


def _network(weights: Path | None) -> YOLO:
    """Open what was trained before, or an untrained network. Raises MaterialError."""
    if weights is not None and weights.suffix != ".pt":
        raise MaterialError(f"{weights}: no weights of a detector: a .pt file is needed")
    try:
        return YOLO(weights or NETWORK, task="detect")
    except Exception as error:  # the library raises whatever a strange file leads it to
        raise MaterialError(f"{weights or NETWORK}: no weights of a detector: {error}") from error


SETTINGS: dict[str, Any] = {
    "imgsz": SIZE,
    "device": "cpu",
    "workers": 0,
    "amp": False,
    "optimizer": "AdamW",
    "lr0": 0.0015,
    "lrf": 0.05,
    "cos_lr": True,
    "warmup_epochs": 0.5,
    "mosaic": 0.4,
    "close_mosaic": 1,
    "translate": 0.1,
    "scale": 0.4,
    "val": False,
    "plots": False,
}


def _unfinished(weights: Path) -> bool:
    """Tell whether a checkpoint was cut off: a finished one is stripped of its epoch."""
    epoch = torch.load(weights, map_location="cpu", weights_only=False).get("epoch", -1)
    return int(epoch) >= 0


def _trainer(start: Path | None, pictures: Path) -> type[DetectionTrainer]:
    """Return a trainer whose fresh networks begin with the weights in start."""

    class Trainer(DetectionTrainer):
        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            model = super().get_model(cfg=cfg, weights=weights, verbose=verbose)
            if start is not None and weights is None:
                begin_with(model.model[0].m, start, pictures)
            return model

    return Trainer


def begin_with(stages: nn.Sequential, weights: Path, pictures: Path) -> None:
    """Put folded MobileNetV2 weights into stages, whose batch norms are separate.

    A folded weight leaves a batch norm nothing to do; one that did nothing would tear the network
    apart when training begins to normalise. So each gets the mean and spread that its channel has
    on pictures, and scales them right back.
    """
    from safetensors.torch import load_file

    stored = load_file(weights)
    convolutions = [part for part in stages.modules() if isinstance(part, nn.Conv2d)]
    norms = [part for part in stages.modules() if isinstance(part, nn.BatchNorm2d)]
    hooks = []
    for i, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        weight, bias = stored[f"conv{i}.weight"].float(), stored[f"conv{i}.bias"].float()
        if i == 0:  # it was trained on -1..1, and is given 0..1
            bias, weight = bias - weight.sum(dim=(1, 2, 3)), weight * 2
        convolution.weight.data.copy_(weight)
        hooks.append(norm.register_forward_pre_hook(_settle(bias)))
    stages.eval()
    with torch.no_grad():
        stages(torch.stack(list(islice(_inputs(pictures), 24))))
    for hook in hooks:
        hook.remove()
    stages.train()


def _settle(bias: torch.Tensor) -> Any:
    """Return a hook: the batch norm adds bias and does nothing else, with honest statistics."""

    def hook(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        mean = inputs[0].mean(dim=(0, 2, 3))
        spread = inputs[0].var(dim=(0, 2, 3), unbiased=False).clamp_min(1e-5)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(spread)
        norm.weight.data.copy_(torch.sqrt(spread + norm.eps))
        norm.bias.data.copy_(bias + mean)

    return hook


def _inputs(pictures: Path) -> Iterator[torch.Tensor]:
    for i, (picture, _) in enumerate(read(pictures)):
        if i % 7 == 0:
            small = cv2.resize(picture, (SIZE, SIZE))[..., ::-1].copy()
            yield torch.from_numpy(small).permute(2, 0, 1).float() / 255
