"""Rollouts: what a plan says, and what comes of one on a fleet of simulated devices."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from cloud_sync.broker import Broker
from cloud_sync.hub.audit import THE_HUB
from cloud_sync.hub.bundles import Bundles
from cloud_sync.hub.database import migrate, open_database
from cloud_sync.hub.fleet import FleetError
from cloud_sync.hub.fleet_simulator import FleetSimulator, Manners
from cloud_sync.hub.rollout_plan import Count, Plan, PlanError, from_json, verdict
from cloud_sync.hub.rollouts import Rollouts
from cloud_sync.hub.shadows import Shadows
from cloud_sync.hub.store import Arrived, Store
from cloud_sync.messages import Reported, Telemetry, encode
from cloud_sync.topics import Address, Channel
from tests.cloud_sync.a_device import COMMAND, ROOT, HubProcess, until

QUIET = Manners(events_per_min=0.0, offline_per_h=0.0, telemetry_s=5.0, fetch_s=0.5)


@given(st.integers(1, 5_000), st.lists(st.sampled_from(["1", "7", "3%", "50%", "99.9%"])))
def test_stages_rise_to_everybody(devices: int, stages: list[str]) -> None:
    plan = Plan(stages=(*stages[:10], "100%"))
    sizes = plan.sizes(devices)
    assert sizes == sorted(sizes)
    assert sizes[-1] == devices
    assert min(sizes) >= 1
    assert from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": ()},
        {"stages": ("50%",)},
        {"stages": ("101%", "100%")},
        {"stages": ("-1", "100%")},
        {"stages": ("x", "100%")},
        {"success": 0.0},
        {"max_failed": 1.0},
        {"soak_s": -1.0},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        Plan(**wrong)


def test_failures_count_before_success_and_time() -> None:
    plan = Plan(success=0.9, max_failed=0.1, soak_s=60.0)
    good = Count(given=10, ok=9, failed=0, online=10, online_ok=9)
    assert verdict(plan, good, 59.0) is None
    assert verdict(plan, good, 60.0) == "advance"
    assert verdict(plan, Count(10, 8, 1, 9, 8), 60.0) is None
    assert verdict(plan, Count(10, 8, 2, 8, 8), 1.0) == "abort"
    # Devices that are offline hold nothing up; a stage of nothing but those waits.
    assert verdict(plan, Count(10, 3, 0, 3, 3), 60.0) == "advance"
    assert verdict(plan, Count(10, 0, 0, 0, 0), 10**6) is None


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker of a test's own: what another test's fleet left retained is not this hub's."""
    with Broker() as running:
        yield running


@pytest.fixture
def hub(broker: Broker, tmp_path: Path) -> Iterator[HubProcess]:
    running = HubProcess(str(tmp_path / "hub.db"), broker.port, tmp_path / "hub.log")
    yield running
    running.stop()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_database(str(tmp_path / "hub.db"))
    migrate(engine)
    store = Store(engine)
    for number in range(4):
        address = Address("store-1", f"box-{number}")
        birth = Telemetry(online=True, at=1.0, ledger="l", bundle="old 1")
        store.take([Arrived(address.topic(Channel.TELEMETRY), encode(birth))])
    Bundles(engine).register(THE_HUB, "new 2")
    return engine


def said(engine: Engine, device: str, version: int, bundle: str, state: Any, **more: Any) -> None:
    reported = Reported(desired_version=version, bundle=bundle, state=state, **more)
    topic = Address("store-1", device).topic(Channel.REPORTED)
    Store(engine).take([Arrived(topic, encode(reported))])


def test_pause_holds_the_next_stage_and_rollback_restores(engine: Engine) -> None:
    rollouts = Rollouts(engine)
    plan = Plan(stages=("2", "100%"), soak_s=0.0)
    one = rollouts.start(THE_HUB, "new 2", plan)
    with pytest.raises(FleetError, match="not over"):
        rollouts.start(THE_HUB, "new 2", Plan(site="store-1"))
    first = [address.device for address, _, given_, _ in rollouts.devices(one) if given_]
    assert len(first) == 2
    rollouts.pause(THE_HUB, one)
    for device in first:
        said(engine, device, 1, "new 2", "running")
    rollouts.step()
    assert rollouts.view(one).stage == 0
    rollouts.resume(THE_HUB, one)
    rollouts.step()
    assert (rollouts.view(one).stage, rollouts.view(one).count.given) == (1, 4)
    rollouts.roll_back(THE_HUB, one, "a bad feeling")
    assert {wish.desired.bundle for wish in Shadows(engine).due()} == {"old 1"}
    assert len(Shadows(engine).due()) == 4
    with pytest.raises(FleetError, match="rolled_back"):
        rollouts.resume(THE_HUB, one)
    with pytest.raises(FleetError, match="not known"):
        rollouts.start(THE_HUB, "never 1", plan)


def test_a_hub_that_forgot_its_wishes_makes_newer_ones(engine: Engine) -> None:
    """The device knows version 9 from before the hub's backup; it would not take an older one."""
    shadows = Shadows(engine)
    Rollouts(engine).start(THE_HUB, "new 2", Plan(stages=("100%",)))
    said(engine, "box-0", 9, "old 1", "running")
    assert shadows.mend() == 1
    (mended,) = [one for one in shadows.due() if one.address.device == "box-0"]
    assert (mended.desired.version, mended.desired.bundle) == (10, "new 2")


class Watch:
    """`hub rollout watch` at a terminal, in a process of its own."""

    def __init__(self, database: Path, rollout: str) -> None:
        self._terminal, theirs = pty.openpty()
        arguments = ["hub", "rollout", "watch", rollout, "--database", str(database), "--json"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments], cwd=ROOT, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
            stderr=theirs, text=True,
        )  # fmt: skip
        os.close(theirs)
        self._shown = b""

    def screen(self) -> str:
        """What stands there now: the last picture, without colours and bars."""
        while select.select([self._terminal], [], [], 0.05)[0]:
            try:
                self._shown += os.read(self._terminal, 65_536)
            except OSError:  # the other end is closed
                break
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[━╸╺]", "", self._shown.decode(errors="ignore"))
        return " ".join(text[max(text.rfind("r-"), 0) :].split())

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait for it to end; give its exit code and what it printed."""
        output, _ = self._process.communicate(timeout=30)
        os.close(self._terminal)
        found: dict[str, Any] = json.loads(output)
        return self._process.returncode, found


def watched(engine: Engine, folder: Path) -> tuple[Rollouts, str, Watch]:
    """A rollout in two stages that somebody watches."""
    rollouts = Rollouts(engine)
    one = rollouts.start(THE_HUB, "new 2", Plan(stages=("2", "100%"), soak_s=0.0))
    return rollouts, one, Watch(folder / "hub.db", one)


def test_watching_shows_each_stage_as_it_comes_and_ends_when_the_rollout_does(
    engine: Engine, tmp_path: Path
) -> None:
    rollouts, one, watch = watched(engine, tmp_path)
    until(lambda: "new 2 running > 2 0/2 100% 0/4" in watch.screen(), 30)
    first = [address.device for address, _, given_, _ in rollouts.devices(one) if given_]
    said(engine, first[0], 1, "new 2", "running")
    until(lambda: "> 2 1/2 100% 1/4 failed 0, not yet 1" in watch.screen())
    said(engine, first[1], 1, "new 2", "running")
    rollouts.step()
    until(lambda: "2 2/2 > 100% 2/4 failed 0, not yet 2" in watch.screen())
    rollouts.pause(THE_HUB, one)
    until(lambda: "new 2 paused" in watch.screen())
    rollouts.resume(THE_HUB, one)
    for number in range(4):
        said(engine, f"box-{number}", 1, "new 2", "running")
    rollouts.step()
    code, told = watch.end()
    assert (code, told["state"], told["ok"]) == (0, "done", 4)


def test_watching_a_rollout_that_is_called_off_ends_with_the_reason_and_1(
    engine: Engine, tmp_path: Path
) -> None:
    rollouts, one, watch = watched(engine, tmp_path)
    until(lambda: "new 2 running" in watch.screen(), 30)
    first = [address.device for address, _, given_, _ in rollouts.devices(one) if given_]
    said(engine, first[0], 1, "old 1", "failed", failed_bundle="new 2")
    rollouts.step()
    until(lambda: "aborted: 1 of 2 devices failed in stage 1, more than 2.0%" in watch.screen())
    code, told = watch.end()
    assert (code, told["state"], told["failed"]) == (1, "aborted", 1)


def rolled_out(hub: HubProcess, plan: dict[str, Any]) -> str:
    httpx.put(f"{hub.url}/bundles/{plan['bundle']}", json={}).raise_for_status()
    answer = httpx.post(f"{hub.url}/rollouts", json=plan, timeout=20.0)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.slow
def test_a_canary_stops_a_bad_bundle_and_nobody_else_ever_ran_it(
    broker: Broker, hub: HubProcess
) -> None:
    bad: set[Address] = set()
    fleet = FleetSimulator(
        200,
        broker.host,
        broker.port,
        Manners(events_per_min=0.0, offline_per_h=0.0, telemetry_s=60.0, fetch_s=2.0),
        is_bad=lambda address, _: address in bad,
        bundle="old 1",
    )
    fleet.start()
    until(lambda: fleet.state.up == 200, 90)
    until(lambda: len(hub.get("/devices", limit=1000)) == 200, 60)
    plan = {"bundle": "new 2", "stages": ["10", "50%", "100%"], "soak_s": 0.0}
    one = rolled_out(hub, plan)
    canary = {
        Address(row["site"], row["device"])
        for row in hub.get(f"/rollouts/{one}/devices")
        if row["stage"] == 1
    }
    everybody = [device.address for device in fleet.devices]
    bad |= set(random.Random(3).sample(everybody, 19)) | {min(canary)}
    until(lambda: hub.get(f"/rollouts/{one}")["state"] == "aborted", 60)
    until(lambda: all(device.bundle == "old 1" for device in fleet.devices), 60)
    time.sleep(1.0)
    assert "more than 2.0%" in hub.get(f"/rollouts/{one}")["reason"]
    assert len(canary) == 10
    assert fleet.ran["new 2"] <= canary
    until(
        lambda: all(row["bundle"] == "old 1" for row in hub.get("/devices", limit=1000)),
        30,
    )
    fleet.stop()


@pytest.mark.slow
def test_a_good_bundle_reaches_all_and_those_who_were_away_when_they_return(
    broker: Broker, hub: HubProcess
) -> None:
    fleet = FleetSimulator(12, broker.host, broker.port, QUIET, bundle="old 1")
    away = {device.address for device in fleet.devices[:3]}
    fleet.start()
    until(lambda: fleet.state.up == 12, 30)
    until(lambda: len(hub.get("/devices", limit=1000)) == 12, 30)
    for device in fleet.devices[:3]:
        fleet.hold_offline(device)
    until(lambda: sum(row["online"] for row in hub.get("/devices", limit=1000)) == 9, 30)
    plan = {"bundle": "new 2", "stages": ["2", "50%", "100%"], "soak_s": 0.2}
    one = rolled_out(hub, plan)
    until(lambda: hub.get(f"/rollouts/{one}")["state"] == "done", 60)
    assert {device.bundle for device in fleet.devices if device.address in away} == {"old 1"}
    for device in fleet.devices[:3]:
        fleet.let_go(device)
    until(lambda: hub.get(f"/rollouts/{one}")["ok"] == 12, 60)
    assert {device.bundle for device in fleet.devices} == {"new 2"}
    fleet.stop()


def entries_at(hub: HubProcess) -> int:
    """Count the entries that a hub has, of all devices, each once."""
    seen, after = set(), 0
    while page := hub.get("/events", after=after, limit=1000):
        seen |= {(row["device"], row["entry"]["sequence"]) for row in page}
        after = page[-1]["number"]
    return len(seen)


@pytest.mark.slow
def test_a_fleet_with_bursts_and_offline_spells_loses_nothing(
    broker: Broker, hub: HubProcess
) -> None:
    manners = Manners(events_per_min=120.0, burst=0.2, offline_per_h=200.0, offline_s=1.0)
    fleet = FleetSimulator(30, broker.host, broker.port, manners)
    fleet.start()
    time.sleep(10.0)
    fleet.book_no_more()
    until(lambda: fleet.state.waiting == 0 and fleet.state.booked > 300, 60)
    booked = fleet.state.booked
    fleet.stop()
    assert entries_at(hub) == booked


@pytest.mark.slow
def test_a_broker_that_falls_under_a_fleet_loses_nothing(broker: Broker, hub: HubProcess) -> None:
    """All its lines close at once, and each socket's number is soon another device's."""
    manners = Manners(events_per_min=120.0, burst=0.2, offline_per_h=600.0, offline_s=0.5)
    fleet = FleetSimulator(80, broker.host, broker.port, manners)
    fleet.start()
    for _ in range(3):
        time.sleep(3.0)
        broker.kill()
        broker.start()
    fleet.book_no_more()
    until(lambda: fleet.state.waiting == 0 and fleet.state.booked > 300, 60)
    booked = fleet.state.booked
    fleet.stop()
    assert entries_at(hub) == booked
