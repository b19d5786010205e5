"""The units, read by systemd itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = ("shelfgate.service", "shelfgate-hub.service", "shelfgate.target")
MOST_EXPOSED = 2.0
"""Of systemd's 10; a service that says nothing of itself has 9.6."""


@pytest.fixture
def units(repository: Path, tmp_path: Path) -> Path:
    """A copy of the units whose program is there."""
    for name in UNITS:
        text = (repository / "systemd" / name).read_text()
        text = text.replace("/opt/shelfgate/.venv/bin/shelfgate", shutil.which("true") or "")
        (tmp_path / name).write_text(text)
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine")
    return subprocess.run([program, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say_against_a_unit(units: Path, name: str) -> None:
    said = analyze("verify", str(units / name))
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS[:2])
def test_a_service_is_sandboxed(units: Path, name: str) -> None:
    said = analyze("security", "--offline=true", str(units / name))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze does not judge files: {said.stderr.strip()}")
    assert float(found[1]) <= MOST_EXPOSED


def test_the_target_starts_every_service_and_each_has_its_state(units: Path) -> None:
    for name in UNITS[:2]:
        text = (units / name).read_text()
        assert "\nWantedBy=shelfgate.target\n" in text
        assert "\nPartOf=shelfgate.target\n" in text
        assert f"\nStateDirectory={Path(name).stem}\n" in text
    assert "\nWantedBy=multi-user.target\n" in (units / UNITS[2]).read_text()
