"""What `pip install` brings: the device no torch, and every package the files it runs on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

NOT_ON_A_DEVICE = {"torch", "torchvision", "ultralytics", "timm", "nncf", "triton", "sqlalchemy"}


def pip(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@pytest.fixture(scope="session")
def sources(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed from, so that a build leaves nothing in the repository."""
    copy = tmp_path_factory.mktemp("install") / "shelfgate"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(repository / name, copy / name)
    for package in ("edge", "cloud_sync", "models"):
        shutil.copytree(
            repository / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return copy


@pytest.mark.slow
def test_the_device_install_pulls_no_torch(sources: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    resolved = pip(
        *("install", "--dry-run", "--quiet", "--ignore-installed", "--report", str(report), "."),
        folder=sources,
    )
    offline = ("Could not find a version", "Connection", "Temporary failure", "timed out")
    if resolved.returncode and any(sign in resolved.stderr for sign in offline):
        pytest.skip(f"no package registry answers: {resolved.stderr.strip().splitlines()[-1]}")
    assert resolved.returncode == 0, resolved.stderr
    packages = {
        entry["metadata"]["name"].lower(): entry
        for entry in json.loads(report.read_text())["install"]
    }
    assert {"shelfgate", "openvino", "numpy"} <= packages.keys()
    assert not NOT_ON_A_DEVICE & packages.keys()
    assert not [name for name in packages if name.startswith("nvidia")]


@pytest.mark.slow
def test_the_wheel_carries_every_file_the_packages_run_on(sources: Path, tmp_path: Path) -> None:
    built = pip(
        *(
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(tmp_path),
            ".",
        ),
        folder=sources,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("shelfgate-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    wanted = {
        str(path.relative_to(sources))
        for package in ("edge", "cloud_sync", "models")
        for path in (sources / package).rglob("*")
        if path.is_file()
    }
    assert not wanted - held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert any(name.endswith("licenses/NOTICE") for name in held)


def test_the_command_is_installed(repository: Path) -> None:
    command = shutil.which("shelfgate", path=os.path.dirname(sys.executable))
    assert command, "not installed: make setup"
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert "0.1.0" in told.stdout
    helped = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    for name in ("run", "replay", "demo", "simulate", "doctor", "bench", "models", "hub"):
        assert name in helped.stdout
