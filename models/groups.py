"""A bundle's category groups with what embeds for each, as enrolment and evaluation work on them.

How a device decides among them is the device's; the commands hand in what does. Pure, but for the
embedders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.asks import DecidesAmong, Embeds, embedded
from models.bundle import Bundle, Group, Model, Routes
from models.pictures import read_picture
from models.router import Router, kept_up
from models.table import GroupTable, normalised

Row = NDArray[np.float32]

Opens = Callable[[Model], Embeds]
"""Opens a model; the same one may be asked for again."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Category groups, what embeds for each, and the router between them.

    tables: by group. model_of: name of each group's model. embedders: by the model's name, the
    router's too. router: None where nothing routes. categories: of products, as far as known.
    """

    tables: Mapping[str, GroupTable]
    model_of: Mapping[str, str]
    embedders: Mapping[str, Embeds]
    router: Router | None = None
    router_model: str = ""
    categories: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, bundle: Bundle, opens: Opens) -> Groups:
        """Take a bundle's groups. Raises what opening a model raises."""
        models = {group.model.name: group.model for group in bundle.groups}
        routes = bundle.routes if len(bundle.groups) > 1 else None
        if routes is not None:
            models.setdefault(routes.model.name, routes.model)
        return cls(
            {group.name: group.table for group in bundle.groups},
            {group.name: group.model.name for group in bundle.groups},
            {name: opens(model) for name, model in models.items()},
            routes.router if routes is not None else None,
            routes.model.name if routes is not None else "",
            {sku: product.category for sku, product in bundle.catalogue.items()},
        )

    def __len__(self) -> int:
        """How many products they know together."""
        return sum(map(len, self.tables.values()))

    @property
    def share_a_model(self) -> bool:
        """Whether all embed by one model, so that their products can be compared."""
        return len(set(self.model_of.values())) == 1

    @property
    def home_of(self) -> dict[str, str]:
        """The group of each product they know; the first one, where several know it."""
        known = [(sku, name) for name, table in self.tables.items() for sku in table.skus]
        return dict(reversed(known))

    def embedder(self, group: str) -> Embeds:
        """Return what embeds for a group. Raises KeyError."""
        return self.embedders[self.model_of[group]]

    def others(self, group: str) -> list[GroupTable]:
        """Return the tables of all other groups whose products are embedded by the same model."""
        model = self.model_of[group]
        return [t for n, t in self.tables.items() if n != group and self.model_of[n] == model]

    @property
    def router_is_apart(self) -> bool:
        """Whether the router's model is another than that of some group."""
        return self.router is not None and set(self.model_of.values()) != {self.router_model}

    def middles(self, sku: str, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, Row]:
        """Return a product's (D,) L2-normalised embedding where the router needs one of its own.

        pictures: at least one, each (h, w, 3) uint8 BGR.
        """
        if not self.router_is_apart:
            return {}
        return {sku: middle_of(self.embedders[self.router_model], pictures)}

    def with_tables(
        self, changed: Mapping[str, GroupTable], middles: Mapping[str, Row] | None = None
    ) -> Groups:
        """Return the groups with other tables for some, and a router that knows those.

        middles: of what is new in them, as `middles` returns it.
        """
        tables = {**self.tables, **changed}
        router = self.router
        if router is not None and changed:
            router = kept_up(router, tables, middles, shared=not self.router_is_apart)
        return replace(self, tables=tables, router=router)

    def without(self, skus: Iterable[str]) -> Groups:
        """Return the groups without some products; unknown skus are ignored."""
        gone = set(skus)
        return self.with_tables(
            {n: t.without(gone) for n, t in self.tables.items() if not gone.isdisjoint(t.skus)}
        )

    def embedded(self, paths: Sequence[Path], model: str) -> NDArray[np.float32]:
        """Embed N pictures by a model of this name: (N, D).

        Raises PictureError for one that cannot be read.
        """
        rows = list(self.embedders[model].embed_many(map(read_picture, paths)))
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    def written(self, groups: Sequence[Group]) -> list[Group]:
        """Return a bundle's groups with the tables of these."""
        return [Group(group.name, group.model, self.tables[group.name]) for group in groups]


def middle_of(embedder: Embeds, pictures: Iterable[NDArray[np.uint8]]) -> Row:
    """Return (D,), the L2-normalised mean of what pictures, at least one, are embedded to."""
    mean = embedded(embedder, pictures).mean(axis=0, keepdims=True)
    return np.asarray(normalised(mean)[0], np.float32)


def rerouted(
    routes: Routes | None, groups: Sequence[Group], middles: Mapping[str, Row] | None = None
) -> Routes | None:
    """Return a router that knows a bundle's groups as they are now; None where there was none.

    middles: of what is new in them, as `Groups.middles` returns it. Of a product it was never shown
    it cannot know: see `models.router.kept_up`.
    """
    if routes is None:
        return None
    tables = {group.name: group.table for group in groups}
    shared = all(group.model is routes.model for group in groups)
    return Routes(routes.model, kept_up(routes.router, tables, middles, shared=shared))


MakesPanel = Callable[[Groups], DecidesAmong]
"""Makes what decides among groups, as a device does."""
