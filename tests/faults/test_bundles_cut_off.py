"""The power goes while bundles are installed: the box comes up with a whole one, every time."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.slots import State
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.topics import Address
from models.selftest import CROPS
from tests.cloud_sync.a_box import SITE, Box, want
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository

CUTS = 30
VERSIONS = (1, 2, 3)
PRODUCTS = [f"p{number}" for number in range(CROPS)]


def live(folder: str, port: int, root: bytes, packaged: str, boot: str, out: Connection) -> None:
    """Run a box; say what it runs and what it knows by that, first and whenever that changes."""
    box = Box(Path(folder), port, root, Path(packaged), boot=boot)
    said = None
    while True:
        if box.running != said:
            said = box.running
            out.send((said, box.decide()))
        time.sleep(0.02)


class Powered:
    """A box in a process that knows no goodbye."""

    def __init__(self, folder: Path, port: int, root: bytes, packaged: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        # The networks' library takes seconds to import: once is enough for all boxes.
        self._context.set_forkserver_preload(["openvino", "tests.cloud_sync.a_box"])
        self._arguments = (str(folder), port, root, str(packaged))
        self._boots = 0

    def on(self) -> tuple[str, int]:
        """Switch it on; return the bundle that it comes up with, and knows every product by."""
        self._boots += 1
        self._out, into = self._context.Pipe(duplex=False)
        boot = f"boot {self._boots}"
        self._process = self._context.Process(target=live, args=(*self._arguments, boot, into))
        self._process.start()
        into.close()
        return self.says(60.0)

    def says(self, within_s: float) -> tuple[str, int]:
        """Wait for it to go over to another bundle, and know every product by it; return which."""
        assert self._out.poll(within_s), "it says nothing"
        found: tuple[str, int]
        found, knows = self._out.recv()
        assert knows == PRODUCTS, f"{found} does not work"
        return found

    def off(self) -> None:
        """Cut the power."""
        self._process.kill()
        self._process.join()


@pytest.fixture
def powered(tmp_path: Path) -> Iterator[Any]:
    keys = Keys(tmp_path / "keys")
    repository = a_repository(tmp_path / "repository", keys)
    for version in VERSIONS:
        bundle = a_bundle(tmp_path, version, weights=1_000_000 + 960 * version)
        repository.push(bundle, keys.two)
    packaged = a_bundle(tmp_path, 0).path
    root = (repository.folder / "root.json").read_bytes()
    with Broker() as broker:
        server = BlockServer(repository, broker.host, broker.port)
        server.start()
        box = Powered(tmp_path / "box", broker.port, root, packaged)
        yield box, broker.port, tmp_path / "box"
        box.off()
        server.stop()


@pytest.mark.slow
def test_thirty_power_cuts_while_bundles_are_installed(powered: Any) -> None:
    box, port, folder = powered
    chance = random.Random(8)
    address = Address(SITE, "box-1")
    assert box.on() == ("drinks", 0)
    # The first one takes longer: the bundle that came with the box is timed as well.
    for wanted in (1, 2):
        began = time.monotonic()
        want(port, address, wanted)
        while (running := box.says(120.0))[1] != wanted:
            pass
        took_s = time.monotonic() - began
    reached = 2
    cut_at_work = 0
    for _ in range(CUTS):
        if running[1] == wanted:
            wanted = wanted % len(VERSIONS) + 1
            want(port, address, wanted)
            reached += 1
        time.sleep(chance.uniform(0.0, 1.1) * min(took_s, 8.0))
        box.off()
        # Not by opening the slots, which would tidy up in the box's stead.
        state = msgspec.json.decode((folder / "bundles" / "state.json").read_bytes(), type=State)
        assert state.current is not None
        runs = state.slots[state.current].version
        cut_at_work += runs != wanted
        running = box.on()
        assert running[1] in (runs, wanted)
    while running[1] != wanted:
        running = box.says(120.0)
    assert cut_at_work >= CUTS // 3
    print(f"{reached} installations, {cut_at_work} of {CUTS} cuts in the middle of one")
    assert threading.active_count() < 50
