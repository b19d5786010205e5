"""What a box cannot read yet: kept within bounds, and never gone without a word."""

from __future__ import annotations

import json
import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.agent import Agent
from cloud_sync.device.unread import KEPT_MOST, UnreadFolder
from cloud_sync.kept_count import KeptCount
from cloud_sync.messages import Reply
from cloud_sync.mqtt import make_client
from cloud_sync.topics import Address, Channel
from edge.ledger import Ledger
from tests.cloud_sync.a_device import HubProcess, until

BOX = Address("store-1", "box-u")


def newer(number: int) -> bytes:
    return json.dumps({"schema": 7, "type": "dance", "steps": number}).encode()


def kept(root: Path) -> set[bytes]:
    return {path.read_bytes() for path in root.glob("*.json")}


def test_the_oldest_make_room_and_that_is_said_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = UnreadFolder(tmp_path / "unread", most=3)
    for number in range(3):
        folder.keep(newer(number), "schema 7")
    assert folder.counts == {"unread": 3, "unread_dropped": 0}
    caplog.clear()
    for number in (3, 4, 4):
        folder.keep(newer(number), "schema 7")

    assert kept(tmp_path / "unread") == {newer(number) for number in (2, 3, 4)}
    assert folder.counts == {"unread": 3, "unread_dropped": 2}
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert [("1 so far" in one, "2 so far" in one) for one in said] == [
        (True, False),
        (False, True),
    ]


def test_what_comes_in_several_threads_at_once_is_all_counted(tmp_path: Path) -> None:
    folder = UnreadFolder(tmp_path / "unread")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda number: folder.keep(newer(number), "schema 7"), range(600)))
    finally:
        sys.setswitchinterval(before)
    assert folder.counts == {"unread": 600, "unread_dropped": 0}


def test_a_restart_forgets_neither_what_is_here_nor_what_went(tmp_path: Path) -> None:
    folder = UnreadFolder(tmp_path / "unread", most=1)
    for number in range(4):
        folder.keep(newer(number), "schema 7")
    assert UnreadFolder(tmp_path / "unread", most=1).counts == {"unread": 1, "unread_dropped": 3}


def test_what_cannot_be_written_counts_as_gone(tmp_path: Path) -> None:
    (tmp_path / "unread").write_text("a file where the folder belongs")
    folder = UnreadFolder(tmp_path / "unread")
    folder.keep(newer(1), "schema 7")
    assert folder.counts == {"unread": 0, "unread_dropped": 1}


@pytest.mark.parametrize("content", [b"", b"many", b"-3", b"9" * 500, b"\xff\xfe", b"1.5"])
def test_a_count_that_is_none_begins_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "count").write_bytes(content)
    count = KeptCount(tmp_path / "count")
    assert count.count == 0
    count.add(2)
    assert KeptCount(tmp_path / "count").count == 2


def test_operations_see_at_the_hub_what_a_box_could_not_keep(
    tmp_path: Path, hub: HubProcess, broker: Broker
) -> None:
    folder = UnreadFolder(tmp_path / "unread")
    for number in range(KEPT_MOST):
        (tmp_path / "unread").mkdir(exist_ok=True)
        (tmp_path / "unread" / f"{number:064x}.json").write_bytes(newer(number))
    assert folder.counts["unread_dropped"] == 0
    ledger = Ledger(tmp_path / "ledger.db", BOX.device)
    agent = Agent(
        tmp_path / "ledger.db", broker.host, broker.port, BOX.device, BOX.site,
        lambda _: Reply(ok=True),
    )  # fmt: skip
    agent.start()
    until(lambda: agent.state.up)
    client = make_client("the-hub-of-tomorrow")
    client.connect(broker.host, broker.port)
    client.loop_start()
    for number in (1, 2):
        topic = BOX.topic(Channel.COMMANDS)
        client.publish(topic, newer(-number), qos=1).wait_for_publish(5)

    def at_hub() -> dict[str, int]:
        return hub.get(f"/devices/{BOX}")["shadow"] or {}

    until(lambda: any(one["device"] == BOX.device for one in hub.get("/devices")))
    until(lambda: at_hub().get("unread_dropped") == 2)
    assert at_hub()["unread"] == KEPT_MOST
    figures = httpx.get(f"{hub.url}/metrics", timeout=10.0).text
    for name, least in (("device_unread_dropped", 2), ("device_unread", KEPT_MOST)):
        (line,) = re.findall(rf"^shelfgate_hub_{name} (\S+)$", figures, re.MULTILINE)
        assert float(line) >= least, "other devices' may be there as well"
    client.disconnect()
    client.loop_stop()
    agent.stop()
    ledger.close()
