"""Run every test of what may be done to boxes, bundles and the hub; say of each what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
WHERE = ("tests/faults", "tests/cloud_sync", "tests/edge/test_appliance_bundles.py")
STORMS = "tests/faults/test_cart_storm.py"
"""Left out: the benchmark plays the storms itself, with nothing beside them."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A test: what was tried, and what came of it.

    where: the first sentence of its file. outcome: holds, fails or skipped.
    """

    where: str
    what: str
    outcome: str
    seconds: float


def attacks(where: Sequence[str] = WHERE) -> list[Attack]:
    """Run the tests at full size, as many as there are cores at once.

    Raises ChildProcessError where they do not run at all.
    """
    with tempfile.TemporaryDirectory(prefix="shelfgate-attacks-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal"]
        done = subprocess.run(
            [*command, f"--junitxml={report}", f"--ignore={STORMS}", *where],
            cwd=ROOT,
            env={**os.environ, "SHELFGATE_FAULTS": "full"},
            stdout=sys.stderr,
            check=False,
        )
        if not report.exists():
            raise ChildProcessError(f"pytest ended with {done.returncode} and wrote no report")
        found = [_attack(case) for case in ElementTree.parse(report).iter("testcase")]
    return sorted(found, key=lambda one: (one.where, one.what))


def _attack(case: ElementTree.Element) -> Attack:
    module = ROOT / f"{case.attrib['classname'].replace('.', '/')}.py"
    name, _, value = case.attrib["name"].removeprefix("test_").partition("[")
    what = name.replace("_", " ") + (f": {value.removesuffix(']')}" if value else "")
    ended = {child.tag for child in case}
    outcome = "skipped" if "skipped" in ended else "holds"
    if ended & {"failure", "error"}:
        outcome = "fails"
    return Attack(_says(module), what, outcome, round(float(case.attrib["time"]), 1))


def _says(module: Path) -> str:
    """Return the first line of a file's docstring."""
    return module.read_text(encoding="utf-8").split("\n", 1)[0].strip('"').rstrip(".")
