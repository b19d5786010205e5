"""The appliance's configuration: one typed tree, read from one TOML file.

Every value has a default that works; what a file says wrongly is refused with the file, the line
and the key. `docs/edge.example.toml` describes every key. Relative paths in a file are relative to
that file's folder. The commands read the tree and hand each stage the few numbers it asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cloud_sync.state_folder import state_folder
from edge.settings import ConfigError, Table, read_toml
from edge.zones import Zone, ZoneError, polygon_of

__all__ = ["Config", "ConfigError", "default", "load"]

_RUNTIME = {"choices": ("openvino", "onnxruntime")}
_NAME = {"pattern": r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"}


def _at_least(minimum: float, maximum: float | None = None) -> dict[str, Any]:
    return {"minimum": minimum, "maximum": maximum}


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """Who this box is; state_dir holds its ledger, evidence and bundles."""

    id: str = field(default="box-1", metadata=_NAME)
    site: str = field(default="store-1", metadata=_NAME)
    state_dir: Path = field(default_factory=partial(state_folder, "shelfgate"))


@dataclass(frozen=True, slots=True)
class BundleSettings:
    """The bundle to run, and how others are taken from the hub.

    path: where no bundle came from the hub; None: the one that ships with the product.
    root: the hub's root.json, by which its bundles are verified; None: none is taken.
    rate_mb_s: megabytes a second that are fetched at most, 0: as fast as it goes.
    probation_s, probation_items: a new bundle is kept after running so long and deciding so many.
    """

    path: Path | None = None
    root: Path | None = None
    rate_mb_s: float = field(default=0.0, metadata=_at_least(0.0))
    probation_s: float = field(default=600.0, metadata=_at_least(0.0))
    probation_items: int = field(default=20, metadata=_at_least(0))


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """One camera.

    source: a recording's path, a device ("0", "/dev/video0") or an rtsp:// or http(s):// address.
    pace: "real" plays a recording at its own speed, "fast" as fast as it is processed.
    zones: empty: the whole frame is one zone.
    """

    id: str = field(metadata=_NAME)
    source: str
    pace: str = field(default="real", metadata={"choices": ("real", "fast")})
    zones: tuple[Zone, ...] = ()


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """The motion gate.

    width: the small picture's width in pixels. sensitivity: grey levels by which a pixel must
    change to count as moving. min_pixels: how many of them make the picture active.
    """

    width: int = field(default=480, metadata=_at_least(32, 1920))
    sensitivity: float = field(default=8.0, metadata=_at_least(1.0, 100.0))
    min_pixels: int = field(default=30, metadata=_at_least(1))


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """The detector: its network, what that runs on, how often it looks, what it believes.

    name: of a network that ships. path: folder of one of your own, in place of it.
    """

    name: str = field(default="yolox_nano", metadata=_NAME)
    path: Path | None = None
    enabled: bool = True
    runtime: str = field(default="openvino", metadata=_RUNTIME)
    interval_s: float = field(default=0.2, metadata=_at_least(0.0, 60.0))
    min_score: float = field(default=0.3, metadata=_at_least(0.0, 1.0))

    @property
    def network(self) -> str:
        """What `load_detector` opens."""
        return str(self.path or self.name)


@dataclass(frozen=True, slots=True)
class ShelfSettings:
    """The shelf logic.

    settle_s: for how long a zone must lie still before it is compared with what it was.
    sensitivity: grey levels by which a place must differ to have changed. min_item, max_item:
    smallest and largest item, as shares of the picture's area.
    """

    settle_s: float = field(default=0.3, metadata=_at_least(0.05, 10.0))
    sensitivity: float = field(default=11.0, metadata=_at_least(1.0, 100.0))
    min_item: float = field(default=0.002, metadata=_at_least(0.0, 1.0))
    max_item: float = field(default=0.2, metadata=_at_least(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the recognition networks run on."""

    runtime: str = field(default="openvino", metadata=_RUNTIME)


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """The MQTT broker by which the hub is reached.

    tls_dir: a folder with ca.pem, device.pem and device.key, as `shelfgate enrol` writes it; None
    for a line in the clear.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = field(default=1883, metadata=_at_least(1, 65535))
    tls_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class StatusSettings:
    """The status page; port 0 takes any free port."""

    host: str = "127.0.0.1"
    port: int = field(default=8080, metadata=_at_least(0, 65535))


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """The ledger.

    min_free_mb: with less disk space than this, nothing but the ledger itself is written.
    """

    min_free_mb: int = field(default=50, metadata=_at_least(0))


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """For how long pictures of events are kept, and how much of the disk they may take.

    keep_days: older ones go. max_share: of the disk that state_dir is on; beyond it the oldest go.
    What waits for a person, is in an open cart or not sent yet stays, however old, and goes only
    where there is nothing else that could: what is not sent first, what waits for a person last.
    """

    keep_days: float = field(default=30.0, metadata=_at_least(0.01, 36_500.0))
    max_share: float = field(default=0.2, metadata=_at_least(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Config:
    """The whole tree."""

    device: DeviceSettings = field(default_factory=DeviceSettings)
    bundle: BundleSettings = field(default_factory=BundleSettings)
    cameras: tuple[CameraSettings, ...] = ()
    motion: MotionSettings = field(default_factory=MotionSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    shelf: ShelfSettings = field(default_factory=ShelfSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    sync: SyncSettings = field(default_factory=SyncSettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)


_SECTIONS = {
    "device": DeviceSettings,
    "bundle": BundleSettings,
    "motion": MotionSettings,
    "detector": DetectorSettings,
    "shelf": ShelfSettings,
    "gate": GateSettings,
    "sync": SyncSettings,
    "status": StatusSettings,
    "ledger": LedgerSettings,
    "evidence": EvidenceSettings,
}


def default() -> Config:
    """Return the configuration without a file: no camera, everything else at its default."""
    return Config()


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises ConfigError with the file, the line and the key, and what to do.
    """
    root = read_toml(path)
    root.refuse_unknown((*_SECTIONS, "camera"), "section")
    sections = {name: root.table(name).read(cls) for name, cls in _SECTIONS.items()}
    return Config(cameras=_cameras(root), **sections)


def _cameras(root: Table) -> tuple[CameraSettings, ...]:
    tables = root.tables("camera")
    cameras = tuple(_camera(table) for table in tables)
    seen: set[str] = set()
    for camera, table in zip(cameras, tables, strict=True):
        if camera.id in seen:
            raise table.error(f"two cameras have the id {camera.id!r}", "id")
        seen.add(camera.id)
    return cameras


def _camera(table: Table) -> CameraSettings:
    camera = table.read(CameraSettings, by_hand=("zones", "source"))
    tables = table.tables("zones")
    zones = tuple(_zone(zone) for zone in tables)
    seen: set[str] = set()
    for zone, zone_table in zip(zones, tables, strict=True):
        if zone.id in seen:
            raise zone_table.error(f"camera {camera['id']!r} has two zones {zone.id!r}", "id")
        seen.add(zone.id)
    return CameraSettings(zones=zones, source=_source(table), **camera)


def _zone(table: Table) -> Zone:
    table.refuse_unknown(("id", "polygon", "groups"))
    zone_id = table.scalar("id", str, _NAME)
    groups = table.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise table.error(f"zone {zone_id!r}: a list of category groups' names expected", "groups")
    try:
        corners = polygon_of(table.get("polygon"))
    except ZoneError as error:
        raise table.error(f"zone {zone_id!r}: {error}", "polygon") from error
    return Zone(zone_id, corners, tuple(groups))


def _source(table: Table) -> str:
    """Return where a camera's pictures come from, a recording with its full path."""
    source: str = table.scalar("source", str, {})
    if not source.strip():
        raise table.error("is empty: a file, a device number or an rtsp/http address", "source")
    if source.isdigit() or "://" in source:
        return source
    return str(table.folder / source)
