"""What the hub wants of this device, and what the device has made of it.

The newest wish lies on the disk, so that a device that starts without a line knows what it was
told. Whoever carries wishes out (the installer of bundles) is called with each new one and says
what came of it by `report`; the agent publishes that, now and at every connect.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from cloud_sync.messages import Desired, MessageError, Reported, decode_as, encode

log = logging.getLogger(__name__)


class Shadow:
    """The two halves of a device's state; safe to use from any thread.

    path: where the newest wish is kept. on_desired: called with every wish that is newer than all
    before, and with the kept one by `start`; must return soon.
    """

    def __init__(self, path: Path, on_desired: Callable[[Desired], None] = lambda _: None) -> None:
        self._path = path
        self.on_desired = on_desired
        self._lock = threading.Lock()
        self._desired = self._kept()
        version = 0 if self._desired is None else self._desired.version
        self._reported = Reported(desired_version=version)
        self._changes = 1

    @property
    def desired(self) -> Desired | None:
        """The newest wish, None before the first."""
        return self._desired

    @property
    def reported(self) -> Reported:
        """What the device says of itself."""
        return self._reported

    @property
    def changes(self) -> int:
        """A number that rises with every change of `reported`."""
        return self._changes

    def start(self) -> None:
        """Call on_desired with the wish that was kept."""
        if self._desired is not None:
            self.on_desired(self._desired)

    def take(self, desired: Desired) -> bool:
        """Take a wish in; False where it is none newer. Raises OSError where it cannot be kept."""
        with self._lock:
            if self._desired is not None and desired.version <= self._desired.version:
                return False
            part = self._path.with_suffix(".part")
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(encode(desired))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
            self._desired = desired
        self.report(desired_version=desired.version)
        self.on_desired(desired)
        return True

    def report(self, **changes: Any) -> None:
        """Change what the device says of itself; fields of `Reported`."""
        with self._lock:
            changed = replace(self._reported, **changes)
            if changed != self._reported:
                self._reported = changed
                self._changes += 1

    def _kept(self) -> Desired | None:
        try:
            return decode_as(Desired, self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, MessageError) as error:
            log.warning("%s: the hub's last wish cannot be read: %s", self._path, error)
            return None
