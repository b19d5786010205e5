"""Train a challenger for a group that is below its bar; needs the `train` extra.

What `shelfgate models refresh` does unless another trainer is named: the group's pictures are
trained on, but for some of each product that thresholds are found with, and the network is
exported, enrolled and calibrated as `shelfgate models export` does it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from edge.default_build import bundle_trained
from models.backbone import BackboneError
from models.bad_input import BadInput
from models.bundle import Bundle, BundleError, Group, file_digest, load_bundle
from models.catalogue import Catalogue
from models.checkpoint import CheckpointError
from models.judging import Pictures
from models.losses import LossError
from models.pictures import PictureError, read_picture
from models.recipe import Recipe, RecipeError, from_plain
from models.refresh import NoChallenger
from models.train import NETWORK, Watch, trained_once
from models.train_data import TrainingDataError

_BUNDLE = "bundle"
_ENOUGH = 3
"""Pictures of a product from which on some can be spared."""

_SPARED = 5
"""One in so many is calibrated with instead of trained on."""

_PROBLEMS = (BackboneError, CheckpointError, LossError, PictureError, RecipeError,
             TrainingDataError, OSError)  # fmt: skip

Watching = Callable[[int], AbstractContextManager[Watch]]
"""Shows how far a training of so many passes is, as long as the context lasts."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains challengers.

    catalogue: must know the groups' products. work: folder for what trainings leave, in one folder
        for each group; one that was cut off goes on as long as its pictures and recipe are the
        same. say: told in words what is done.
    """

    catalogue: Catalogue
    work: Path
    recipe: Recipe
    say: Callable[[str], None]
    watching: Watching

    def __call__(self, group: Group, pictures: Pictures) -> Bundle:
        """Return a bundle of one group of this name, with a network trained on the pictures.

        Raises NoChallenger, before any training where pictures are missing.
        """
        found = {sku: self._readable(pictures[sku]) for sku in sorted(pictures)}
        known = {sku: paths for sku, paths in found.items() if paths}
        missing = [sku for sku in group.table.skus if sku not in known]
        if missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise NoChallenger(
                f"there are no pictures to train on of {missing[0]}{others}: "
                "give them with --training"
            )
        learnt, spared = divided(known)
        if not spared:
            raise NoChallenger(f"no product has {_ENOUGH} pictures, so that one could be spared")
        folder = self._folder(group, known)
        try:
            return self._made(group, learnt, spared, folder)
        except _PROBLEMS as error:
            raise NoChallenger(f"no challenger could be trained: {error}") from error

    def _readable(self, paths: Sequence[Path]) -> dict[str, Path]:
        """Return the pictures that can be read, each once, by digest and in the digests' order."""
        found = {}
        for path in paths:
            try:
                read_picture(path)
            except PictureError as error:
                self.say(f"left out: {error}")
            else:
                found[file_digest(path.resolve())[0]] = path
        return dict(sorted(found.items()))

    def _folder(self, group: Group, known: Mapping[str, Mapping[str, Path]]) -> Path:
        """Return the folder of this very training, and remove those of the group's earlier ones."""
        everything = [self.recipe.as_plain(), {sku: list(found) for sku, found in known.items()}]
        told = json.dumps(everything, sort_keys=True).encode()
        folder = self.work / group.name / hashlib.sha256(told).hexdigest()[:12]
        for other in folder.parent.glob("*"):
            if other != folder:
                shutil.rmtree(other)
        return folder

    def _made(self, group: Group, learnt: Pictures, spared: Pictures, folder: Path) -> Bundle:
        bundle = self._finished(folder / _BUNDLE) or self._trained(group, learnt, spared, folder)
        made = bundle.groups[0]
        # Other groups of the bundle may have a network of the same backbone.
        model = replace(made.model, name=f"{made.model.name}-{folder.name}")
        return replace(bundle, groups=(Group(group.name, model, made.table),))

    def _finished(self, path: Path) -> Bundle | None:
        """Return what came of this training at an earlier refresh, None where nothing did."""
        try:
            bundle = load_bundle(path)
        except BundleError:
            return None
        self.say(f"nothing new to train on: taking the challenger of {bundle.created} in {path}")
        return bundle

    def _trained(self, group: Group, learnt: Pictures, spared: Pictures, folder: Path) -> Bundle:
        count = sum(map(len, learnt.values()))
        self.say(
            f"{group.name} is below its bar: training a challenger on {count} pictures of "
            f"{len(learnt)} products, in {folder}"
        )
        with self.watching(self.recipe.passes) as watch:
            trained_once(learnt, folder, self.recipe, val=spared, watch=watch)
        return bundle_trained(
            folder / NETWORK, folder / _BUNDLE, learnt, spared, self.catalogue, self.say
        )


def divided(
    pictures: Mapping[str, Mapping[str, Path]],
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return what to train on and what to calibrate with, by sku.

    pictures: by sku and by digest, in the digests' order, which is as good as drawn.
    """
    learnt, spared = {}, {}
    for sku, by_digest in pictures.items():
        paths = list(by_digest.values())
        count = max(1, len(paths) // _SPARED) if len(paths) >= _ENOUGH else 0
        learnt[sku] = paths[count:]
        if count:
            spared[sku] = paths[:count]
    return learnt, spared


def read_recipe(path: Path | None) -> Recipe:
    """Read a recipe: TOML, with settings of `models.recipe.Recipe`; the default one for None.

    Raises BadInput.
    """
    if path is None:
        return Recipe()
    try:
        return from_plain(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecipeError) as error:
        raise BadInput(f"{path}: not a recipe: {error}") from error
