"""A real broker and a real hub process, one of each a test session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_sync.broker import Broker
from tests.cloud_sync.a_device import HubProcess


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def hub(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder: Path = tmp_path_factory.mktemp("hub")
    running = HubProcess(str(folder / "hub.db"), broker.port, folder / "hub.log")
    yield running
    running.stop()
