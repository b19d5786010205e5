"""The simulated fleet over TLS comes with the certificate that its help names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloud_sync.hub.commands import hub as hub_command
from cloud_sync.hub.ingest import Ingest
from cloud_sync.hub.store import Store
from tests.cloud_sync.a_device import until
from tests.cloud_sync.a_shop import Provisioned


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Provisioned]:
    running = Provisioned(tmp_path)
    yield running
    running.stop()


def test_the_help_says_which_certificate_they_come_with() -> None:
    shown = " ".join(CliRunner().invoke(hub_command, ["simulate-fleet", "--help"]).stdout.split())
    assert "Without --broker-cert they have no credentials" in shown
    assert "that has to be the hub's (hub.pem of `hub provision broker`) at the hub's port" in shown
    assert "--broker-cert state/broker/hub.pem" in shown


def test_all_of_them_book_over_tls_with_the_hubs_certificate(shop: Provisioned) -> None:
    ingest = Ingest(Store(shop.engine), "127.0.0.1", shop.hub_port, "1", shop.hub)
    ingest.start()
    until(lambda: ingest.problem is None)
    line = ["--broker-port", str(shop.hub_port), "--broker-ca", str(shop.hub.ca)]
    line += ["--broker-cert", str(shop.hub.certificate), "--broker-key", str(shop.hub.key)]
    asked = ["simulate-fleet", "--devices", "12", "--seconds", "3", "--events-per-min", "60"]
    done = CliRunner().invoke(hub_command, [*asked, *line, "--json"])
    ingest.stop()
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["devices"], result["waiting"]) == (12, 0)
    assert result["booked"] > 12
