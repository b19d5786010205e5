"""Write a bundle: whole, or not at all.

Files are put together in a hidden folder beside the destination and renamed into place once they
are on the disk, so that nobody ever sees half a bundle. Used by export and by enrolment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.bundle import (
    CATALOGUE,
    FLOAT_TOLERANCE,
    MANIFEST,
    SCHEMA,
    SELF_TEST,
    SELF_TESTS,
    Bundle,
    BundleError,
    Group,
    Model,
    Routes,
    load_bundle,
    safe_relative,
)
from models.catalogue import Catalogue
from models.digests import file_digest, part_digests

ROUTER = "router"


STEPS = 100
"""So many of what was done to a bundle it tells of: two years of weekly newcomers."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a bundle shall hold.

    groups: with models whose files lie anywhere; they are copied in.
    self_test: entries of `selftest/expected.json`.
    files: further files by their path inside the bundle: self-test crops, licences.
    created: ISO 8601 UTC; now where empty. routes: where there are several groups.
    """

    bundle_id: str
    version: int
    groups: Sequence[Group]
    catalogue: Catalogue
    licences: Mapping[str, str]
    provenance: Mapping[str, Any]
    self_test: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    created: str = ""
    routes: Routes | None = None


def write_bundle(destination: Path, draft: Draft, *, replace: bool = False) -> Bundle:
    """Write a bundle, read it back verified, and return it.

    replace: whether a bundle that is there already may be replaced.
    Raises BundleError, leaving the destination as it was.
    """
    if destination.exists() and not (replace and (destination / MANIFEST).is_file()):
        raise BundleError(f"{destination}: is there already")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _workplace(destination) as folder:
            _fill(folder, draft)
            load_bundle(folder)
            _sync(folder)
            _put_in_place(folder, destination)
    except OSError as error:
        raise BundleError(f"{destination}: cannot be written: {error.strerror or error}") from error
    return load_bundle(destination)


def draft_of(bundle: Bundle) -> Draft:
    """Return a draft that would write the same bundle again, to be changed and written."""
    known = {CATALOGUE, SELF_TEST, MANIFEST}
    files = {
        name: (bundle.path / name).read_bytes()
        for name in json.loads((bundle.path / MANIFEST).read_bytes())["files"]
        if name not in known and not name.startswith(("models/", "tables/", "router/"))
    }
    tests = [
        {
            "crop": test.crop.relative_to(bundle.path).as_posix(),
            "group": test.group,
            "verdict": test.verdict,
            "sku": test.sku,
            "distance": test.distance,
        }
        for test in bundle.self_tests
    ]
    return Draft(
        bundle_id=bundle.bundle_id,
        version=bundle.version,
        groups=bundle.groups,
        catalogue=bundle.catalogue,
        licences=bundle.licences,
        provenance=bundle.provenance,
        self_test=tests,
        files=files,
        created=bundle.created,
        routes=bundle.routes,
    )


def next_of(bundle: Bundle, step: str, **said: Any) -> Draft:
    """Return the draft of a bundle's next version, in which a step is to change something.

    Its provenance tells of the step, of what it came from, and of the last `STEPS` before. Its
    self-test is gone, since what that spoke of may change.
    step: what is done, in a word; said: what else there is to know of it, as JSON takes it.
    """
    earlier = bundle.provenance.get("steps")
    steps = earlier if isinstance(earlier, list) else []
    steps = [*steps, {"step": step, "of": bundle.digest, **said}]
    draft = draft_of(bundle)
    kept = {k: v for k, v in draft.files.items() if not k.startswith(f"{SELF_TESTS}/")}
    return dataclasses.replace(
        draft,
        files=kept,
        version=bundle.version + 1,
        created="",
        provenance={**bundle.provenance, "steps": steps[-STEPS:]},
        self_test=(),
    )


@contextlib.contextmanager
def _workplace(destination: Path) -> Iterator[Path]:
    """Give a folder beside the destination; it is gone afterwards if it was not moved."""
    folder = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(folder: Path, draft: Draft) -> None:
    models = _models(draft)
    if draft.routes is not None:
        (folder / ROUTER).mkdir()
        draft.routes.router.save(folder / ROUTER)
    (folder / "models").mkdir()
    entries = {}
    for name, model in sorted(models.items()):
        stem = safe_relative(f"models/{name}").as_posix()
        for file in model.files:
            shutil.copyfile(file, folder / f"{stem}{file.suffix}")
        entries[name] = {
            "openvino": f"{stem}{model.openvino.suffix}",
            "onnx": f"{stem}{model.onnx.suffix}",
            "side": model.side,
            "dim": model.dim,
            "fit": model.fit,
            "trained_skus": sorted(model.trained_skus),
        }
        if model.tolerance != FLOAT_TOLERANCE:
            entries[name]["tolerance"] = model.tolerance
    for group in draft.groups:
        table = folder / safe_relative(f"tables/{group.name}")
        table.mkdir(parents=True)
        group.table.save(table)
    extra = {CATALOGUE: draft.catalogue.to_csv().encode(), **draft.files}
    if draft.self_test:
        extra[SELF_TEST] = (json.dumps(list(draft.self_test), indent=1) + "\n").encode()
    for name, content in extra.items():
        path = folder / safe_relative(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    manifest = {
        "schema": SCHEMA,
        "bundle_id": draft.bundle_id,
        "version": draft.version,
        "created": draft.created or datetime.now(UTC).isoformat(timespec="seconds"),
        "models": entries,
        "groups": [
            {"name": group.name, "model": group.model.name, "table": f"tables/{group.name}"}
            for group in draft.groups
        ],
        **(
            {"router": {"model": draft.routes.model.name, "folder": ROUTER}} if draft.routes else {}
        ),
        "licences": dict(draft.licences),
        "provenance": dict(draft.provenance),
        "files": _listing(folder),
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _models(draft: Draft) -> dict[str, Model]:
    """Return the models by name. Raises BundleError where one name stands for two networks."""
    used = [group.model for group in draft.groups]
    used += [draft.routes.model] if draft.routes is not None else []
    models: dict[str, Model] = {}
    for model in used:
        if models.setdefault(model.name, model).files != model.files:
            raise BundleError(f"two models are called {model.name!r}: each needs a name of its own")
    return models


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = {}
    for path in paths:
        digest, size = file_digest(path)
        entry: dict[str, Any] = {"sha256": digest, "size": size}
        if parts := part_digests(path):
            entry["parts"] = parts
        listing[path.relative_to(folder).as_posix()] = entry
    return listing


def _sync(folder: Path) -> None:
    """Bring everything in folder onto the disk, files before the folders that name them."""
    for path in [*sorted(folder.rglob("*"), reverse=True), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _put_in_place(folder: Path, destination: Path) -> None:
    if not destination.exists():
        folder.rename(destination)
        return
    with _workplace(destination) as aside:
        destination.rename(aside / "old")
        try:
            folder.rename(destination)
        except OSError:
            (aside / "old").rename(destination)
            raise
