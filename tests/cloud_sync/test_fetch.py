"""Files in blocks over a real broker: cut off, taken up again, held back for carts."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_sync.blocks import BLOCK, BlockAsk
from cloud_sync.broker import Broker
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.download import HalfFile
from cloud_sync.device.fetch import Fetcher, Interrupted, NotThere
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.repository import Repository
from cloud_sync.topics import Address
from tests.cloud_sync.a_device import until
from tests.faults.a_link import Link, Weather

SIZE = 12 * BLOCK + 77


class Shared:
    """A server with one file, and a line that notes what is asked for.

    port: where the line goes, the broker's own without it.
    """

    def __init__(
        self, broker: Broker, folder: Path, content: bytes, port: int | None = None
    ) -> None:
        repository = Repository(folder / "repository")
        (repository.folder / "files").mkdir(parents=True)
        repository.renew = lambda **_: False  # type: ignore[method-assign]  # nothing is signed here
        self.content = content
        self.name = hashlib.sha256(content).hexdigest()
        (repository.folder / "files" / self.name).write_bytes(content)
        self.server = BlockServer(repository, broker.host, broker.port, folder.name)
        self.line = BundleLine(Address("s", folder.name), broker.host, port or broker.port)
        self.asked: list[tuple[float, BlockAsk]] = []
        self._ask = self.line.ask
        self.line.ask = self._note  # type: ignore[method-assign]
        self.server.start()
        self.line.start()
        until(lambda: self.line.up and self.server.problem is None)

    def _note(self, ask: BlockAsk) -> bool:
        self.asked.append((time.monotonic(), ask))
        return self._ask(ask)

    def fetch(self, place: Path, fetcher: Fetcher | None = None) -> bytes:
        with HalfFile(place, len(self.content), BLOCK) as half:
            (fetcher or Fetcher(self.line)).file(self.name, half, lambda _: None)
            return half.finish().read_bytes()

    def stop(self) -> None:
        self.line.stop()
        self.server.stop()


@pytest.fixture
def shared(broker: Broker, tmp_path: Path) -> Iterator[Shared]:
    one = Shared(broker, tmp_path, os.urandom(SIZE))
    yield one
    one.stop()


def test_a_file_arrives_whole(shared: Shared, tmp_path: Path) -> None:
    assert shared.fetch(tmp_path / "file") == shared.content
    assert not list(tmp_path.glob("file.*"))


def test_what_can_be_compressed_moves_few_bytes(broker: Broker, tmp_path: Path) -> None:
    shared = Shared(broker, tmp_path, b"sku,name,price\n" * 100_000)
    try:
        assert shared.fetch(tmp_path / "file") == shared.content
        assert shared.line.received_bytes < 0.1 * len(shared.content)
    finally:
        shared.stop()


def test_a_file_goes_on_where_it_was_cut_off(shared: Shared, tmp_path: Path) -> None:
    came: list[int] = []
    fetcher = Fetcher(shared.line, is_wanted=lambda: len(came) < 5)
    half = HalfFile(tmp_path / "file", len(shared.content), BLOCK)
    with half, pytest.raises(Interrupted):
        fetcher.file(shared.name, half, came.append)
    on_its_way = {n for _, ask in shared.asked for n in ask.numbers}
    until(lambda: shared.line.received_bytes >= sum(map(half.size_of, on_its_way)))
    shared.asked.clear()
    received = shared.line.received_bytes
    with HalfFile(tmp_path / "file", len(shared.content), BLOCK) as half:
        left = half.missing
    assert len(left) <= half.blocks - 5
    assert shared.fetch(tmp_path / "file") == shared.content
    assert sorted({n for _, ask in shared.asked for n in ask.numbers}) == left
    while shared.line.next_block(0.3) is not None:
        pass  # what was asked for twice comes twice
    assert shared.line.received_bytes - received < (len(left) + 2) * (BLOCK + 500)


def test_what_is_not_known_to_be_on_the_disk_is_fetched_again(tmp_path: Path) -> None:
    place = tmp_path / "file"
    half = HalfFile(place, 3 * BLOCK, BLOCK)
    half.put(0, b"a" * BLOCK)
    half.sync()
    half.put(1, b"b" * BLOCK)
    assert half.missing == [2]
    # The power goes here: nothing is closed.
    assert HalfFile(place, 3 * BLOCK, BLOCK).missing == [1, 2]
    assert HalfFile(place, 2 * BLOCK, BLOCK).missing == [0, 1]
    place.with_name("file.have").write_bytes(b"torn")
    assert HalfFile(place, 3 * BLOCK, BLOCK).missing == [0, 1, 2]


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 5_000), order=st.randoms())
def test_blocks_may_come_in_any_order_and_twice(
    tmp_path_factory: pytest.TempPathFactory, length: int, order: object
) -> None:
    content = os.urandom(length)
    place = tmp_path_factory.mktemp("half") / "file"
    with HalfFile(place, length, 1024) as half:
        numbers = list(range(half.blocks)) * 2
        order.shuffle(numbers)  # type: ignore[attr-defined]
        for number in numbers:
            half.put(number, content[number * 1024 : (number + 1) * 1024])
        assert not half.put(half.blocks, b"")
        assert half.missing == []
        assert half.finish().read_bytes() == content


@pytest.mark.slow
def test_a_broker_that_falls_in_between_costs_no_block_that_is_there(
    broker: Broker, tmp_path: Path
) -> None:
    with Broker() as falling:
        shared = Shared(falling, tmp_path, os.urandom(SIZE))
        came = 0

        def fall() -> None:
            until(lambda: came >= 3)
            falling.kill()
            time.sleep(0.5)
            falling.start()

        def more(_: int) -> None:
            nonlocal came
            came += 1
            time.sleep(0.05)

        hand = threading.Thread(target=fall)
        hand.start()
        with HalfFile(tmp_path / "file", SIZE, BLOCK) as half:
            Fetcher(shared.line).file(shared.name, half, more)
            assert half.finish().read_bytes() == shared.content
        hand.join()
        assert came == 13
        shared.stop()


def test_a_server_that_is_away_is_waited_for(broker: Broker, tmp_path: Path) -> None:
    shared = Shared(broker, tmp_path, os.urandom(2 * BLOCK))
    shared.server.stop()
    found: list[bytes] = []
    waiting = threading.Thread(target=lambda: found.append(shared.fetch(tmp_path / "file")))
    waiting.start()
    time.sleep(1.0)
    shared.server = BlockServer(
        shared.server._repository, broker.host, broker.port, f"{tmp_path.name}-again"
    )
    shared.server.start()
    waiting.join(20)
    assert found == [shared.content]
    shared.stop()


def test_carts_go_first(shared: Shared, tmp_path: Path) -> None:
    shared.fetch(tmp_path / "file", Fetcher(shared.line, is_busy=lambda: True))
    assert {len(ask.numbers) for _, ask in shared.asked} == {1}
    shared.asked.clear()
    shared.fetch(tmp_path / "other")
    assert max(len(ask.numbers) for _, ask in shared.asked) > 4


@pytest.mark.slow
def test_a_narrow_line_moves_nothing_twice(broker: Broker, tmp_path: Path) -> None:
    """Blocks that wait for one another on it are not late."""
    link = Link(broker.port)
    link.set(Weather(bytes_per_s=400_000))
    shared = Shared(broker, tmp_path, os.urandom(SIZE), link.port)
    try:
        assert shared.fetch(tmp_path / "file") == shared.content
        assert shared.line.received_bytes < 1.1 * SIZE
    finally:
        shared.stop()
        link.close()


def test_a_rate_is_kept(shared: Shared, tmp_path: Path) -> None:
    rate = 1_500_000.0
    began = time.monotonic()
    shared.fetch(tmp_path / "file", Fetcher(shared.line, bytes_per_s=rate))
    assert time.monotonic() - began > 0.8 * (SIZE / rate - 0.3)
    for at, _ in shared.asked:
        within = [ask for t, ask in shared.asked if at <= t < at + 1.0]
        assert sum(len(ask.numbers) for ask in within) * BLOCK <= 1.6 * rate + BLOCK


def test_a_file_the_hub_does_not_have_is_said(shared: Shared, tmp_path: Path) -> None:
    with (
        pytest.raises(NotThere, match="no such file"),
        HalfFile(tmp_path / "file", BLOCK, BLOCK) as half,
    ):
        Fetcher(shared.line).file("cd" * 32, half, lambda _: None)
    with pytest.raises(NotThere):
        list(Fetcher(shared.line).small("metadata/9.root.json"))
