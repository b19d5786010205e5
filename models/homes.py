"""Say which category group a product belongs to: that of its category, else the nearest one.

Used by enrolment, by evaluation, which enrols too, and by refreshing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.bundle import BundleError
from models.grouping import Category, Grouping, grouping_of, joining
from models.groups import Groups, middle_of


@dataclass(frozen=True, slots=True)
class Home:
    """The group a product goes to.

    doubt: why it may rather need a new group, in words; empty where it need not.
    """

    group: str
    doubt: str = ""


class Homes:
    """Finds the group of one product after the other; those of a new category go together."""

    def __init__(self, groups: Groups, categories: Mapping[str, str]) -> None:
        """Take the groups as they are, and the categories of what comes and of what is there."""
        self._groups = groups
        self._categories = {**groups.categories, **categories}
        self._holders = groups.home_of
        self._new: dict[str, Home] = {}

    def known(self, sku: str) -> Home | None:
        """Return the group that needs no picture to be told, None where there is none.

        The one that has most of the product's category, itself left out; of those the one that
        knows it already. Where none has any: the one that knows it.
        """
        names = list(self._groups.tables)
        kin, holder = self._kin(sku), self._holders.get(sku)
        if len(names) == 1:
            return Home(names[0])
        if holder is not None and (kin[holder] or not kin):
            return Home(holder)
        if kin:
            return Home(max(names, key=lambda name: kin[name]))
        return self._new.get(self._categories.get(sku, ""))

    def of(self, sku: str, pictures: Sequence[NDArray[np.uint8]]) -> Home:
        """Return a product's group: as `known` says, else the one its pictures look most like.

        The first product of a new category settles it for the others.
        pictures: at least one, each (h, w, 3) uint8 BGR.
        Raises BundleError where that cannot be told, because the groups' models differ.
        """
        home = self.known(sku)
        if home is not None:
            return home
        category = self._categories.get(sku, "")
        home = self._nearest(sku, category, pictures)
        if category:
            self._new[category] = home
        return home

    @cached_property
    def _grouping(self) -> Grouping:
        return grouping_of(self._groups.tables, self._categories)

    def _kin(self, sku: str) -> Counter[str]:
        """Count the other products of a product's category, by group."""
        category = self._categories.get(sku, "")
        if not category:
            return Counter()
        return Counter(
            name
            for other, name in self._holders.items()
            if other != sku and self._categories.get(other, "") == category
        )

    def _nearest(self, sku: str, category: str, pictures: Sequence[NDArray[np.uint8]]) -> Home:
        groups = self._groups
        if not len(groups):
            return Home(next(iter(groups.tables)))
        if groups.share_a_model:
            (model,) = set(groups.model_of.values())
            found = Category(sku, 1, middle_of(groups.embedders[model], pictures))
            joined = joining(self._grouping, found)
            told = "" if joined.group else f"{joined.reason}; it may need a group of its own"
            return Home(joined.nearest, told)
        if groups.router is None:
            raise BundleError(
                f"sku {sku!r}: no group has products of its category {category!r}, and the groups' "
                "models differ, so that none is nearest: say which by --group"
            )
        middle = middle_of(groups.embedders[groups.router_model], pictures)
        return Home(groups.router.route(middle).groups[0])
