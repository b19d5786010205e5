"""How a network is trained: every setting, with the values the default bundle was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from models.losses import SOFTMAX, TRIPLET, Term


class RecipeError(Exception):
    """A setting cannot be; the message says which and what can."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a training.

    backbone: as for `models.backbone.open_trunk`; weights: a file for it, empty for its own.
    pretrained: start from ImageNet, or from nothing.
    frozen_stages: so many leading stages stay as published; all but the last where there are fewer.
    side, fit: how crops are brought to the network; dim: length of an embedding.
    colour_weight: what the colours count beside the trunk's features.
    project: whether the projection is trained too. Otherwise the trunk's own features are, and the
        projection is fitted to them afterwards.
    harsh: share of the views that are as a bad camera sees them; the others are as a good one does.
    backgrounds: share of the views that stand before something else than they were taken before.
    synthetic: how much of a batch the softmax mixes into made-up products.
    losses: what is minimised, added up.
    passes: how often every picture is seen.
    small_side, small_share: the first passes, this share of all, see pictures of this side, since
        what is learned from small ones is learned sooner (progressive resizing, Tan & Le 2021).
    products, pictures: P and K of a batch.
    learning_rate: of the last stage; each stage before it learns `fade` times as fast.
    pull: how hard weights are drawn to where they started (L2-SP, Li et al. 2018).
    average: share of the old in the running mean of the weights, which is what is kept.
    warm_up: batches in which the learning rate rises.
    """

    backbone: str = "lite0"
    weights: str = ""
    pretrained: bool = True
    frozen_stages: int = 3
    side: int = 224
    fit: str = "letterbox"
    dim: int = 256
    colour_weight: float = 1.5
    project: bool = False
    harsh: float = 0.35
    backgrounds: float = 0.0
    synthetic: float = 0.25
    losses: tuple[Term, ...] = (Term(SOFTMAX), Term(TRIPLET, 0.25))
    passes: int = 14
    small_side: int = 168
    small_share: float = 0.7
    products: int = 8
    pictures: int = 4
    learning_rate: float = 2.5e-4
    fade: float = 1.0
    pull: float = 0.0
    average: float = 0.995
    warm_up: int = 60
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        """Raise RecipeError for what cannot be."""
        for name in ("passes", "side", "small_side", "dim", "products", "pictures"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}, must be at least 1")
        if self.pictures < 2 or self.products < 2:
            raise RecipeError("a batch needs two products and two pictures of each, or more")
        for name in ("side", "small_side"):
            if self.colour_weight and getattr(self, name) % 56:
                raise RecipeError(
                    f"{name} is {getattr(self, name)}; with colours it must be a multiple of 56"
                )
        for name in ("harsh", "backgrounds"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"{name} is {getattr(self, name)}, a share must lie in [0, 1]")
        if not 0 <= self.average < 1 or self.learning_rate <= 0:
            raise RecipeError("average must lie in [0, 1), the learning rate above 0")

    def side_in(self, number: int) -> int:
        """Return the side of the pictures of a pass, counted from 0."""
        small = number < self.small_share * self.passes
        return min(self.small_side, self.side) if small else self.side

    @property
    def weights_path(self) -> Path | None:
        """The file to read weights from, if one is named."""
        return Path(self.weights) if self.weights else None

    def as_plain(self) -> dict[str, Any]:
        """Return the settings as plain values, which `from_plain` reads."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"losses": [[term.name, term.weight] for term in self.losses]}


def from_plain(plain: Mapping[str, Any]) -> Recipe:
    """Return the recipe `Recipe.as_plain` wrote. Raises RecipeError."""
    known = {field.name for field in fields(Recipe)}
    odd = sorted(set(plain) - known)
    if odd:
        raise RecipeError(f"no setting {odd[0]!r}: there are {', '.join(sorted(known))}")
    terms = {}
    if "losses" in plain:
        terms["losses"] = tuple(Term(str(name), float(weight)) for name, weight in plain["losses"])
    return Recipe(**{**plain, **terms})
