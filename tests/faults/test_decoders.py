"""Whoever reads bytes from outside meets any bytes with the error it names, and with no other."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_sync import messages as m
from cloud_sync.blocks import (
    BLOCK,
    Block,
    BlockAsk,
    decode_ask,
    decode_block,
    encode_ask,
    encode_block,
    unpack,
)
from cloud_sync.broker import Broker
from cloud_sync.device.assembly import _listing, known_files
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.download import HalfFile
from cloud_sync.device.fetch import Fetcher, NotThere
from cloud_sync.device.shadow import Shadow
from cloud_sync.device.slots import Probation, Refusal, SlotInfo, Slots, State, begin
from cloud_sync.device.vouched import ROLES, NotTrusted, Vouched
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.evidence import PictureStore
from cloud_sync.hub.store import Arrived, Store, ranges
from cloud_sync.topics import Address, Channel, parse
from models.bundle import MANIFEST, BundleError, load_bundle
from tests.cloud_sync.a_bundle import Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import until
from tests.edge.test_cart import an_item
from tests.faults.damage import damaged, survives, tries

BOX = Address("store-1", "box-1")
SHA = "ab" * 32
PICTURE = b"\xff\xd8\xff" + b"x" * 50
LINE = {"ledger": "l", "sequence": 1, "recorded_at": 1.0, "session": "s"}
MEASURES = m.BundleMeasures(decisions=3, unknown=1, mean_ms=2.5, seconds=9.0)
MESSAGES: tuple[m.Message, ...] = (
    m.SessionOpened(event_id="e-1", at_s=0.5, **LINE),  # type: ignore[arg-type]
    m.SessionClosed(event_id="e-2", at_s=9.5, total_minor=150, currency="EUR", reviews=1, **LINE),  # type: ignore[arg-type]
    an_item(3),
    m.LineSettled(event_id="e-4", item="e-3", sku="cola", unit_price_minor=150, currency="EUR",
                  by="ada", **LINE),  # type: ignore[arg-type]
    m.Ack(ledger="l", ranges=((1, 4), (6, 6))),
    m.Resend(ledger="l", ranges=((1, 4),)),
    m.Telemetry(online=True, at=1.0, ledger="l", waiting=2, last_sequence=9, connection="c"),
    m.OpenSession(session="s"),
    m.CloseSession(session="s"),
    m.SettleItem(item="e-3", sku="cola", session="s", by="ada"),
    m.SendEvidence(item="e-3"),
    m.Reply(ok=False, detail="no"),
    m.Desired(version=3, bundle="drinks 1", rollout="r-1"),
    m.Reported(desired_version=3, bundle="drinks 1", digest=SHA, measures=MEASURES),
    m.Evidence(item="e-3", name="e-3/crop-0.jpg", sha256=SHA, data=PICTURE),
    m.EvidenceAck(item="e-3", name="e-3/crop-0.jpg"),
)  # fmt: skip
ENCODED = tuple(m.encode(one) for one in MESSAGES)
TOPICS = tuple(BOX.topic(channel) for channel in Channel)


def test_every_kind_of_message_is_damaged_here() -> None:
    assert {type(one) for one in MESSAGES} == set(get_args(m.AnyMessage))


@tries(300)
@given(damaged(ENCODED))
def test_a_message_is_read_or_refused(payload: bytes) -> None:
    survives(lambda: m.decode(payload), m.MessageError)
    for kind in (m.Ack, m.Desired, m.Reply):
        survives(functools.partial(m.decode_as, kind, payload), m.MessageError)


@tries(200)
@given(st.text(st.characters(), max_size=60) | st.sampled_from(TOPICS))
def test_a_topic_is_read_or_refused(topic: str) -> None:
    survives(lambda: parse(topic), m.MessageError)


A_BLOCK = Block(file=SHA, number=3, size=1024, total=5_000, codec="zlib", data=b"x\x9c\x03\x00")
BLOCKS = (encode_block(A_BLOCK), encode_block(Block(file=SHA, number=1, size=BLOCK, total=9)))
ASKS = (
    encode_ask(BlockAsk(file=SHA, size=1024, numbers=(0, 1, 2))),
    encode_ask(BlockAsk(file="metadata/1.root.json", size=BLOCK, numbers=(2**53,))),
)


@tries(200)
@given(damaged(BLOCKS), damaged(ASKS))
def test_a_block_and_an_ask_are_read_or_refused(block: bytes, ask: bytes) -> None:
    survives(lambda: unpack(decode_block(block)), m.MessageError)
    survives(lambda: decode_ask(ask), m.MessageError)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_bundle(tmp_path_factory.mktemp("bundle")).path


def test_no_ask_brings_the_block_server_down(broker: Broker, keys: Keys, tmp_path: Path) -> None:
    server = BlockServer(a_repository(tmp_path / "r", keys), broker.host, broker.port)
    line = BundleLine(BOX, broker.host, broker.port)
    server.start()
    line.start()
    until(lambda: line.up and server.problem is None)
    for file in ("metadata/1.root.json", SHA, "metadata/online.json"):
        line.ask(BlockAsk(file=file, size=1024 * 1024, numbers=(2**53, 2**40, 7)))
    line.ask(BlockAsk(file="metadata/1.root.json", size=BLOCK, numbers=(0,)))

    def came() -> bool:
        block = line.next_block(0.2)
        return block is not None and block.number == 0 and block.data != b""

    until(came)
    line.stop()
    server.stop()


def a_state() -> bytes:
    info = SlotInfo(bundle="drinks", version=1, digest=SHA)
    refusal = Refusal(bundle="drinks", version=2, digest=SHA, reason="slow", at=1.0)
    state = State(
        current="a", slots={"a": info, "b": info}, probation=Probation(slot="a", back="b"),
        refused=(refusal,), running="boot", measures=MEASURES, before=MEASURES,
        trusted={"root": 1, "timestamp": 4}, trial_ms={SHA: 4.5},
    )  # fmt: skip
    return msgspec.json.encode(state)


def whole(_: Path) -> None:
    """Every bundle of these slots can be opened."""


@tries(50)
@given(damaged((a_state(),)), st.booleans())
def test_a_box_comes_up_whatever_its_state_file_is(content: bytes, is_whole: bool) -> None:
    folder = _folder("slots")
    (folder / "state.json").write_bytes(content)

    def broken(_: Path) -> None:
        raise ValueError("it is not whole")

    slots = Slots(folder, whole if is_whole else broken)
    begin(slots, boot="boot")
    assert slots.current is None or is_whole
    assert Slots(folder, whole).state == slots.state


@tries(60)
@given(damaged((m.encode(m.Desired(version=3, bundle="drinks 1")),)))
def test_a_box_comes_up_whatever_its_last_wish_is(content: bytes) -> None:
    path = _folder("shadow") / "desired.json"
    path.write_bytes(content)
    shadow = Shadow(path)
    shadow.start()
    held, wish = shadow.desired, m.Desired(version=2**53, bundle="drinks 2")
    assert shadow.take(wish) is (held is None or held.version < wish.version)
    assert Shadow(path).desired == shadow.desired


@tries(60)
@given(damaged((b"\x29\x10\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x01\x01\x00\x01\x00",)))
def test_half_a_file_goes_on_whatever_is_known_of_it(have: bytes) -> None:
    folder = _folder("half")
    (folder / "file.part").write_bytes(b"y" * 4137)
    (folder / "file.have").write_bytes(have)
    with HalfFile(folder / "file", 4137, 1024) as half:
        assert 0 <= half.bytes_there <= half.length
        for number in half.missing:
            assert half.put(number, b"x" * half.size_of(number))
        assert half.missing == []


@functools.cache
def _place() -> Path:
    return Path(tempfile.mkdtemp(prefix="shelfgate-decoders-"))


def _folder(name: str) -> Path:
    folder = _place() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@pytest.fixture(scope="session", autouse=True)
def clean() -> Iterator[None]:
    yield
    shutil.rmtree(_place(), ignore_errors=True)
    _place.cache_clear()


def test_a_manifest_is_read_or_refused(bundle: Path) -> None:
    folder, content = _folder("manifest"), (bundle / MANIFEST).read_bytes()

    @tries(100)
    @given(damaged((content,)))
    def check(odd: bytes) -> None:
        survives(lambda: _listing(odd), BundleError)
        (folder / MANIFEST).write_bytes(odd)
        known_files([folder])

    check()


def test_a_bundle_is_opened_or_refused(bundle: Path) -> None:
    folder = _folder("bundle")
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    content = (bundle / MANIFEST).read_bytes()

    @tries(40)
    @given(damaged((content,)))
    def check(odd: bytes) -> None:
        (folder / MANIFEST).write_bytes(odd)
        survives(lambda: load_bundle(folder), BundleError)

    check()


@pytest.mark.parametrize("odd", [b"1e999", b"[" * 3_000 + b"]" * 3_000])
def test_a_version_that_is_no_number_is_refused(bundle: Path, odd: bytes) -> None:
    folder = _folder("odd")
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    content = (bundle / MANIFEST).read_bytes()
    changed = re.sub(rb'"version": *1\b', b'"version": ' + odd, content)
    assert changed != content
    (folder / MANIFEST).write_bytes(changed)
    survives(lambda: load_bundle(folder), BundleError)


class FromDisk(Fetcher):
    """Fetches from a dict, as a hub would answer."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(BundleLine(BOX, "127.0.0.1", 1))
        self._files = files

    def small(self, name: str) -> Iterator[bytes]:
        if name not in self._files:
            raise NotThere(name)
        yield self._files[name]


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory, keys: Keys, bundle: Path) -> dict[str, bytes]:
    """A repository's metadata by the names in asks; two roots."""
    repository = a_repository(tmp_path_factory.mktemp("signed") / "r", keys)
    repository.push(load_bundle(bundle), keys.two)
    repository.rotate({}, keys.root)
    return {f"metadata/{p.name}": p.read_bytes() for p in repository._metadata.iterdir()}


def test_signed_metadata_is_believed_or_refused(signed: dict[str, bytes]) -> None:
    root = signed["metadata/1.root.json"]
    good = _folder("good")
    assert Vouched(good, root, FromDisk(signed), {}).refresh()["root"] == 2

    @tries(60)
    @given(st.sampled_from(sorted(signed)), st.booleans(), st.data())
    def check(name: str, is_first: bool, data: Any) -> None:
        files = {**signed, name: data.draw(damaged((signed[name],)))}
        folder = _folder("trust")
        if not is_first:
            shutil.copytree(good, folder, dirs_exist_ok=True)
            role = data.draw(st.sampled_from(ROLES))
            kept = (folder / f"{role}.json").read_bytes()
            (folder / f"{role}.json").write_bytes(data.draw(damaged((kept,))))
        given_root = files["metadata/1.root.json"]
        vouched = Vouched(folder, given_root, FromDisk(files), {})
        survives(vouched.refresh, NotTrusted)

    check()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    engine = open_database(str(folder / "hub.db"))
    migrate(engine)
    return Store(engine, pictures=PictureStore(str(folder / "pictures")))


def test_a_hub_takes_whatever_comes_and_can_acknowledge_it(store: Store) -> None:
    topics = st.sampled_from(TOPICS) | st.text(st.characters(), max_size=30)
    arrived = st.builds(Arrived, topics, damaged(ENCODED), st.booleans())

    @tries(40)
    @given(st.lists(arrived, max_size=12))
    def check(batch: list[Arrived]) -> None:
        taken = store.take(batch)
        for (_, ledger), sequences in taken.sequences.items():
            m.encode(m.Ack(ledger=ledger, ranges=ranges(sequences)))
        for (_, ledger), runs in taken.missing.items():
            m.encode(m.Resend(ledger=ledger, ranges=runs))
        for _, kept in taken.kept:
            m.encode(kept)

    check()
