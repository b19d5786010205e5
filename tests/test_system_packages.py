"""tools/system-packages.sh on machines that lack what it looks for, and cannot install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("bash", "grep", "id", "ldconfig")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The one folder of programs of a machine without apt-get and sudo."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program, f"{name} is everywhere"
        (folder / name).symlink_to(program)
    return folder


def run(
    repository: Path, path: Path, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(repository / "tools" / "system-packages.sh")],
        env={"PATH": str(path), "PYTHON": python},
        capture_output=True,
        text=True,
    )


def test_what_is_missing_is_named_where_nothing_can_install_it(
    repository: Path, path: Path
) -> None:
    done = run(repository, path)
    assert done.returncode == 1
    assert "missing on this machine: " in done.stderr
    assert "chromium fonts-dejavu-core" in done.stderr
    assert "no apt-get" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_python_without_venv_is_noticed(repository: Path, path: Path) -> None:
    done = run(repository, path, python=str(path / "no-python"))
    assert "python3-venv" in done.stderr


def test_without_root_and_sudo_the_command_to_give_is_said(repository: Path, path: Path) -> None:
    (path / "apt-get").symlink_to("/bin/false")
    (path / "id").unlink()
    (path / "id").write_text("#!/bin/bash\necho 1000\n")
    (path / "id").chmod(0o755)
    done = run(repository, path)
    assert done.returncode == 1
    assert "As root: apt-get install " in done.stderr


def test_where_everything_is_there_nothing_happens(repository: Path, path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None or shutil.which("mosquitto", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("not everything is on this machine: make setup")
    for program in (browser, shutil.which("mosquitto", path="/usr/sbin:/usr/bin") or ""):
        (path / Path(program).name).symlink_to(program)
    done = run(repository, path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
