"""Who may import whom, read from the imports themselves; and what the device must never load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("edge", "cloud_sync", "models")

GROUND_FLOOR = {
    "models.allowance",
    "models.bad_input",
    "models.bounds",
    "models.bundle",
    "models.catalogue",
    "models.crops",
    "models.detection",
    "models.digests",
    "models.detection_boxes",
    "models.passing",
    "models.router",
    "models.search",
    "models.table",
    "models.yardstick",
    "cloud_sync.blocks",
    "cloud_sync.certificate",
    "cloud_sync.fold",
    "cloud_sync.logs",
    "cloud_sync.messages",
    "cloud_sync.protocol",
    "cloud_sync.renewal",
    "cloud_sync.state_folder",
    "cloud_sync.kept_count",
    "cloud_sync.topics",
}
"""What everybody may import, and what imports nothing of ours but itself."""

LIGHT_MODELS = {
    "models.asks",
    "models.augment",
    "models.bundle_writer",
    "models.calibrate",
    "models.enrol",
    "models.grouping",
    "models.groups",
    "models.homes",
    "models.logistic",
    "models.packshots",
    "models.pictures",
    "models.readings",
    "models.selftest",
    "models.tally",
}
"""What makes a bundle out of another without training: the device may, so that it can enrol."""

ROOTS = (
    "edge.appliance",
    "edge.updates",
    "edge.challenger",
    "edge.commands",
    "edge.default_build",
    "edge.commands.demo_store",
)
"""Where parts are put together that do not know each other."""

TRAINING_ROOTS = ("edge.challenger", "edge.default_build")

LEDGER = {"edge.ledger", "edge.ledger_file", "edge.ledger_rows"}

TRAINING_ONLY = {"torch", "torchvision", "ultralytics", "nncf", "timm", "pytorch_metric_learning"}
HUB_ONLY = {"sqlalchemy", "alembic", "fastapi", "pydantic"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT).with_suffix("")
            name = ".".join(relative.parts).removesuffix(".__init__")
            yield name, path


FILES = dict(modules())
NAMES = set(FILES)


def imports(path: Path, *, when_imported: bool = False) -> set[str]:
    """Return what a file imports; with when_imported, without what its functions import later."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later: set[ast.AST] = set()
    if when_imported:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(node):
                later.update(ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in later:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update((full & NAMES) or {node.module})
    return found


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] in OURS}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def may_import(importer: str, imported: str) -> bool:
    """Return whether design and architecture allow it."""
    if imported in GROUND_FLOOR or imported in OURS:
        return True
    if importer in GROUND_FLOOR:
        return False
    if importer in LIGHT_MODELS:
        return imported in LIGHT_MODELS
    if within(importer, *ROOTS):
        return not within(imported, "cloud_sync.hub")
    if within(importer, "edge"):
        return imported in LIGHT_MODELS or (
            within(imported, "edge") and not within(imported, *ROOTS)
        )
    if within(importer, "cloud_sync.device"):
        in_device = within(imported, "cloud_sync.device", "cloud_sync.mqtt")
        return in_device or imported in LEDGER
    if within(importer, "cloud_sync"):
        return within(imported, "cloud_sync") and not within(imported, "cloud_sync.device")
    return within(imported, "models")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_module_imports_only_what_it_may(name: str) -> None:
    forbidden = sorted(other for other in ours(FILES[name]) if not may_import(name, other))
    assert not forbidden, f"{name} must not import {', '.join(forbidden)}"


def test_the_rules_would_notice() -> None:
    assert not may_import("edge.pipeline", "cloud_sync.device.agent")
    assert not may_import("edge.shelf", "models.train")
    assert not may_import("edge.shelf", "edge.commands.run")
    assert not may_import("edge.commands.demo", "cloud_sync.hub.app")
    assert not may_import("cloud_sync.hub.app", "edge.ledger")
    assert not may_import("cloud_sync.device.agent", "edge.pipeline")
    assert not may_import("models.train", "edge.gate")
    assert not may_import("models.bundle", "models.train")
    assert may_import("cloud_sync.device.outbox", "edge.ledger")
    assert may_import("edge.gate", "models.table")


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name in GROUND_FLOOR | LIGHT_MODELS | {n for n in NAMES if within(n, "edge")}
        if not within(name, "edge.commands", *TRAINING_ROOTS)
    ),
)
def test_the_device_names_no_package_of_training_or_hub(name: str) -> None:
    tops = {other.split(".")[0] for other in imports(FILES[name], when_imported=True)}
    assert not tops & (TRAINING_ONLY | HUB_ONLY)


def test_loading_the_whole_device_loads_no_training_package() -> None:
    """Every module of edge but the commands, and `run` and `replay`, in a fresh interpreter."""
    others = ("edge.commands", *TRAINING_ROOTS)
    device = {name for name in NAMES if within(name, "edge") and not within(name, *others)}
    device |= {"edge.commands.run", "edge.commands.replay"} & NAMES
    program = (
        f"import importlib, sys\nfor name in {sorted(device)!r}: importlib.import_module(name)\n"
        f"print(*sorted({TRAINING_ONLY | HUB_ONLY!r} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split() == []
