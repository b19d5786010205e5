"""A real broker, a real hub process and a broker with TLS, one of each a test session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_sync.broker import Broker
from cloud_sync.hub.renewals import RenewalDesk, Renewals
from tests.cloud_sync.a_device import HubProcess, until
from tests.cloud_sync.a_renewal import later
from tests.cloud_sync.a_shop import Provisioned


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


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    """A broker with TLS, and the authority behind it."""
    running = Provisioned(tmp_path_factory.mktemp("shop"))
    yield running
    running.stop()


@pytest.fixture
def desk(shop: Provisioned) -> Iterator[RenewalDesk]:
    """Who renews certificates at that broker, at a time when those of a day are due."""
    renewals = Renewals(shop.engine, shop.enrolments, clock=later)
    one = RenewalDesk(renewals, "127.0.0.1", shop.hub_port, "desk", shop.hub)
    one.start()
    until(lambda: one.problem is None)
    yield one
    one.stop()
