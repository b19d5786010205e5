"""Train an embedding: pictures by product in, a network that tells products apart out.

Called by `shelfgate models train`, under `torchrun` too, and by the build of the default bundle.
Every pass ends with a checkpoint; the same call goes on from the last one. Needs the `train` extra.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models import checkpoint
from models.backbone import Trunk, open_trunk
from models.embedder import Embedder
from models.features import embedded_batches, nearest_is_alike
from models.folding import fold_batch_norms, fold_in_training
from models.losses import Objective
from models.processes import Processes, processes
from models.recipe import Recipe, RecipeError, from_plain
from models.timm_trunk import TimmTrunk
from models.train_data import Batches, TrainingDataError, one_pass, plain
from models.train_log import TrainLog
from models.whitening import FLATNESS, Streamed, fit_projection

Pictures = Mapping[str, Sequence[Path]]
Watch = Callable[[int, int, int, float], None]
"""Told after every batch: the pass, the batch, batches in a pass, the loss so far."""

CHECKPOINT = "checkpoint.pt"
NETWORK = "network.pt"
_SHRINKAGE = 0.3
_PROXY_RATE = 8.0
_LEAST_RATE = 0.01
_ROOT_BEFORE = 0.25
"""Of networks and checkpoints that do not say with which root their projection was learned."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained network, in evaluation mode; the recipe and the products it was trained on."""

    embedder: Embedder
    recipe: Recipe
    skus: tuple[str, ...]


class _Learner(nn.Module):
    """Network and losses as one, so that DDP sees all parameters."""

    def __init__(self, embedder: Embedder, objective: Objective, project: bool) -> None:
        super().__init__()
        self.embedder, self.objective, self.project = embedder, objective, project

    def forward(self, crops: Tensor, labels: Tensor) -> Tensor:
        rows = self.embedder(crops) if self.project else self.embedder.trunk_features(crops)
        found: Tensor = self.objective(rows.float(), labels)
        return found


def train(
    pictures: Pictures,
    out: Path,
    recipe: Recipe | None = None,
    *,
    val: Pictures | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train on pictures by sku, and leave checkpoint, metrics and network.pt in out.

    val: pictures of the same or other products to measure with after each pass; never learnt from.
    watch: told of every batch. Goes on where an earlier call with the same recipe stopped.
    Raises TrainingDataError, BackboneError, LossError, PictureError, CheckpointError; RecipeError
    where out holds a checkpoint of settings that are not known.
    """
    recipe = recipe or Recipe()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    with processes() as ours:
        return _Training(pictures, out, recipe, ours).run(val or {}, watch or _silent)


def trained_once(
    pictures: Pictures,
    out: Path,
    recipe: Recipe,
    *,
    val: Pictures | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Open the network that out holds, where it is of this recipe and these products; else train.

    As `train` otherwise.
    """
    if (out / NETWORK).is_file():
        finished = open_trained(out / NETWORK)
        if (finished.recipe, finished.skus) == (recipe, tuple(pictures)):
            return finished
    return train(pictures, out, recipe, val=val, watch=watch)


def open_trained(path: Path) -> Trained:
    """Open a network.pt that `train` left.

    Raises CheckpointError, and BackboneError where the network is not known here.
    """
    state = checkpoint.load(path)
    try:
        recipe = from_plain(state["recipe"])
        embedder = fresh_embedder(recipe, blank=True)
        embedder.load_state_dict(state["embedder"])
        embedder.root = _root_of(state)
    except (KeyError, TypeError, RuntimeError, RecipeError) as error:
        raise checkpoint.CheckpointError(f"{path}: not a trained network: {error}") from error
    return Trained(embedder.eval(), recipe, tuple(state["skus"]))


def fresh_embedder(recipe: Recipe, *, folded: bool = True, blank: bool = False) -> Embedder:
    """Return the network training starts from, folded or not. Raises BackboneError.

    blank: without the weights it starts from, since others are put in their place.
    """
    trunk = open_trunk(
        recipe.backbone,
        pretrained=recipe.pretrained,
        weights=recipe.weights_path,
        folded=folded,
        side=recipe.side,
        blank=blank,
    )
    trunk.freeze(recipe.frozen_stages)
    return Embedder(trunk, recipe.dim, colour_weight=recipe.colour_weight)


def _root_of(state: Mapping[str, Any]) -> float:
    """Return the root that the projection of a network or checkpoint was learned with."""
    return float(state.get("root", _ROOT_BEFORE))


class _Training:
    """One training: what is learned, how far it is, and where that is kept."""

    def __init__(self, pictures: Pictures, out: Path, recipe: Recipe, ours: Processes) -> None:
        self._pictures, self._out, self._recipe, self._ours = pictures, out, recipe, ours
        embedder = fresh_embedder(recipe, folded=False)
        if ours.first:
            _say_what_differs(cast(Trunk, embedder.trunk), recipe)
        if recipe.pretrained:
            fold_in_training(embedder)
        length = recipe.dim if recipe.project else embedder.trunk.length
        objective = Objective(recipe.losses, len(pictures), length, synthetic=recipe.synthetic)
        self._learner = _Learner(embedder, objective, recipe.project).to(ours.device)
        self._learner = self._learner.to(memory_format=torch.channels_last)
        self._done = 0
        self._start = {k: v.detach().clone() for k, v in embedder.trunk_parameters().items()}
        saved = out / CHECKPOINT
        state = checkpoint.load(saved) if saved.is_file() else None
        if state is None and recipe.pretrained:
            self._begin()
        decay = get_ema_multi_avg_fn(recipe.average)  # type: ignore[no-untyped-call]
        self._mean = AveragedModel(embedder, multi_avg_fn=decay, use_buffers=True)
        self._optimiser = torch.optim.AdamW(self._groups(), weight_decay=0.0, fused=True)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]
        self._scaler = torch.amp.GradScaler(ours.device.type, enabled=ours.device.type == "cuda")
        if state is not None:
            self._resume(saved, state)

    def run(self, val: Pictures, watch: Watch) -> Trained:
        """Go through the passes that are left."""
        learner = self._ours.wrapped(self._learner)
        log = TrainLog(self._out, self._done) if self._ours.first else None
        for number in range(self._done, self._recipe.passes):
            began = time.perf_counter()
            loss = self._one_pass(learner, number, watch)
            self._done = number + 1
            if log is None:
                continue
            figures = {
                "pass": self._done,
                "loss": round(loss, 5),
                "learning_rate": self._optimiser.param_groups[-1]["lr"],
                "val_precision_at_1": self._precision(val),
                "seconds": round(time.perf_counter() - began, 1),
            }
            log.put(figures)
            self._save()
        embedder = cast(Embedder, self._mean.module.eval())
        if not self._recipe.project:
            self._whiten(embedder)
        if self._recipe.pretrained:
            fold_batch_norms(embedder)
        trained = Trained(embedder, self._recipe, tuple(self._pictures))
        if log is not None:
            log.close()
            plain_recipe = self._recipe.as_plain()
            weights = {k: v.cpu() for k, v in trained.embedder.state_dict().items()}
            kept = {
                "recipe": plain_recipe,
                "skus": list(trained.skus),
                "embedder": weights,
                "root": trained.embedder.root,
            }
            checkpoint.save(self._out / NETWORK, kept)
        return Trained(trained.embedder.cpu(), trained.recipe, trained.skus)

    def _one_pass(self, learner: nn.Module, number: int, watch: Watch) -> float:
        recipe = self._recipe
        # What takes one side only takes it from the first pass on.
        side = cast(Trunk, self._learner.embedder.trunk).fixed_side or recipe.side_in(number)
        batches = Batches(
            recipe.products,
            recipe.pictures,
            side,
            recipe.fit,
            recipe.harsh,
            recipe.backgrounds,
            recipe.seed,
            recipe.workers,
        )
        loader = one_pass(self._pictures, batches, number, self._ours.rank, self._ours.count)
        learner.train()
        total = 0.0
        for step, (crops, labels) in enumerate(loader):
            self._set_rate(number * len(loader) + step, recipe.passes * len(loader))
            total += self._step(learner, crops.to(self._ours.device), labels.to(self._ours.device))
            if not math.isfinite(total):
                raise TrainingDataError(
                    f"the loss is no number any more in pass {number + 1}: try a lower rate"
                )
            watch(number, step + 1, len(loader), total / (step + 1))
        return total / max(len(loader), 1)

    def _step(self, learner: nn.Module, crops: Tensor, labels: Tensor) -> float:
        device = self._ours.device.type
        with torch.autocast(device, enabled=device == "cuda"):
            loss = learner(crops, labels)
        whole = loss + self._recipe.pull * self._strayed() if self._recipe.pull else loss
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(whole).backward()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._mean.update_parameters(self._learner.embedder)
        return float(loss.detach())

    def _strayed(self) -> Tensor:
        """Return how far the trunk's weights have gone from where they started, squared."""
        pairs = self._learner.embedder.trunk_parameters().items()
        return torch.stack([(now - self._start[name]).square().sum() for name, now in pairs]).sum()

    def _groups(self) -> list[dict[str, Any]]:
        """Let earlier stages learn more slowly, and proxies faster."""
        recipe, groups = self._recipe, []
        trunk = cast(Trunk, self._learner.embedder.trunk)
        for number, stage in enumerate(reversed(trunk.stage_parameters())):
            learning = [p for p in stage if p.requires_grad]
            if learning:
                rate = recipe.learning_rate * recipe.fade**number
                groups.append({"params": learning, "lr": rate})
        losses = list(self._learner.objective.parameters())
        if losses:
            groups.append({"params": losses, "lr": recipe.learning_rate * _PROXY_RATE})
        if recipe.project:
            projection = list(self._learner.embedder.projection.parameters())
            groups.append({"params": projection, "lr": recipe.learning_rate})
        return groups

    def _set_rate(self, step: int, steps: int) -> None:
        warm = min(1.0, (step + 1) / max(self._recipe.warm_up, 1))
        share = warm * 0.5 * (1.0 + math.cos(math.pi * step / max(steps, 1)))
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * max(share, _LEAST_RATE)

    def _begin(self) -> None:
        """Start with what tells most apart before anything is trained, and proxies to match."""
        embedder = self._learner.embedder.eval()
        if self._recipe.project:
            self._whiten(embedder)
        proxies = self._learner.objective.proxies
        if proxies is None:
            return
        skus, batches = self._embedded(embedder, self._pictures)
        numbers = {sku: number for number, sku in enumerate(self._pictures)}
        labels = np.array([numbers[sku] for sku in skus])
        sums = np.zeros(proxies.shape, np.float64)
        done = 0
        for rows in batches:
            np.add.at(sums, labels[done : done + len(rows)], rows)
            done += len(rows)
        middles = sums / np.bincount(labels, minlength=len(sums))[:, None]
        # What all products have in common tells none apart.
        middles -= sums.sum(axis=0) / done
        with torch.no_grad():
            proxies.copy_(nn.functional.normalize(torch.from_numpy(middles).float(), dim=1))

    def _whiten(self, embedder: Embedder) -> None:
        """Fit the projection that tells the pictures' products apart best."""
        recipe = self._recipe
        skus, crops = plain(self._pictures, recipe.side, recipe.fit)
        found = embedded_batches(embedder.features, crops, self._ours.device)
        streamed = Streamed(found, np.array(skus))
        projection = fit_projection(
            [(streamed, 1.0)], shrinkage=_SHRINKAGE, dim=recipe.dim, flatness=FLATNESS
        )
        weight, bias = torch.from_numpy(projection.weight), torch.from_numpy(projection.bias)
        embedder.project_with(weight, bias)

    def _embedded(
        self, embedder: Embedder, pictures: Pictures
    ) -> tuple[NDArray[np.str_], Iterator[NDArray[np.float32]]]:
        """Return the sku of each picture and, a few at a time, what the losses see of it."""
        skus, crops = plain(pictures, self._recipe.side, self._recipe.fit)
        function = embedder if self._recipe.project else embedder.trunk_features
        return np.array(skus), embedded_batches(function, crops, self._ours.device)

    def _precision(self, val: Pictures) -> float:
        """Return how often a held-back picture's nearest other one is of the same product."""
        if sum(map(len, val.values())) < 2:
            return math.nan
        skus, batches = self._embedded(cast(Embedder, self._mean.module.eval()), val)
        return round(nearest_is_alike(np.concatenate(list(batches)), skus), 4)

    def _save(self) -> None:
        state = {
            "recipe": self._recipe.as_plain(),
            "skus": list(self._pictures),
            "done": self._done,
            "learner": self._learner.state_dict(),
            "mean": self._mean.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "root": self._learner.embedder.root,
        }
        checkpoint.save(self._out / CHECKPOINT, state)

    def _resume(self, path: Path, state: dict[str, Any]) -> None:
        # Settings that came later than the checkpoint have the values that were there before them.
        settings = from_plain(state["recipe"]).as_plain()
        if (settings, state["skus"]) != (self._recipe.as_plain(), list(self._pictures)):
            raise checkpoint.CheckpointError(
                f"{path}: is of a training with other settings or products; "
                "delete it to begin anew, or give another folder"
            )
        try:
            self._learner.load_state_dict(state["learner"])
            self._mean.load_state_dict(state["mean"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._scaler.load_state_dict(state["scaler"])
            for embedder in (self._learner.embedder, cast(Embedder, self._mean.module)):
                embedder.root = _root_of(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"{path}: does not fit the network as it is built now; delete it to begin anew"
            ) from error
        torch.set_rng_state(state["random"])
        self._done = state["done"]


def _say_what_differs(trunk: Trunk, recipe: Recipe) -> None:
    """Say where a network cannot be trained quite as the recipe has it.

    Raises BackboneError where it cannot take the pictures of the first passes.
    """
    most = len(trunk.stage_parameters()) - 1
    if recipe.frozen_stages > most:
        log.warning(
            f"{recipe.backbone} has {most + 1} stages: the first {most} are frozen, "
            f"not {recipe.frozen_stages}"
        )
    smaller = recipe.side_in(0)
    if trunk.fixed_side and smaller != trunk.fixed_side:
        log.warning(f"{recipe.backbone} takes one size only: all passes see {trunk.fixed_side}")
    elif isinstance(trunk, TimmTrunk):
        trunk.try_out(smaller)


def _silent(number: int, batch: int, batches: int, loss: float) -> None:
    """Tell nobody."""
