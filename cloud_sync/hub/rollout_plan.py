"""How a rollout goes: to whom, in which stages, and when it goes on or is called off. Pure."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cloud_sync.topics import Address

STAGES_MOST = 20
SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%|(\d{1,6})")


class PlanError(ValueError):
    """A plan that cannot be; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout's plan.

    site, label, group: whom it is for; all that are given must hold; none: every device.
    stages: how many devices have it in all after each: numbers or percentages, rising, as "5" or
    "25%"; the last is "100%".
    success: share of the online devices given it that must run it before the next stage begins.
    max_failed: share of the devices given it that may report failure; more, and it is called off.
    soak_s: how long a stage lasts at least.
    Raises PlanError.
    """

    site: str | None = None
    label: str | None = None
    group: str | None = None
    stages: tuple[str, ...] = ("1", "10%", "50%", "100%")
    success: float = 0.95
    max_failed: float = 0.02
    soak_s: float = 600.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= STAGES_MOST:
            raise PlanError(f"1 to {STAGES_MOST} stages")
        for text in self.stages:
            if not (match := SHARE.fullmatch(text)) or (match[1] and float(match[1]) > 100):
                raise PlanError(f"stage {text!r}: a number of devices, or a percentage as in 25%")
        if self.stages[-1] != "100%":
            raise PlanError("the last stage is 100%")
        if not (0 < self.success <= 1 and 0 <= self.max_failed < 1 and self.soak_s >= 0):
            raise PlanError("success in (0, 1], max_failed in [0, 1), soak_s not negative")

    def to_json(self) -> dict[str, Any]:
        """Give what the database keeps."""
        return {**asdict(self), "stages": list(self.stages)}

    def sizes(self, devices: int) -> list[int]:
        """Say how many devices have it after each stage, of so many in all; never fewer."""
        sizes, most = [], 0
        for text in self.stages:
            share = SHARE.fullmatch(text)
            assert share is not None
            wanted = float(share[1]) / 100 * devices if share[1] else float(share[2])
            most = max(most, min(devices, max(1, math.ceil(wanted - 1e-9))))
            sizes.append(most)
        return sizes


def from_json(kept: dict[str, Any]) -> Plan:
    """Read what the database kept."""
    return Plan(**{**kept, "stages": tuple(kept["stages"])})


def in_turn(rollout: str, devices: Sequence[Address], online: set[Address]) -> list[Address]:
    """Put devices in the order in which they get a rollout: by chance, those online first.

    The chance is the rollout's own, so that not the same devices are the canary each time.
    """

    def lot(address: Address) -> tuple[bool, str]:
        text = f"{rollout}/{address.site}/{address.device}"
        return address not in online, hashlib.sha256(text.encode()).hexdigest()

    return sorted(devices, key=lot)


@dataclass(frozen=True, slots=True)
class Count:
    """How the devices that were given a bundle are doing. online: of those, ok or pending ones."""

    given: int = 0
    ok: int = 0
    failed: int = 0
    online: int = 0
    online_ok: int = 0

    @property
    def pending(self) -> int:
        """Those that have not said what came of it."""
        return self.given - self.ok - self.failed


def verdict(plan: Plan, count: Count, stage_age_s: float) -> str | None:
    """Say what to do: "abort", "advance", or None to wait."""
    if count.given and count.failed / count.given > plan.max_failed:
        return "abort"
    if stage_age_s < plan.soak_s or count.online == 0:
        return None
    return "advance" if count.online_ok >= plan.success * count.online else None
