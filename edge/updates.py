"""Put together what brings new bundles from the hub to this box.

Called by the appliance: `open_slots` before anything is opened, for it says which bundle to open,
and `updates` once there is something that decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from cloud_sync.device.bundle_line import BundleLine
from cloud_sync.device.installer import Installer
from cloud_sync.device.probation import Limits
from cloud_sync.device.shadow import Shadow
from cloud_sync.device.slots import Slots, begin
from cloud_sync.mqtt import Certificates
from cloud_sync.topics import Address
from edge.bundle_trial import Trial
from edge.config import Config
from edge.embed import Recogniser
from edge.runtime import RuntimeUnavailable
from edge.serving import Serving
from models.bundle import Bundle, BundleError, load_bundle

log = logging.getLogger(__name__)


def open_slots(config: Config) -> Slots | None:
    """Open the slots, and go back where the bundle on probation has brought the box down.

    None where no bundles are taken from the hub. Raises BundleError where they cannot be opened.
    """
    if config.bundle.root is None:
        return None
    try:
        slots = Slots(config.device.state_dir / "bundles", load_bundle)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BundleError(f"{config.device.state_dir / 'bundles'}: {reason}") from error
    try:
        begin(slots, _limits(config))
    except OSError as error:  # a full disk is no reason to stand still
        log.error("the state of the bundles cannot be written: %s", error)
    return slots


def first_recogniser(slots: Slots | None, packaged: Bundle, runtime: str) -> Recogniser:
    """Open the bundle to begin with: the slot's, where that cannot be the one before, ... packaged.

    Raises BundleError or RuntimeUnavailable where not even the packaged one can be opened.
    """
    while True:
        chosen = None if slots is None else slots.current
        try:
            bundle = load_bundle(chosen) if chosen else packaged
            return Recogniser(bundle, runtime=runtime)
        except (BundleError, RuntimeUnavailable) as error:
            if slots is None or chosen is None:
                raise
            try:
                slots.pass_over(f"cannot be opened: {error}")
            except OSError as full:
                reason = (full.strerror or str(full)).lower()
                raise BundleError(f"{slots.folder}: {reason}") from full


def updates(
    config: Config,
    slots: Slots,
    packaged: Path,
    serving: Serving,
    trial: Trial,
    shadow: Shadow,
    *,
    is_busy: Callable[[], bool],
    certificates: Certificates | None,
) -> Installer:
    """Make the installer; it is not started yet. Raises BundleError where root cannot be read."""
    assert config.bundle.root is not None
    try:
        root = config.bundle.root.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BundleError(f"{config.bundle.root}: {reason}") from error
    line = BundleLine(
        Address(config.device.site, config.device.id),
        config.sync.host,
        config.sync.port,
        certificates,
    )
    return Installer(
        slots,
        shadow,
        line,
        root,
        packaged,
        serving,
        name_of,
        trial,
        prepare=trial.prepare,
        is_busy=is_busy,
        limits=_limits(config),
        bytes_per_s=config.bundle.rate_mb_s * 1e6 or None,
    )


def name_of(folder: Path) -> tuple[str, int]:
    """Verify a bundle's every file; give its name and version. Raises BundleError."""
    bundle = load_bundle(folder)
    return bundle.bundle_id, bundle.version


def _limits(config: Config) -> Limits:
    return Limits(seconds=config.bundle.probation_s, decisions=config.bundle.probation_items)
