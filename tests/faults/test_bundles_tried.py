"""Bundles that were signed in good faith and are bad: found out by the box before or after it runs.

Everything is real but the cameras: the networks that hang, fall, crawl or know nothing are networks
that do so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_sync.broker import Broker
from cloud_sync.device.probation import Limits
from cloud_sync.device.slots import SlotInfo, Slots
from cloud_sync.hub.block_server import BlockServer
from cloud_sync.hub.repository import Repository
from cloud_sync.topics import Address
from edge.bundle_trial import Trial
from edge.updates import first_recogniser
from models.bundle import Bundle, load_bundle
from tests.cloud_sync.a_box import QUICK, SITE, Box, settle, want
from tests.cloud_sync.a_bundle import DIM, KNOWS_NOTHING, Keys, a_bundle, a_repository
from tests.cloud_sync.a_device import ROOT, HubProcess, until
from tests.cloud_sync.killing import children_of
from tests.faults.a_refusal import goes_on, is_shown, is_told
from tests.faults.bad_networks import (
    a_network_of_other_shapes,
    crash,
    fail_in_the_dark,
    half_a_network,
    hog,
    no_network,
    spin,
)
from tests.small_disk import a_small_disk

PROGRAM = "import sys; from tests.faults.an_installing_box import main; main(*sys.argv[1:])"


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def hub(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("hub")
    running = HubProcess(str(folder / "hub.db"), broker.port, folder / "hub.log")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("packaged"), 0)


@pytest.fixture
def repository(tmp_path: Path, keys: Keys) -> Repository:
    return a_repository(tmp_path / "repository", keys)


@pytest.fixture
def served(tmp_path: Path, broker: Broker, repository: Repository) -> Iterator[BlockServer]:
    server = BlockServer(repository, broker.host, broker.port, tmp_path.name)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_box(
    tmp_path: Path, broker: Broker, repository: Repository, packaged: Bundle, served: BlockServer
) -> Iterator[Callable[..., Box]]:
    made: list[Box] = []

    def make(folder: Path = tmp_path / "box", **options: Any) -> Box:
        root = (repository.folder / "root.json").read_bytes()
        made.append(Box(folder, broker.port, root, packaged.path, name=tmp_path.name, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "because"),
    [
        (no_network, "OpenVINO cannot read it"),
        (half_a_network, "small.xml: OpenVINO cannot read it: Incorrect weights in bin file"),
        (a_network_of_other_shapes, f"its model gives ({DIM // 2},) numbers, its table has {DIM}"),
    ],
)
def test_what_is_no_network_or_another_one_is_refused_and_not_tried_again(
    make_box: Callable[..., Box],
    repository: Repository,
    keys: Keys,
    hub: HubProcess,
    tmp_path: Path,
    spoil: Callable[[Bundle, Path], None],
    because: str,
) -> None:
    bundle = a_bundle(tmp_path, 1, prices=5)
    spoil(bundle, tmp_path)
    repository.push(load_bundle(bundle.path), keys.two)
    tried: list[Path] = []

    def trial(folder: Path) -> float:
        tried.append(folder)
        return Trial("openvino")(folder)

    box = make_box(trial=trial)
    box.want(1)
    box.refuses(1)
    reason = is_told(box, hub, 1, because)
    assert str(tmp_path) not in reason
    count = len(tried)
    box.want(1)
    settle(3.0)
    assert box.refuses(1) == reason
    assert len(tried) == count, "a bundle that failed is not tried again"
    repository.push(a_bundle(tmp_path, 2, prices=6), keys.two)
    box.want(2)
    box.comes_to("probation", 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tail", "within_s", "because"),
    [
        (spin(2**30, 64), 20.0, "its self-test hangs: not done after 20 s"),
        (hog, 60.0, "Failed to allocate"),
        (crash, 60.0, "its self-test crashes: ended by SIGSEGV"),
    ],
    ids=["hangs", "eats all memory", "crashes"],
)
def test_one_that_hangs_or_falls_in_its_self_test(
    make_box: Callable[..., Box], repository: Repository, keys: Keys, hub: HubProcess,
    tmp_path: Path, tail: Any, within_s: float, because: str,
) -> None:  # fmt: skip
    repository.push(a_bundle(tmp_path, 1, tail=tail), keys.two)
    box = make_box(trial=Trial("openvino", within_s))
    box.want(1)
    box.refuses(1, 120)
    is_told(box, hub, 1, because)


def test_a_self_test_whose_process_is_struck_down(packaged: Bundle) -> None:
    """Whatever kills the child, by a signal here, is the bundle's fault and not the box's."""
    before = set(children_of(os.getpid()))
    struck: list[int] = []

    def strike() -> None:
        until(lambda: bool(set(children_of(os.getpid())) - before), 30)
        struck.extend(set(children_of(os.getpid())) - before)
        os.kill(struck[0], 11)

    import threading

    hand = threading.Thread(target=strike)
    hand.start()
    with pytest.raises(Exception, match="its self-test crashes: ended by SIGSEGV"):
        Trial("openvino")(packaged.path)
    hand.join()


def test_an_installed_one_that_cannot_be_opened_is_passed_over(
    packaged: Bundle, tmp_path: Path
) -> None:
    """Its files are whole, but this box, or its runtime, cannot read the network any more."""
    slots = Slots(tmp_path / "bundles", load_bundle)
    for version, spoil in ((1, None), (2, no_network)):
        bundle = a_bundle(tmp_path, version, prices=version)
        if spoil is not None:
            spoil(bundle, tmp_path)
        shutil.copytree(bundle.path, slots.workplace() / "bundle", dirs_exist_ok=True)
        slots.switch(slots.install(SlotInfo(bundle="drinks", version=version, digest="0" * 64)))
        if version == 1:
            slots.commit()
    slots = Slots(tmp_path / "bundles", load_bundle)
    assert slots.state.current == "b"
    recogniser = first_recogniser(slots, packaged, "openvino")
    assert (recogniser.bundle.version, slots.state.current) == (1, "a")
    assert "OpenVINO cannot read it" in slots.state.refused[0].reason
    slots.pass_over("and this one too")
    assert first_recogniser(slots, packaged, "openvino").bundle.version == 0


@pytest.mark.slow
def test_one_that_is_right_but_slow(
    make_box: Callable[..., Box], repository: Repository, keys: Keys, hub: HubProcess,
    tmp_path: Path,
) -> None:  # fmt: skip
    repository.push(a_bundle(tmp_path, 1, tail=spin(60, 512)), keys.two)
    box = make_box(limits=Limits(slack_ms=20.0, seconds=0.0, decisions=6))
    box.want(1)
    box.refuses(1, 150)
    is_told(box, hub, 1, "too slow on this box")


@pytest.mark.slow
def test_one_that_makes_every_product_unknown_is_taken_back(
    make_box: Callable[..., Box], repository: Repository, keys: Keys, hub: HubProcess,
    tmp_path: Path,
) -> None:  # fmt: skip
    repository.push(a_bundle(tmp_path, 1, thresholds=KNOWS_NOTHING, prices=9), keys.two)
    box = make_box(limits=Limits(seconds=60.0, decisions=20, slower=20.0, slack_ms=1_000.0))
    assert None not in box.decide(24)
    box.want(1)
    box.comes_to("probation", 1)
    assert set(box.decide(12)) == {None}
    box.comes_to("rolled_back", 1)
    reason = is_told(box, hub, 1, "12 of 12 items are unknown to it, 0% were to the one before")
    box.want(1)
    assert box.comes_to("rolled_back", 1).reason == reason
    assert box.running == ("drinks", 0)
    box.stop()
    again = make_box()
    again.want(1)
    again.comes_to("rolled_back", 1)
    assert is_told(again, hub, 1, "") == reason


@pytest.mark.slow
def test_one_that_is_slower_than_its_self_test_said_is_taken_back(
    make_box: Callable[..., Box], repository: Repository, keys: Keys, hub: HubProcess,
    tmp_path: Path,
) -> None:  # fmt: skip
    """It was timed while the box had nothing else to do, say."""
    repository.push(a_bundle(tmp_path, 1, tail=spin(60, 512), prices=9), keys.two)
    box = make_box(
        trial=lambda _: 0.1, limits=Limits(seconds=60.0, decisions=40, slower=2.5, slack_ms=20.0)
    )
    assert None not in box.decide(24)
    box.want(1)
    box.comes_to("probation", 1)
    assert None not in box.decide(12)
    box.comes_to("rolled_back", 1)
    reason = is_told(box, hub, 1, "ms to decide, the one before took")
    box.want(1)
    assert box.comes_to("rolled_back", 1).reason == reason
    assert box.running == ("drinks", 0)


@pytest.mark.slow
def test_one_that_fails_at_what_its_self_test_does_not_show_is_taken_back(
    make_box: Callable[..., Box], repository: Repository, keys: Keys, hub: HubProcess,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The item it fails at is decided all the same, by the bundle before."""
    repository.push(a_bundle(tmp_path, 1, tail=fail_in_the_dark, prices=9), keys.two)
    box = make_box(limits=Limits(seconds=60.0, decisions=40, slower=20.0, slack_ms=1_000.0))
    black = np.zeros((40, 40, 3), np.uint8)
    before = box.serving.decide([black])
    assert None not in box.decide(24)
    box.want(1)
    box.comes_to("probation", 1)
    assert None not in box.decide(10)
    assert box.serving.decide([black]) == before
    box.comes_to("rolled_back", 1)
    is_told(box, hub, 1, "items that could not be decided: 1, that could: 10")
    assert box.running == ("drinks", 0)


@pytest.mark.slow
def test_one_that_brings_the_appliance_down_is_taken_back(
    repository: Repository, keys: Keys, broker: Broker, hub: HubProcess, packaged: Bundle,
    served: BlockServer, tmp_path: Path,
) -> None:  # fmt: skip
    repository.push(a_bundle(tmp_path, 1, prices=9), keys.two)
    process = InstallingBox(tmp_path, broker, repository, packaged)
    want(broker.port, Address(SITE, tmp_path.name), 1)
    assert process.says() == "drinks 0"
    assert process.says() == "drinks 1"
    for _ in range(QUICK.restarts):
        process.kill()
        process.start()
        assert process.says() == "drinks 1"
    process.kill()
    process.start()
    assert process.says() == "drinks 0"
    because = "the appliance came down 3 times with it"
    is_shown(hub, Address(SITE, tmp_path.name), process.page, because, phase="rolled_back")
    process.kill()


class InstallingBox:
    """A box process that can be killed and started again on the same disk."""

    def __init__(
        self, folder: Path, broker: Broker, repository: Repository, packaged: Bundle
    ) -> None:
        root = str(repository.folder / "root.json")
        self._arguments = [
            str(folder / "box"), str(broker.port), root, str(packaged.path), folder.name
        ]  # fmt: skip
        self._log = folder / "box.log"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *self._arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self._log.open("ab"),
            text=True,
        )
        self.page = self.says()

    def says(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, self._log.read_text()[-2_000:]
        return line

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with a_small_disk(tmp_path / "small", "24m") as folder:
        yield folder


@pytest.mark.slow
def test_a_disk_that_is_full_in_the_middle(
    make_box: Callable[..., Box], repository: Repository, keys: Keys, hub: HubProcess,
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("cloud_sync.device.assembly.SPARE_BYTES", -(2**40))
    repository.push(a_bundle(tmp_path, 1, weights=8_000_000), keys.two)
    box = make_box(small_disk, again_s=2.0)
    box.want(1)
    box.refuses(1)
    is_told(box, hub, 1, "the disk does not take it: No space left on device")
    (small_disk / "ledger").write_bytes(b"x" * 8_000_000)
    settle(3.0)
    assert box.running == ("drinks", 0)
    box.stop()
    goes_on(make_box(small_disk))


@pytest.mark.slow
def test_a_disk_without_room_is_said_before_anything_is_fetched(
    make_box: Callable[..., Box], repository: Repository, keys: Keys, hub: HubProcess,
    tmp_path: Path, small_disk: Path,
) -> None:  # fmt: skip
    repository.push(a_bundle(tmp_path, 1, weights=8_000_000), keys.two)
    box = make_box(small_disk, again_s=60.0)
    box.want(1)
    box.refuses(1)
    is_told(box, hub, 1, "MB free, the bundle needs 48 MB")
    assert box.line.received_bytes < 100_000
