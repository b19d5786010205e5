"""A whole store on one machine: broker, hub, appliance and page, gone when it is closed.

`shelfgate demo` runs it on a clip, or on a store that `shelfgate simulate` has drawn, whose entry
gate it plays: sessions open and close by the appliance's own commands, as in `sessions.jsonl`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from cloud_sync.broker import Broker
from edge.appliance import Appliance
from edge.config import (
    BundleSettings,
    CameraSettings,
    Config,
    DeviceSettings,
    StatusSettings,
    SyncSettings,
)
from edge.status.server import PageError
from edge.zones import load_zones, zones_for

SHELFGATE = [sys.executable, "-c", "from edge.cli import main; main()"]
PAGE_PORT = 8080
ANSWER_S = 20.0


class DemoError(Exception):
    """The demo cannot go on; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A shopper's visit in stream time; close_s is None for one that lasts to the end."""

    session: str
    open_s: float
    close_s: float | None


@dataclass(frozen=True, slots=True)
class Scene:
    """What is played: cameras, the bundle that knows the goods (None: the default), the visits."""

    cameras: tuple[CameraSettings, ...]
    bundle: Path | None
    visits: tuple[Visit, ...]


def clip_scene(clip: str) -> Scene:
    """Return the scene of one clip or camera, with one shopper from beginning to end."""
    return Scene((CameraSettings("clip", clip),), None, (Visit("shopper-1", 0.0, None),))


def simulate(folder: Path, seconds: float, cameras: int = 2) -> Path:
    """Draw a store of so many seconds under folder; return where. Raises DemoError."""
    store = folder / "store"
    minutes = f"{max(6.0, seconds) / 60:.4f}"
    arguments = ["simulate", "--out", str(store), "--minutes", minutes, "--seed", "3"]
    arguments += ["--shoppers", str(max(1, round(seconds / 15))), "--cameras", str(cameras)]
    _do(*arguments)
    return store


def enrol(folder: Path, store: Path) -> Path:
    """Make the drawn store's products known; return the bundle. Raises DemoError."""
    bundle = folder / "bundle"
    arguments = ["models", "enrol", "--fresh", "--json", "--out", str(bundle)]
    arguments += ["--catalogue", str(store / "catalog.csv"), "--pictures", str(store / "products")]
    _do(*arguments)
    return bundle


def simulated_scene(store: Path, bundle: Path) -> Scene:
    """Return the scene of a drawn store."""
    zones = load_zones(store / "zones.json")
    cameras = tuple(
        CameraSettings(clip.stem, str(clip), zones=zones_for(zones, clip.stem))
        for clip in sorted(store.glob("*.mp4"))
    )
    lines = (store / "sessions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    visits = tuple(Visit(row["session"], row["open_s"], row["close_s"]) for row in rows)
    return Scene(cameras, bundle, visits)


class DemoStore:
    """The running store; a context manager.

    folder: for its state. Raises BrokerError, DemoError and what `Appliance` raises.
    """

    def __init__(self, scene: Scene, folder: Path) -> None:
        self._scene = scene
        self._folder = folder
        self._parts = ExitStack()
        self._to_open = sorted(scene.visits, key=lambda visit: visit.open_s)
        self._inside: list[Visit] = []

    def __enter__(self) -> DemoStore:
        """Start everything."""
        try:
            self._start()
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self._parts.close()

    def _start(self) -> None:
        broker = self._parts.enter_context(Broker())
        self.hub_url = self._start_hub(broker.port)
        config = Config(
            device=DeviceSettings("box-1", "demo-store", self._folder / "state"),
            bundle=BundleSettings(self._scene.bundle),
            cameras=self._scene.cameras,
            sync=SyncSettings(True, broker.host, broker.port),
            status=StatusSettings(port=PAGE_PORT),
        )
        try:
            self.appliance = Appliance(config)
        except PageError:
            # Somebody has the usual port: any other will do.
            self.appliance = Appliance(replace(config, status=StatusSettings(port=0)))
        self._parts.callback(self.appliance.stop)
        for visit in [one for one in self._to_open if one.open_s <= 0.0]:
            self._let_in(visit)
        self.appliance.start()
        self.page_url = self.appliance.page.url

    def _start_hub(self, broker_port: int) -> str:
        log = self._parts.enter_context((self._folder / "hub.log").open("ab"))
        arguments = ["hub", "serve", "--migrate", "--open", "--json", "--port", "0"]
        arguments += ["--database", str(self._folder / "hub.db"), "--broker-port", str(broker_port)]
        arguments += ["--evidence", str(self._folder / "hub-evidence")]
        process = subprocess.Popen(
            [*SHELFGATE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        self._parts.callback(_end, process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            last = (self._folder / "hub.log").read_text(errors="replace").strip().splitlines()
            raise DemoError(f"the hub did not start: {last[-1] if last else 'it said nothing'}")
        return str(json.loads(line)["api"])

    @property
    def stream_s(self) -> float:
        """How far the cameras are, in stream time."""
        return max(worker.progress.time_s for worker in self.appliance.cameras)

    def play_gate(self) -> None:
        """Let in and out whoever's time it is."""
        now = self.stream_s
        for visit in [one for one in self._to_open if one.open_s <= now]:
            self._let_in(visit)
        for visit in [one for one in self._inside if one.close_s is not None]:
            if visit.close_s is not None and visit.close_s <= now:
                self._let_out(visit)

    def let_all_out(self) -> None:
        """Everybody leaves."""
        for visit in list(self._inside):
            self._let_out(visit)

    def receipts(self) -> list[dict[str, Any]]:
        """Return the receipts as the hub has them, in the order the shoppers left."""
        answer = _asked(f"{self.hub_url}/receipts?limit=1000")
        return list(reversed(answer))

    def _let_in(self, visit: Visit) -> None:
        self._to_open.remove(visit)
        self._inside.append(visit)
        self.appliance.storefront.open_session(visit.session)

    def _let_out(self, visit: Visit) -> None:
        self._inside.remove(visit)
        self.appliance.storefront.close_session(visit.session)


def _asked(url: str) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)
            return found
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise DemoError(f"the hub does not answer: {error}") from error


def _do(*arguments: str) -> None:
    """Run another of our commands to its end. Raises DemoError with the last line it said."""
    process = subprocess.Popen(
        [*SHELFGATE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        _, said = process.communicate()
    finally:
        _end(process)
    if process.returncode != 0:
        lines: Sequence[str] = said.strip().splitlines() or ["it said nothing"]
        raise DemoError(f"`shelfgate {arguments[0]}` failed: {lines[-1]}")


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
