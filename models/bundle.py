"""A bundle: everything a box needs to tell products apart, in one folder.

    manifest.json           what this is, and the size and SHA-256 of every other file; of a large
                            one also those of its parts (see `models.digests`)
    catalogue.csv           products, names, prices
    models/<name>.onnx      a network, for every runtime; where OpenVINO shall run one of other
                            arithmetic, that too, as models/<name>.xml and .bin
    tables/<group>/         centroids, anchors and thresholds of a category group
    router/                 where there are several groups: which one a crop belongs to
    selftest/               crops, and the decisions expected of them
    licences/               of what the networks are derived from

`load_bundle` trusts nothing the manifest does not vouch for: files that are missing, changed, too
many or reached over a link are refused by name. The manifest itself is vouched for by whoever
delivered the bundle. Called by the pipeline, the installer and the `models` commands.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from models.catalogue import Catalogue, CatalogueError, parse_catalogue
from models.digests import checks
from models.digests import file_digest as file_digest
from models.router import FILES as ROUTER_FILES
from models.router import Router, load_router
from models.table import FILES as TABLE_FILES
from models.table import GroupTable, TableError, load_table

SCHEMA = 1
MANIFEST = "manifest.json"
CATALOGUE = "catalogue.csv"
SELF_TESTS = "selftest"
SELF_TEST = f"{SELF_TESTS}/expected.json"
FACES = "pictures"
"""Where a bundle keeps small pictures of products, as <sku>.jpg."""

DEFAULT_BUNDLE = Path(__file__).parent / "default_bundle"
"""The bundle that comes with the package."""

FLOAT_TOLERANCE = 0.002
"""Greatest difference between boxes in a distance, where a network computes in floats."""

INT8_TOLERANCE = 0.05
"""And where it computes in 8 bits: what lies between two steps is rounded to either, by each
runtime in its own way. Twice the largest difference seen on photographs."""

MOST_TOLERANCE = 0.1

_AT_ONCE = 4
"""Files, and parts of large ones, that are hashed at the same time."""


class BundleError(Exception):
    """A bundle cannot be trusted or written; the message says which file and why, in one line."""


@dataclass(frozen=True, slots=True)
class Model:
    """A network and how crops are brought to it.

    openvino, onnx: what OpenVINO and ONNX Runtime read, the same file or two that give the same
        embeddings; an IR (.xml) has its weights in a .bin beside it.
    side: crops are brought to (side, side) pixels.
    dim: length of an embedding.
    fit: how: `stretch` ignores the aspect ratio, `letterbox` keeps it and pads with grey.
    trained_skus: products it saw in training.
    tolerance: how far from each other two boxes, or two runtimes, may find the same distance, in
        [0, `MOST_TOLERANCE`].
    """

    name: str
    openvino: Path
    onnx: Path
    side: int
    dim: int
    fit: str
    trained_skus: frozenset[str]
    tolerance: float = FLOAT_TOLERANCE

    def __post_init__(self) -> None:
        """Raise BundleError for an odd tolerance, files neither one nor an IR and an ONNX file."""
        if not 0.0 <= self.tolerance <= MOST_TOLERANCE:
            raise BundleError(
                f"model {self.name}: tolerance is {self.tolerance}, not in [0, {MOST_TOLERANCE}]"
            )
        if self.openvino != self.onnx and self.openvino.suffix != ".xml":
            raise BundleError(
                f"model {self.name}: openvino is {self.openvino.name}, "
                f"must be an IR (.xml) or {self.onnx.name}"
            )

    @property
    def files(self) -> tuple[Path, ...]:
        """All files it consists of, each once."""
        weights = [self.openvino.with_suffix(".bin")] if self.openvino.suffix == ".xml" else []
        return tuple(dict.fromkeys((self.openvino, *weights, self.onnx)))


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A category group: the model its crops go to and what it knows. Groups may share a model."""

    name: str
    model: Model
    table: GroupTable


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A crop and what the gate must make of it.

    verdict, sku: as in the gate's decision; sku is None for REJECT and REVIEW.
    distance: to the nearest candidate, met within the runtime's tolerance.
    """

    crop: Path
    group: str
    verdict: str
    sku: str | None
    distance: float


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """A bundle's router and the model whose embeddings it takes."""

    model: Model
    router: Router


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose every file was verified.

    digest: SHA-256 of the manifest, which pins every other file.
    created: ISO 8601, UTC.
    licences: SPDX identifier or short text by what it is for.
    provenance: how it was made: data hash, seed, code version, metrics.
    """

    path: Path
    bundle_id: str
    version: int
    created: str
    digest: str
    groups: tuple[Group, ...]
    catalogue: Catalogue
    self_tests: tuple[SelfTest, ...]
    licences: Mapping[str, str]
    provenance: Mapping[str, Any]
    routes: Routes | None = None

    def group(self, name: str) -> Group:
        """Return a group by name. Raises KeyError."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)


def load_bundle(path: Path) -> Bundle:
    """Verify and open a bundle. Raises BundleError, with one line for the first thing wrong."""
    raw = _read_manifest(path)
    try:
        manifest: dict[str, Any] = json.loads(raw)
        if not isinstance(manifest, dict):
            raise TypeError("not a JSON object")
        if manifest["schema"] != SCHEMA:
            raise BundleError(
                f"{path / MANIFEST}: schema {manifest['schema']!r}; this version reads {SCHEMA}"
            )
        _verify(path, manifest["files"])
        return _open(path, manifest, hashlib.sha256(raw).hexdigest())
    except KeyError as error:
        raise BundleError(f"{path / MANIFEST}: no entry {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise BundleError(f"{path / MANIFEST}: not a bundle manifest: {error}") from error
    except (CatalogueError, TableError) as error:
        raise BundleError(str(error)) from error


def safe_relative(name: str) -> PurePosixPath:
    """Return a file's path inside a bundle. Raises BundleError for any that could lead outside."""
    relative = PurePosixPath(name)
    odd = "\\" in name or "\0" in name or name != relative.as_posix()
    if odd or relative.is_absolute() or not relative.parts or ".." in relative.parts:
        raise BundleError(f"manifest names {name!r}, which is no path inside the bundle")
    return relative


def _read_manifest(path: Path) -> bytes:
    if not path.is_dir():
        raise BundleError(f"{path}: no such bundle folder")
    try:
        if (path / MANIFEST).is_symlink():
            raise BundleError(f"{path / MANIFEST}: is a link")
        return (path / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: not a bundle: {MANIFEST} is missing") from None
    except OSError as error:
        raise BundleError(f"{path / MANIFEST}: {error.strerror or error}") from error


def _verify(path: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that the folder holds exactly the files listed, unchanged."""
    listed = {safe_relative(name).as_posix(): entry for name, entry in files.items()}
    found = set()
    for folder, folders, names in os.walk(path):
        for name in [*folders, *names]:
            inside = Path(folder, name)
            relative = inside.relative_to(path).as_posix()
            if inside.is_symlink():
                raise BundleError(f"{path}: {relative} is a link; a bundle holds plain files only")
            if name in names and relative != MANIFEST:
                found.add(relative)
    for name in listed:
        if name not in found:
            raise BundleError(f"{path}: {name} is missing")
    for name in sorted(found - set(listed)):
        raise BundleError(f"{path}: {name} is not in the manifest")
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        waiting = {name: checks(pool, path / name, entry) for name, entry in listed.items()}
        for name, is_whole in waiting.items():
            try:
                whole = is_whole()
            except OSError as error:
                raise BundleError(f"{path}: {name}: {error.strerror or error}") from error
            if not whole:
                raise BundleError(
                    f"{path}: {name} is corrupt (it is not the file the manifest describes)"
                )
    finally:
        pool.shutdown(cancel_futures=True)


def _open(path: Path, manifest: Mapping[str, Any], digest: str) -> Bundle:
    listed = set(manifest["files"])

    def inside(name: str) -> Path:
        relative = safe_relative(name).as_posix()
        if relative not in listed:
            raise BundleError(f"{path / MANIFEST}: {relative} is used but not listed in files")
        return path / relative

    models = {name: _model(path, name, entry, inside) for name, entry in manifest["models"].items()}
    groups = tuple(_group(entry, models, inside) for entry in manifest["groups"])
    if not groups:
        raise BundleError(f"{path / MANIFEST}: a bundle needs at least one group")
    text = inside(CATALOGUE).read_text(encoding="utf-8")
    catalogue = parse_catalogue(text, str(path / CATALOGUE))
    for group in groups:
        for sku in group.table.skus:
            if sku not in catalogue:
                raise BundleError(f"{path}: group {group.name} knows {sku}, the catalogue does not")
    return Bundle(
        path=path,
        bundle_id=str(manifest["bundle_id"]),
        version=int(manifest["version"]),
        created=str(manifest["created"]),
        digest=digest,
        groups=groups,
        catalogue=catalogue,
        self_tests=_self_tests(manifest, inside),
        licences=dict(manifest["licences"]),
        provenance=dict(manifest["provenance"]),
        routes=_routes(manifest, models, groups, inside),
    )


def _model(path: Path, name: str, entry: Mapping[str, Any], inside: Any) -> Model:
    if entry["fit"] not in ("stretch", "letterbox"):
        raise BundleError(f"model {name}: fit {entry['fit']!r} is neither stretch nor letterbox")
    model = Model(
        name=name,
        openvino=path / safe_relative(entry["openvino"]),
        onnx=path / safe_relative(entry["onnx"]),
        side=int(entry["side"]),
        dim=int(entry["dim"]),
        fit=entry["fit"],
        trained_skus=frozenset(entry["trained_skus"]),
        tolerance=float(entry.get("tolerance", FLOAT_TOLERANCE)),
    )
    for file in model.files:
        inside(file.relative_to(path).as_posix())
    return model


def _group(entry: Mapping[str, Any], models: Mapping[str, Model], inside: Any) -> Group:
    name, model = str(entry["name"]), models[entry["model"]]
    folder = PurePosixPath(entry["table"])
    opened = [inside(str(folder / file)) for file in TABLE_FILES]
    table = load_table(opened[0].parent)
    if table.dim != model.dim:
        raise BundleError(f"group {name}: table of {table.dim} dimensions, model of {model.dim}")
    return Group(name, model, table)


def _routes(
    manifest: Mapping[str, Any],
    models: Mapping[str, Model],
    groups: Sequence[Group],
    inside: Any,
) -> Routes | None:
    entry = manifest.get("router")
    if entry is None:
        return None
    folder = PurePosixPath(entry["folder"])
    opened = [inside(str(folder / file)) for file in ROUTER_FILES]
    model, router = models[entry["model"]], load_router(opened[0].parent)
    if router.rows.shape[1] != model.dim:
        raise BundleError(f"router of {router.rows.shape[1]} dimensions, model of {model.dim}")
    unknown = sorted(set(router.groups) - {group.name for group in groups})
    if unknown:
        raise BundleError(f"the router knows group {unknown[0]!r}, the bundle does not")
    return Routes(model, router)


def _self_tests(manifest: Mapping[str, Any], inside: Any) -> tuple[SelfTest, ...]:
    if SELF_TEST not in manifest["files"]:
        return ()
    entries: Sequence[Mapping[str, Any]] = json.loads(inside(SELF_TEST).read_bytes())
    return tuple(
        SelfTest(
            crop=inside(entry["crop"]),
            group=str(entry["group"]),
            verdict=str(entry["verdict"]),
            sku=entry["sku"],
            distance=float(entry["distance"]),
        )
        for entry in entries
    )
