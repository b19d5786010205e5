"""A running appliance goes over to another bundle in mid-recording, and loses nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_sync.broker import Broker
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.messages import ItemBooked, decode
from cloud_sync.topics import Address
from edge.appliance import Appliance
from edge.config import load
from edge.ledger_file import LedgerFile
from models.bundle import Bundle, load_bundle
from models.bundle_writer import draft_of, write_bundle
from models.catalogue import Catalogue
from tests.cloud_sync.a_box import SITE, at_hub, want
from tests.cloud_sync.a_bundle import Keys, a_repository
from tests.cloud_sync.a_device import HubProcess, until
from tests.edge.bottles import CLIP, a_config


def another(bundle: Bundle, folder: Path, version: int, price: int) -> Bundle:
    """The same bundle at another price."""
    products = [replace(one, price_minor=price) for one in bundle.catalogue.values()]
    draft = replace(draft_of(bundle), version=version, catalogue=Catalogue(products))
    return write_bundle(folder, draft)


def items(state: Path) -> list[ItemBooked]:
    """The items of a ledger, in the order they were booked."""
    ledger = LedgerFile(state / "ledger.db", "box-1")
    with ledger.reading() as rows:
        found = [decode(bytes(row[0])) for row in rows.execute("SELECT payload FROM entries")]
    ledger.close()
    return [one for one in found if isinstance(one, ItemBooked)]


@pytest.mark.slow
def test_a_bundle_is_switched_to_while_shoppers_shop(
    shared_data: Path, bottle_bundle: Path, broker: Broker, hub: HubProcess, tmp_path: Path
) -> None:
    bundle = load_bundle(bottle_bundle)
    clip = shared_data / CLIP
    calm = Appliance(load(a_config(tmp_path / "calm", clip, bundle.path)))
    calm.start()
    until(lambda: calm.done, 120)
    calm.stop()

    keys, root = Keys(tmp_path / "keys"), tmp_path / "repository" / "root.json"
    repository = a_repository(tmp_path / "repository", keys)
    dear = another(bundle, tmp_path / "dear", bundle.version + 1, 2_000)
    repository.push(dear, keys.two)
    server = BlockServer(repository, broker.host, broker.port)
    server.start()
    path = a_config(tmp_path / "rough", clip, bundle.path, broker_port=broker.port, pace="real")
    trusts = f'[bundle]\nroot = "{root}"\nprobation_s = 1.0\nprobation_items = 3\n'
    path.write_text(path.read_text().replace("[bundle]\n", trusts))
    appliance = Appliance(load(path))
    address = Address(SITE, "box-1")
    try:
        appliance.storefront.open_session("shopper-1")
        appliance.start()
        until(lambda: appliance.bookkeeper.booked >= 1, 60)
        want(broker.port, address, dear.version, dear.bundle_id)
        until(lambda: appliance.storefront.state().bundle.version == str(dear.version), 60)
        switched_at = appliance.bookkeeper.booked
        note = httpx.get(appliance.page.url + "api/state").json()["bundle"]["note"]
        until(lambda: appliance.done, 120)
        assert appliance.wait_until_synced(20)
        assert appliance.installer is not None
        switch_s = appliance.installer.switch_s
    finally:
        appliance.stop()
        server.stop()

    before, after = items(tmp_path / "calm" / "state"), items(tmp_path / "rough" / "state")
    assert [one.event_id for one in after] == [one.event_id for one in before]
    assert 1 <= switched_at < len(after)
    versions = [int(one.provenance.bundle_version) for one in after]
    assert versions == sorted(versions)
    assert set(versions) == {bundle.version, dear.version}
    for one in after:
        price = {bundle.version: 1490, dear.version: 2_000}[int(one.provenance.bundle_version)]
        assert one.unit_price_minor in (price, None)
    assert switch_s < 1.0
    assert note == "On probation."
    told = at_hub(broker.port, address)
    assert told.bundle == f"{dear.bundle_id} {dear.version}"
    assert json.loads((tmp_path / "rough/state/bundles/state.json").read_text())["running"] == ""
    again = Appliance(load(path))
    assert again.storefront.state().bundle.version == str(dear.version)
    again.stop()


@pytest.mark.slow
def test_a_refusal_stands_on_the_page(
    shared_data: Path, bottle_bundle: Path, broker: Broker, hub: HubProcess, tmp_path: Path
) -> None:
    bundle = load_bundle(bottle_bundle)
    keys = Keys(tmp_path / "keys")
    repository = a_repository(tmp_path / "repository", keys)
    server = BlockServer(repository, broker.host, broker.port)
    server.start()
    path = a_config(
        tmp_path / "box", shared_data / CLIP, bundle.path, broker_port=broker.port, pace="real"
    )
    root = f'root = "{repository.folder / "root.json"}"\n'
    path.write_text(path.read_text().replace("[bundle]\n", f"[bundle]\n{root}"))
    appliance = Appliance(load(path))
    try:
        appliance.start()
        want(broker.port, Address(SITE, "box-1"), 9, "drinks")

        def note() -> str:
            found = httpx.get(appliance.page.url + "api/state").json()["bundle"]["note"]
            return str(found)

        until(lambda: note().startswith("Refused drinks 9: "), 30)
        assert "nobody has signed a bundle drinks 9" in note()

        def at_the_hub() -> dict[str, Any]:
            return hub.get("/devices")[0] if hub.get("/devices") else {}

        until(lambda: "nobody has signed" in json.dumps(at_the_hub()), 15)
    finally:
        appliance.stop()
        server.stop()
