"""Look over a box: what shelfgate needs, what is there, and what to do about the rest.

Each check looks at one thing, never raises for what it finds, and gives a `Finding`. Called by
`shelfgate doctor`.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cloud_sync.certificate import WARN_AT, CertificateError, lifetime, read_certificate
from edge.capture import CaptureError, LiveSource, Recording
from edge.config import CameraSettings, Config
from edge.source import State, is_recording, without_password
from edge.zones import ZoneError, check_inside

OLDEST_PYTHON = (3, 11)
RELEASED_S = 1_760_000_000
"""When this was written, in seconds since 1970: no clock that is right is earlier."""
CAMERA_ANSWERS_S = 8.0
HUB_PACKAGES = ("alembic", "fastapi", "psycopg", "sqlalchemy")
UNKNOWN = "of unknown version"


class Outcome(StrEnum):
    """A warning is something the box runs without."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and, unless all is well, what to do."""

    check: str
    outcome: Outcome
    found: str
    advice: str = ""


Check = Callable[[], Finding]


def checks(config: Config) -> Iterator[tuple[str, Check]]:
    """Give every check for a configuration, with its name, in the order they are worth reading."""
    yield "python", check_python
    yield "opencv", check_opencv
    runtimes = {config.gate.runtime}
    if config.detector.enabled:
        runtimes.add(config.detector.runtime)
    yield "openvino", partial(check_openvino, "openvino" in runtimes)
    yield "onnxruntime", partial(check_onnxruntime, "onnxruntime" in runtimes)
    yield "bundle", partial(check_bundle, config.bundle.path, config.gate.runtime)
    if config.detector.enabled:
        yield "detector", partial(check_detector, config.detector.network, config.detector.runtime)
    yield "state folder", partial(check_state, config.device.state_dir)
    yield "disk space", partial(check_disk, config.device.state_dir, config.ledger.min_free_mb)
    yield "ledger", partial(check_ledger, config.device.state_dir)
    if config.sync.enabled and config.sync.tls_dir is not None:
        yield "certificate", partial(check_certificate, config.sync.tls_dir)
    yield "clock", check_clock
    yield "mosquitto", check_mosquitto
    yield "hub", check_hub
    for camera in config.cameras:
        yield f"camera {camera.id}", partial(check_camera, camera)


def check_python() -> Finding:
    """The interpreter is new enough."""
    found = f"Python {platform.python_version()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", Outcome.FAILED, found, "install Python 3.11 or newer")
    return Finding("python", Outcome.OK, found)


def check_opencv() -> Finding:
    """OpenCV is there and decodes a video: it writes one of ten frames and reads it back."""
    name = "opencv"
    try:
        import cv2
        import numpy as np
    except ImportError as error:
        return Finding(name, Outcome.FAILED, str(error), "apt-get install libgl1 libglib2.0-0")
    with tempfile.TemporaryDirectory(prefix="shelfgate-doctor-") as folder:
        path = Path(folder) / "clip.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
        for level in range(10):
            writer.write(np.full((48, 64, 3), 20 * level, np.uint8))
        writer.release()
        try:
            frames = sum(1 for _ in Recording(path, "doctor"))
        except CaptureError:
            frames = 0
    found = f"OpenCV {cv2.__version__}, {frames} of 10 frames decoded"
    if frames != 10:
        advice = "reinstall it with its decoder: pip install --force-reinstall opencv-python"
        return Finding(name, Outcome.FAILED, found, advice)
    return Finding(name, Outcome.OK, found)


def check_openvino(needed: bool = True) -> Finding:
    """OpenVINO is there and has a device; only a warning where everything runs on the other."""
    name = "openvino"
    outcome = Outcome.FAILED if needed else Outcome.WARNING
    other = 'set [gate] runtime and [detector] runtime to "onnxruntime"'
    try:
        import openvino

        core = openvino.Core()
        devices = [
            f"{key} ({core.get_property(key, 'FULL_DEVICE_NAME')})"
            for key in core.available_devices
        ]
    except (ImportError, RuntimeError) as error:
        advice = f"pip install --force-reinstall openvino, or {other}"
        return Finding(name, outcome, str(error).splitlines()[0], advice)
    if not devices:
        return Finding(name, outcome, "no device to compute on", other)
    return Finding(name, Outcome.OK, f"OpenVINO {_version('openvino')}: {', '.join(devices)}")


def check_onnxruntime(needed: bool) -> Finding:
    """ONNX Runtime is there; only a warning where the configuration does not ask for it."""
    name = "onnxruntime"
    try:
        import onnxruntime

        providers = ", ".join(onnxruntime.get_available_providers())
    except ImportError as error:
        outcome = Outcome.FAILED if needed else Outcome.WARNING
        return Finding(name, outcome, str(error), "pip install --force-reinstall onnxruntime")
    return Finding(name, Outcome.OK, f"ONNX Runtime {_version('onnxruntime')}: {providers}")


def check_bundle(path: Path | None, runtime: str) -> Finding:
    """The bundle is whole, and decides its own test crops here as it did where it was made."""
    from edge.embed import Recogniser
    from edge.runtime import RuntimeUnavailable
    from models.bundle import DEFAULT_BUNDLE, BundleError, load_bundle

    try:
        bundle = load_bundle(path or DEFAULT_BUNDLE)
        Recogniser(bundle, runtime).check()
    except BundleError as error:
        advice = "install the bundle again" if path else "install shelfgate again"
        return Finding("bundle", Outcome.FAILED, str(error), advice)
    except RuntimeUnavailable as error:
        advice = 'try the other runtime: [gate] runtime = "openvino" or "onnxruntime"'
        return Finding("bundle", Outcome.FAILED, str(error), advice)
    tests = len(bundle.self_tests)
    found = f"{bundle.bundle_id} version {bundle.version}, {tests} test crops decided as expected"
    return Finding("bundle", Outcome.OK, found)


def check_detector(network: str, runtime: str = "openvino") -> Finding:
    """The detector loads and looks at a picture."""
    import numpy as np

    from edge.detect import load_detector

    started_s = time.perf_counter()
    try:
        load_detector(network, runtime=runtime).detect(np.full((360, 640, 3), 114, np.uint8))
    except Exception as error:
        advice = "set [detector] name to one that ships, or enabled = false to run without"
        return Finding("detector", Outcome.FAILED, str(error).splitlines()[0], advice)
    elapsed_ms = 1000 * (time.perf_counter() - started_s)
    return Finding("detector", Outcome.OK, f"{network} loads and looks within {elapsed_ms:.0f} ms")


def check_state(folder: Path) -> Finding:
    """The state folder can be written to, or made; nothing is left there."""
    name = "state folder"
    existing = _nearest_existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".shelfgate-doctor-"):
            pass
    except OSError as error:
        found = f"{existing}: {(error.strerror or str(error)).lower()}"
        advice = "make it writable for the user shelfgate runs as, or set [device] state_dir"
        return Finding(name, Outcome.FAILED, found, advice)
    will = "" if folder.is_dir() else ", will be made at the first start"
    return Finding(name, Outcome.OK, f"{folder}{will}")


def check_disk(folder: Path, min_free_mb: int) -> Finding:
    """There is room for the ledger and its evidence."""
    free_mb = shutil.disk_usage(_nearest_existing(folder)).free // 1_000_000
    found = f"{free_mb} MB free"
    if free_mb < min_free_mb:
        advice = f"free some: under {min_free_mb} MB no evidence is kept"
        return Finding("disk space", Outcome.FAILED, found, advice)
    if free_mb < 10 * min_free_mb:
        return Finding("disk space", Outcome.WARNING, found, "free some before it runs out")
    return Finding("disk space", Outcome.OK, found)


def check_ledger(folder: Path) -> Finding:
    """The ledger is whole, and how much of it waits; only read, also while a box runs on it."""
    import sqlite3

    import sqlite_utils

    name, path = "ledger", folder / "ledger.db"
    if not path.is_file():
        return Finding(name, Outcome.OK, "none yet, will be made at the first start")
    advice = f"keep {path} aside for its entries, and let the box start a new one"
    # One that nobody has open is read as a file that does not change: nothing is made beside it.
    how = "mode=ro" if path.with_name("ledger.db-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as file:
            tables = sqlite_utils.Database(file)
            (state,) = tables.execute("PRAGMA quick_check(1)").fetchone()
            counts = [tables.table(table).count for table in ("entries", "outbox", "reviews")]
    except sqlite3.Error as error:
        return Finding(name, Outcome.FAILED, f"{path}: {error}", advice)
    if state != "ok":
        return Finding(name, Outcome.FAILED, f"{path}: {state}", advice)
    found = "{} entries, {} of them not sent, {} wait for a person".format(*counts)
    return Finding(name, Outcome.OK, found)


def check_certificate(folder: Path, clock: Callable[[], float] = time.time) -> Finding:
    """The box's certificate for the hub is far from its end, and can be renewed where it lies."""
    name, anew = "certificate", "shelfgate enrol with a new code"
    try:
        held = lifetime(read_certificate((folder / "device.pem").read_bytes()))
    except OSError as error:
        found = f"{folder / 'device.pem'}: {(error.strerror or str(error)).lower()}"
        return Finding(name, Outcome.FAILED, found, anew)
    except CertificateError as error:
        return Finding(name, Outcome.FAILED, f"{folder / 'device.pem'}: {error}", anew)
    left = held.left(clock())
    end = time.strftime("%Y-%m-%d", time.gmtime(held.ends))
    if left <= 0:
        return Finding(name, Outcome.FAILED, f"it ended on {end}", anew)
    if left <= WARN_AT:
        advice = (
            "the box renews it by itself: see its page or log for why not, and whether the hub "
            f"runs with --authority; else {anew}"
        )
        return Finding(name, Outcome.WARNING, f"it ends on {end}", advice)
    if not os.access(folder, os.W_OK):
        advice = f"let the user shelfgate runs as write to {folder}: it is renewed there"
        return Finding(name, Outcome.WARNING, f"until {end}, in a folder that is read-only", advice)
    return Finding(name, Outcome.OK, f"until {end}, renewed by itself before")


def check_clock() -> Finding:
    """The clock is not obviously wrong: receipts carry its time."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time() < RELEASED_S:
        return Finding("clock", Outcome.FAILED, f"it says {now}", "timedatectl set-ntp true")
    return Finding("clock", Outcome.OK, now)


def check_mosquitto() -> Finding:
    """An MQTT broker can be started here; only `demo`, the tests and a store's server need one."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    found = shutil.which("mosquitto", path=path)
    if found is None:
        advice = "for `shelfgate demo`: apt-get install mosquitto"
        return Finding("mosquitto", Outcome.WARNING, "not installed", advice)
    return Finding("mosquitto", Outcome.OK, found)


def check_hub() -> Finding:
    """The hub's packages, with a driver for PostgreSQL; only the hub's machine needs them."""
    name, advice = "hub", "on the hub's machine: pip install 'shelfgate[hub]'"
    missing = [package for package in HUB_PACKAGES if _version(package) == UNKNOWN]
    if len(missing) == len(HUB_PACKAGES):
        return Finding(name, Outcome.OK, "not installed; a box in a store needs none")
    if missing:
        return Finding(name, Outcome.WARNING, f"{', '.join(missing)} is missing", advice)
    found = f"SQLAlchemy {_version('sqlalchemy')}, PostgreSQL by psycopg {_version('psycopg')}"
    return Finding(name, Outcome.OK, found)


def check_camera(camera: CameraSettings) -> Finding:
    """A camera answers with a picture, and its zones lie in it."""
    name = f"camera {camera.id}"
    shown = without_password(camera.source)
    size, message = _first_picture(camera)
    if size is None:
        advice = "check its power, cable and address, and [[camera]] source"
        return Finding(name, Outcome.FAILED, message, advice)
    try:
        check_inside(camera.zones, *size)
    except ZoneError as error:
        return Finding(name, Outcome.FAILED, str(error), "draw its zones anew")
    return Finding(name, Outcome.OK, f"{shown}: {size[0]} x {size[1]} pixels")


def _first_picture(camera: CameraSettings) -> tuple[tuple[int, int] | None, str]:
    """Return the size of a camera's picture, or None and why there is none."""
    if is_recording(camera.source):
        try:
            recording = Recording(camera.source, camera.id)
        except CaptureError as error:
            return None, str(error)
        recording.stop()
        return recording.size, ""
    source = LiveSource(camera.source, camera.id)
    try:
        frame = source.read(CAMERA_ANSWERS_S)
        if frame is not None:
            return (frame.image.shape[1], frame.image.shape[0]), ""
        health = source.health
        lost = health.state is State.LOST
        return None, health.message if lost else f"{without_password(camera.source)}: no picture"
    finally:
        source.stop()


def _nearest_existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return UNKNOWN
