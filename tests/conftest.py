"""What the tests of all packages share: footage beside the repository, a broker, a hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_sync.broker import Broker
from tests.cloud_sync.a_bundle import Keys
from tests.cloud_sync.a_device import HubProcess
from tests.edge.bottles import a_bottle_bundle
from tests.shared import ROOT, data_folder, shared_folder

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a worker for every core: with threads for every core in each of them, and in each
    # process that they start, training takes twice the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of footage, pictures and weights; the test is skipped where there is none."""
    data = data_folder()
    if not (data / "video").is_dir():
        where = shared_folder()
        pytest.skip(f"no test footage at {where}: set SHELFGATE_SHARED to the folder that has it")
    return data


@pytest.fixture(scope="session")
def bottle_bundle(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows the bottle of the clip."""
    return a_bottle_bundle(shared_data, tmp_path_factory.mktemp("bottles"))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Who signs bundles."""
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A real broker of this test's own."""
    with Broker() as running:
        yield running


@pytest.fixture
def hub(broker: Broker, tmp_path: Path) -> Iterator[HubProcess]:
    """A real hub process at that broker."""
    running = HubProcess(str(tmp_path / "hub.db"), broker.port, tmp_path / "hub.log")
    yield running
    running.kill()
