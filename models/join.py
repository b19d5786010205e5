"""Put several bundles together to one with all their groups: what `shelfgate models join` does.

Each group keeps its model, its table and its thresholds; what carries the same name in two bundles
is renamed. Pure, but for reading the bundles' files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, BundleError, Group, Model, file_digest
from models.bundle_writer import Draft, draft_of
from models.catalogue import Catalogue, Product
from models.router import Router

_SHORT = 8
"""Characters of a bundle's digest that tell it from others."""


def joined(bundles: Sequence[Bundle], bundle_id: str) -> Draft:
    """Return the draft of one bundle with all groups of others, in their order, without a router.

    bundles: at least one. A group's name that two of them use becomes its bundle's id, or what its
        folder is called where two ids are the same.
    Raises BundleError where a product is in two of them, or groups cannot be told apart by name.
    """
    _check_skus(bundles)
    names = _group_names(bundles)
    parts = _Parts()
    for bundle, renamed in zip(bundles, names, strict=True):
        parts.add(bundle, renamed)
    return Draft(
        bundle_id=bundle_id,
        # Grows when any of them does, so that a box takes what is joined anew for the newer one.
        version=sum(bundle.version for bundle in bundles) - len(bundles) + 1,
        groups=parts.groups,
        catalogue=_catalogue(bundles),
        licences=parts.licences,
        provenance={"joined": parts.provenance},
        self_test=parts.self_test,
        files=parts.files,
    )


def unplaced(groups: Sequence[Group], model: Model) -> list[str]:
    """Return the products a router over a model's embeddings knows by no table."""
    return [sku for group in groups if group.model is not model for sku in group.table.skus]


def router_over(
    groups: Sequence[Group], model: Model, middles: Mapping[str, NDArray[np.float32]]
) -> Router:
    """Return a router between groups that have models of their own; it is not calibrated yet.

    model: whose embeddings it takes. middles: (D,) L2-normalised of each sku that `unplaced`
    names, by that model.
    """
    blocks = [
        group.table.centroids
        if group.model is model
        else np.array([middles[sku] for sku in group.table.skus], np.float32).reshape(-1, model.dim)
        for group in groups
    ]
    return Router(
        np.ascontiguousarray(np.concatenate(blocks)),
        np.repeat(np.arange(len(groups)), [len(block) for block in blocks]),
        tuple(group.name for group in groups),
        skus=tuple(sku for group in groups for sku in group.table.skus),
    )


@dataclass(slots=True)
class _Parts:
    """What was put together so far, no name in it used twice."""

    groups: list[Group] = field(default_factory=list)
    licences: dict[str, str] = field(default_factory=dict)
    provenance: list[dict[str, Any]] = field(default_factory=list)
    self_test: list[Mapping[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    _models: dict[str, tuple[object, Model]] = field(default_factory=dict)

    def add(self, bundle: Bundle, renamed: Mapping[str, str]) -> None:
        """Add a bundle, whose groups are called otherwise from now on."""
        draft = draft_of(bundle)
        for group in bundle.groups:
            model = self._model(group.model, bundle)
            self.groups.append(Group(renamed[group.name], model, group.table))
        places = {name: self._file(name, draft.files[name], bundle) for name in draft.files}
        for test in draft.self_test:
            crop, group_name = places[test["crop"]], renamed[test["group"]]
            self.self_test.append({**test, "crop": crop, "group": group_name})
        for what, text in bundle.licences.items():
            clash = self.licences.get(what, text) != text
            self.licences[f"{what} of {bundle.digest[:_SHORT]}" if clash else what] = text
        told = {"bundle_id": bundle.bundle_id, "version": bundle.version, "digest": bundle.digest}
        self.provenance.append(
            {**told, "groups": list(renamed.values()), "provenance": dict(bundle.provenance)}
        )

    def _model(self, model: Model, bundle: Bundle) -> Model:
        """Return the model under a name no other one has; the same network is carried once."""
        digests = [file_digest(path)[0] for path in model.files]
        kind = (digests, model.side, model.dim, model.fit, model.tolerance, model.trained_skus)
        for known, other in self._models.values():
            if known == kind:
                return other
        name = model.name
        if name in self._models:
            name = f"{name}-{bundle.digest[:_SHORT]}"
        self._models[name] = (kind, replace(model, name=name))
        return self._models[name][1]

    def _file(self, name: str, content: bytes, bundle: Bundle) -> str:
        """Keep a file, and return the name it was given."""
        path = PurePosixPath(name)
        if self.files.get(name, content) != content:
            path = path.with_name(f"{bundle.digest[:_SHORT]}-{path.name}")
        self.files[path.as_posix()] = content
        return path.as_posix()


def _check_skus(bundles: Sequence[Bundle]) -> None:
    home: dict[str, Bundle] = {}
    for bundle in bundles:
        for sku in sorted({sku for group in bundle.groups for sku in group.table.skus}):
            other = home.setdefault(sku, bundle)
            if other is not bundle:
                raise BundleError(
                    f"{sku!r} is in {other.path} and in {bundle.path}: "
                    f"take it out of one (shelfgate models remove {sku} --bundle ...)"
                )


def _group_names(bundles: Sequence[Bundle]) -> list[dict[str, str]]:
    """Return the new name of each bundle's groups, all different. Raises BundleError."""
    used = Counter(group.name for bundle in bundles for group in bundle.groups)
    titles = [bundle.bundle_id for bundle in bundles]
    if len(set(titles)) < len(titles):
        titles = [bundle.path.resolve().name for bundle in bundles]
    named = []
    for bundle, title in zip(bundles, titles, strict=True):
        alone = len(bundle.groups) == 1
        fresh = {g.name: title if alone else f"{title}-{g.name}" for g in bundle.groups}
        named.append({name: name if used[name] == 1 else fresh[name] for name in fresh})
    counts = Counter(name for names in named for name in names.values())
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise BundleError(
            f"two groups would be called {twice[0]!r}: bundles whose groups have the same name "
            "need ids that differ, or else folders that are called differently"
        )
    return named


def _catalogue(bundles: Sequence[Bundle]) -> Catalogue:
    """Return all catalogues as one; a product is described by the bundle that knows it."""
    products: dict[str, Product] = {}
    for bundle in bundles:
        known = {sku for group in bundle.groups for sku in group.table.skus}
        for sku, product in bundle.catalogue.items():
            if sku in known or sku not in products:
                products[sku] = product
    return Catalogue(products.values())
