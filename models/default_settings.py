"""How the default bundle is made: its trainings, and what is made of them.

What was chosen by figures says so in docs/results.md. Built by `models.default`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from models import calibrate
from models.recipe import Recipe, RecipeError
from models.whitening import FLATNESS

RECIPE = Recipe(backbone="lite2", workers=1)

MILD_RECIPE = replace(RECIPE, harsh=0.0, synthetic=0.0, seed=1)
"""Learns from good pictures of real products alone."""

LARGE_RECIPE = replace(RECIPE, side=280, small_side=224, seed=3)
"""Learns from larger views."""

SECOND_RECIPE = replace(MILD_RECIPE, backbone="lite0")
"""Of a network of other build, which errs elsewhere."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the default model is made.

    members: the networks that look at a crop side by side. Of each, the trainings its weights are
        the mean of, which generalises better than any one (model soups, Wortsman et al. 2022).
    dim: length of an embedding. Newcomers differ in directions that matter little among the
        products of the training, so that a short one costs them most.
    side: of the crops a device looks at. Training sees parts of pictures, and so what is in them
        larger than they show it; a larger side makes up for that (Touvron et al. 2019).
    bits: what a weight is stored in. int8: compute in 8 bits too, see `models.quantise`.
    unseen_weight, drawn_weight: of the pictures kept back from training, and of drawn packages, in
        the projection; shrinkage, flatness: see `models.whitening`.
    handicap: what is added to distances to products that were trained on. They draw strangers
        towards them; this gives newcomers their due (calibrated stacking, Chao et al. 2016).
    anchors: what the nearest anchors count for beside the centroid, see `models.yardstick`.
    nearer: factor on the distances calibration accepts at: strangers in a shop look more like what
        it sells than those at hand to calibrate with. least_lead: what is accepted has at least
        this lead (see `Thresholds.carried`), since newcomers look more alike, too.
    """

    members: tuple[tuple[Recipe, ...], ...] = (
        (RECIPE, MILD_RECIPE, LARGE_RECIPE),
        (SECOND_RECIPE,),
    )
    dim: int = 2048
    side: int = 336
    handicap: float = 0.015
    anchors: float = 0.45
    nearer: float = 0.94
    least_lead: float = 0.28
    bits: int = 8
    int8: bool = False
    unseen_weight: float = 1.0
    drawn_weight: float = 1.0
    shrinkage: float = 0.2
    flatness: float = FLATNESS
    seed: int = 0
    wanted: calibrate.Wanted = field(default_factory=calibrate.Wanted)

    def __post_init__(self) -> None:
        """Raise RecipeError where the trainings cannot stand in one network."""
        for name in ("fit", "colour_weight"):
            if len({getattr(recipe, name) for recipe in self.recipes}) != 1:
                raise RecipeError(f"all trainings of one network must have the same {name}")
        for trainings in self.members:
            if len({recipe.backbone for recipe in trainings}) != 1:
                raise RecipeError("only trainings of one and the same backbone have a mean")

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All trainings, member by member."""
        return tuple(recipe for trainings in self.members for recipe in trainings)

    @property
    def backbones(self) -> tuple[str, ...]:
        """The members' backbones."""
        return tuple(trainings[0].backbone for trainings in self.members)

    @property
    def fit(self) -> str:
        """How crops are brought to the network."""
        return self.recipes[0].fit
