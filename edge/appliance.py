"""The appliance: all its parts, put together, started and stopped.

Reads like the picture in the design: a source, a pipeline and a thread for each camera; one
bookkeeper between them and the ledger; an agent that carries the ledger to the hub; a page that
shows it all. Everything it keeps lies in one folder, which one appliance at a time may use.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

from cloud_sync.device.agent import Agent
from cloud_sync.device.installer import Installer
from cloud_sync.device.renewal import Renewal
from cloud_sync.device.shadow import Shadow
from cloud_sync.device.slots import Slots
from cloud_sync.kept_count import KeptCount
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import Address
from edge import pipeline
from edge.bookkeeper import Bookkeeper
from edge.bundle_trial import Trial
from edge.camera_worker import CameraWorker
from edge.capture import at_hand, open_source
from edge.config import Config, SyncSettings
from edge.evidence import EvidenceFolder
from edge.ledger import Ledger
from edge.retention import Retention
from edge.serving import Serving
from edge.source import Source
from edge.status.server import StatusServer
from edge.storefront import Identity, Storefront
from edge.updates import first_recogniser, open_slots, updates
from edge.zones import check_inside
from models.bundle import DEFAULT_BUNDLE, Bundle, load_bundle

POLL_S = 0.1


class ApplianceError(Exception):
    """The appliance cannot start; the message says why and what to do, in one line."""


class Appliance:
    """One box.

    Making it opens everything that can be wrong; `start` sets it going, `stop` ends it in good
    order: cameras first, then what they left to book, then the link, the page and the ledger.
    Raises ApplianceError, BundleError, CaptureError, LedgerError, PageError, RuntimeUnavailable or
    ZoneError, with everything that was opened closed again.
    """

    def __init__(self, config: Config) -> None:
        if not config.cameras:
            raise ApplianceError("no camera is configured: add a [[camera]] with id and source")
        self._parts = ExitStack()
        try:
            self._open(config)
        except BaseException:
            self._parts.close()
            raise

    def _open(self, config: Config) -> None:
        packaged = config.bundle.path or DEFAULT_BUNDLE
        # Whatever else runs, this has to be there to go back to.
        fallback = load_bundle(packaged)
        sources = []
        for camera in config.cameras:
            sources.append(open_source(camera))
            self._parts.callback(sources[-1].stop)
            width, height = sources[-1].health.size
            if width and height:
                check_inside(camera.zones, width, height)
        self._parts.callback(_lock(config.device.state_dir).close)
        slots, runtime = open_slots(config), config.gate.runtime
        serving = Serving(packaged, first_recogniser(slots, fallback, runtime), runtime)
        self._open_stages(config, sources, serving)
        self.agent = self._agent(config, serving) if config.sync.enabled else None
        self.storefront.link = self.agent
        self.storefront.retention = self.retention
        serving.when_served = self._use
        self.installer = None
        if slots is not None and self.agent is not None:
            self.installer = self._updates(config, slots, packaged, serving, self.agent)
        self.storefront.updates = self.installer
        self.renewal = self._renewal(config)
        self.storefront.renewal = self.renewal

    def _open_stages(self, config: Config, sources: Sequence[Source], serving: Serving) -> None:
        """Open what lies between the cameras and the page: pipelines, ledger, bookkeeper."""
        state_dir, bundle = config.device.state_dir, serving.bundle
        pipelines = [
            pipeline.build(config, at_hand(camera, source), bundle, serving)
            for camera, source in zip(config.cameras, sources, strict=True)
        ]
        timeline = uuid.uuid4().hex
        self.ledger = Ledger(state_dir / "ledger.db", config.device.id, timeline=timeline)
        self._parts.callback(self.ledger.close)
        evidence = EvidenceFolder(state_dir / "evidence", config.ledger.min_free_mb)
        self.retention = self._retention(config)
        self.bookkeeper = Bookkeeper(self.ledger, evidence, bundle, time.time)
        self.cameras = tuple(
            CameraWorker(source, stages, self.bookkeeper.submit)
            for source, stages in zip(sources, pipelines, strict=True)
        )
        hub = f"{config.sync.host}:{config.sync.port}"
        self.storefront = Storefront(
            Identity(config.device.id, config.device.site, hub),
            self.cameras,
            self.ledger,
            self.bookkeeper,
            evidence,
            bundle,
        )
        self.page = StatusServer(self.storefront, config.status.host, config.status.port)
        self._parts.callback(self.page.stop)

    def _retention(self, config: Config) -> Retention:
        state_dir = config.device.state_dir
        retention = Retention(
            state_dir / "evidence",
            keep_days=config.evidence.keep_days,
            max_share=config.evidence.max_share,
            # What stops new pictures is met before it is reached.
            spare_mb=2 * config.ledger.min_free_mb,
            need=partial(self.ledger.evidence_need, unsent=config.sync.enabled),
            given_up=KeptCount(state_dir / "evidence.given-up"),
        )
        self._parts.callback(retention.stop)
        return retention

    def _updates(
        self, config: Config, slots: Slots, packaged: Path, serving: Serving, link: Agent
    ) -> Installer:
        trial = Trial(config.gate.runtime)
        self._parts.callback(trial.close)
        installer = updates(
            config,
            slots,
            packaged,
            serving,
            trial,
            self.shadow,
            is_busy=lambda: link.state.waiting > 0,
            certificates=_certificates(config.sync),
        )
        self._parts.callback(installer.stop)
        return installer

    def _renewal(self, config: Config) -> Renewal | None:
        """Make what renews the box's certificate, where it has one."""
        certificates = _certificates(config.sync)
        if not config.sync.enabled or certificates is None:
            return None
        address = Address(config.device.site, config.device.id)
        renewal = Renewal(
            address, config.sync.host, config.sync.port, certificates, self._come_anew
        )
        self._parts.callback(renewal.stop)
        return renewal

    def _come_anew(self) -> None:
        """Have every line to the broker come with the new certificate."""
        for part in (self.agent, self.installer):
            if part is not None:
                part.come_anew()

    def _use(self, bundle: Bundle) -> None:
        self.bookkeeper.use(bundle)
        self.storefront.use(bundle)

    def _agent(self, config: Config, serving: Serving) -> Agent:
        bundle = serving.bundle
        self.shadow = Shadow(config.device.state_dir / "desired.json")
        self.shadow.report(bundle=f"{bundle.bundle_id} {bundle.version}", digest=bundle.digest)
        self.retention.when_given_up = lambda count: self.shadow.report(evidence_dropped=count)
        self.retention.when_given_up(self.retention.given_up.count)
        agent = Agent(
            config.device.state_dir / "ledger.db",
            config.sync.host,
            config.sync.port,
            config.device.id,
            config.device.site,
            self.storefront.obey,
            shadow=self.shadow,
            certificates=_certificates(config.sync),
            bundle=lambda: f"{serving.bundle.bundle_id} {serving.bundle.version}",
        )
        self._parts.callback(agent.stop)
        return agent

    def start(self) -> None:
        """Set everything going. Raises PageError where the page does not come up."""
        try:
            self.page.start()
            if self.agent is not None:
                self.agent.start()
            if self.installer is not None:
                self.installer.start()
            if self.renewal is not None:
                self.renewal.start()
            self.bookkeeper.start()
            self.retention.start()
            self._parts.callback(self._stop_cameras)
            for camera in self.cameras:
                camera.start()
        except BaseException:
            self._parts.close()
            raise

    def stop(self) -> None:
        """End everything; what the cameras have handed in is booked first."""
        self._parts.close()

    @property
    def done(self) -> bool:
        """Whether every camera was a recording that has ended, and all of it is booked."""
        return all(camera.done for camera in self.cameras) and self.bookkeeper.idle

    @property
    def well(self) -> bool:
        """Whether the parts that nothing works without are running: the bookkeeper and the page.

        A camera that is dead or has stopped is for a person to see to, not for a new start.
        """
        return self.bookkeeper.alive and self.page.failure is None

    def finish_cameras(self) -> None:
        """End the cameras and book what they handed in; page, ledger and link go on."""
        self._stop_cameras()

    def wait_until_synced(self, within_s: float) -> bool:
        """Wait for the hub to have everything; return whether it does."""
        end = time.monotonic() + within_s
        while self.ledger.waiting():
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)
        return True

    def _stop_cameras(self) -> None:
        for camera in self.cameras:
            camera.ask_to_stop()
        with ThreadPoolExecutor(len(self.cameras)) as pool:
            list(pool.map(lambda camera: camera.stop(), self.cameras))
        self.bookkeeper.stop()


def _certificates(sync: SyncSettings) -> Certificates | None:
    """Give what the line needs for TLS. Raises ApplianceError where a file cannot be used."""
    folder = sync.tls_dir
    if folder is None:
        return None
    certificates = Certificates(folder / "ca.pem", folder / "device.pem", folder / "device.key")
    try:
        certificates.context()
    except OSError as error:
        raise ApplianceError(
            f"{folder}: no certificate that can be used: {error.strerror or error}: shelfgate enrol"
        ) from error
    return certificates


def _lock(state_dir: Path) -> IO[str]:
    """Take the state folder for this process. Raises ApplianceError."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("a")
    except OSError as error:
        raise _unusable(state_dir, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ApplianceError(
            f"{state_dir}: another appliance is running on this state_dir; stop it first"
        ) from error
    try:
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
    except OSError as error:
        raise _unusable(state_dir, error) from error
    return lock


def _unusable(state_dir: Path, error: OSError) -> ApplianceError:
    reason = (error.strerror or str(error)).lower()
    return ApplianceError(f"{state_dir}: cannot be used as state_dir: {reason}")
