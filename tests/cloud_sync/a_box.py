"""A box that takes bundles: real slots, line, trial, networks and page, without cameras."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cloud_sync.device.agent import Agent
from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.bundle_status import Status
from cloud_sync.device.installer import Installer
from cloud_sync.device.probation import Limits
from cloud_sync.device.shadow import Shadow
from cloud_sync.device.slots import Slots, begin
from cloud_sync.hub.assign import assign, reported
from cloud_sync.hub.command_options import BrokerLine
from cloud_sync.messages import Reply, Reported
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import Address
from edge.bookkeeper import Bookkeeper
from edge.bundle_trial import Trial
from edge.embed import Recogniser
from edge.evidence import EvidenceFolder
from edge.ledger import Ledger
from edge.serving import Serving
from edge.status.server import StatusServer
from edge.storefront import Identity, Storefront
from edge.updates import name_of
from models.bundle import load_bundle
from models.selftest import CROPS, drawn
from tests.cloud_sync.a_device import until

SITE = "store-1"
QUICK = Limits(seconds=0.0, decisions=CROPS, early=CROPS, slower=20.0, slack_ms=1_000.0)
"""A probation that ends once every product has been seen; the machine of a test may be busy."""


class Box:
    """A box at a broker; `decide` has it look at a product, as a camera would.

    certificates: the box's own; hub: where the hub is at the broker, as the box is without TLS.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        root: bytes,
        packaged: Path,
        *,
        name: str = "box-1",
        limits: Limits = QUICK,
        trial: Callable[[Path], float] | None = None,
        boot: str = "one boot",
        certificates: Certificates | None = None,
        hub: BrokerLine | None = None,
        **options: Any,
    ) -> None:
        self.address = Address(SITE, name)
        self.hub = hub or BrokerLine("127.0.0.1", port, None)
        self._folder = folder
        self.slots = Slots(folder / "bundles", load_bundle)
        begin(self.slots, limits, boot)
        first = load_bundle(self.slots.current or packaged)
        recogniser = Recogniser(first, runtime="openvino", threads=1)
        self.serving = Serving(packaged, recogniser, "openvino")
        self.line = BundleLine(self.address, "127.0.0.1", port, certificates)
        self.ledger = Ledger(folder / "ledger.db", name)
        self.shadow = Shadow(folder / "desired.json")
        self.agent = Agent(
            folder / "ledger.db", "127.0.0.1", port, name, SITE, lambda _: Reply(ok=True),
            shadow=self.shadow, certificates=certificates,
        )  # fmt: skip
        self.trial = Trial("openvino")
        self.installer = Installer(
            self.slots,
            self.shadow,
            self.line,
            root,
            packaged,
            self.serving,
            name_of,
            trial or self.trial,
            prepare=self.trial.prepare if trial is None else lambda: None,
            limits=limits,
            **{"again_s": 0.5, **options},
        )
        self.agent.start()
        self.installer.start()

    @property
    def running(self) -> tuple[str, int]:
        """The bundle that decides."""
        return self.serving.bundle.bundle_id, self.serving.bundle.version

    @property
    def status(self) -> Status:
        return self.installer.status

    @cached_property
    def page(self) -> StatusServer:
        """Its status page, which is up from when it is first asked for."""
        bundle, evidence = self.serving.bundle, EvidenceFolder(self._folder / "evidence", 0)
        bookkeeper = Bookkeeper(self.ledger, evidence, bundle, time.time)
        identity = Identity(
            self.address.device, self.address.site, f"{self.hub.host}:{self.hub.port}"
        )
        shop = Storefront(identity, (), self.ledger, bookkeeper, evidence, bundle)
        shop.link, shop.updates = self.agent, self.installer
        self.serving.when_served = shop.use
        page = StatusServer(shop, port=0)
        page.start()
        return page

    def want(self, version: int, bundle: str = "drinks") -> None:
        """The hub tells it what to run."""
        assign(self.hub, [self.address], bundle, version)

    def decide(self, times: int = CROPS) -> list[str | None]:
        """Look at the self-test's products, in turn."""
        crops = [drawn(number % CROPS) for number in range(times)]
        return [self.serving.decide([np.asarray(crop, np.uint8)]).sku for crop in crops]

    def comes_to(self, phase: str, version: int, within_s: float = 90.0) -> Status:
        """Wait until the wanted version is in a phase."""
        until(lambda: self._is_at(phase, version), within_s)
        return self.status

    def refuses(self, version: int, within_s: float = 90.0) -> str:
        """Wait for a refusal; return its reason."""
        return self.comes_to("refused", version, within_s).reason

    def _is_at(self, phase: str, version: int) -> bool:
        status = self.status
        return status.phase == phase and (status.bundle or "").endswith(f" {version}")

    def at_hub(self) -> Reported:
        """What the broker has of it for the hub."""
        return reported(self.hub, 0.4).get(self.address, Reported())

    def stop(self) -> None:
        if "page" in vars(self):
            self.page.stop()
        self.installer.stop()
        self.trial.close()
        self.agent.stop()
        self.ledger.close()


def want(port: int, address: Address, version: int, bundle: str = "drinks") -> None:
    """The hub tells a box what to run."""
    assign(BrokerLine("127.0.0.1", port, None), [address], bundle, version)


def at_hub(port: int, address: Address, quiet_s: float = 0.4) -> Reported:
    """What the broker has of a box for the hub; an empty word where it has none."""
    return reported(BrokerLine("127.0.0.1", port, None), quiet_s).get(address, Reported())


def settle(seconds: float) -> None:
    """Let the box go on for a while, to see that nothing more happens."""
    time.sleep(seconds)
