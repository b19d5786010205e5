"""Whether a bundle that has been switched to does as well as the one before it.

Pure: measures in, a verdict out. The installer asks from time to time and at every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import msgspec

from cloud_sync.messages import BundleMeasures

ENOUGH = 20
"""Decisions without which the old bundle's shares say nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a bundle is kept, and when it is taken back.

    seconds, decisions: it has to run for as long, and decide as much, to be kept.
    quiet_s: kept after so long in any case, in a store so quiet that it never decides that much.
    early: decisions from which it may be taken back. unknown, errors: how much larger its shares
    may be than the old one's. slower: how many times slower it may decide, beyond slack_ms.
    restarts: how often the appliance may come back without having been told to stop.
    """

    seconds: float = 600.0
    decisions: int = 20
    quiet_s: float = 24 * 3600.0
    early: int = 8
    unknown: float = 0.25
    errors: float = 0.05
    slower: float = 2.5
    slack_ms: float = 20.0
    restarts: int = 2


def fault(now: BundleMeasures, before: BundleMeasures | None, limits: Limits) -> str | None:
    """Say what is wrong with a bundle on probation, None while nothing is known to be."""
    if now.restarts > limits.restarts:
        return f"the appliance came down {now.restarts} times with it"
    if now.errors and now.errors > limits.errors * max(now.decisions, limits.early):
        return f"items that could not be decided: {now.errors}, that could: {now.decisions}"
    if now.decisions < limits.early:
        return None
    old = before if before is not None and before.decisions >= ENOUGH else None
    was = old.unknown / old.decisions if old is not None else 0.0
    share = now.unknown / now.decisions
    # What chance alone would do to a share of so few.
    spread = 2.0 * sqrt(max(was * (1.0 - was), 0.05) / now.decisions)
    if old is None:
        # Nothing to compare with: a store where nearly nothing is known is wrong all the same.
        if share > 0.9:
            return f"{now.unknown} of {now.decisions} items are unknown to it"
    elif share > was + limits.unknown + spread:
        return (
            f"{now.unknown} of {now.decisions} items are unknown to it, "
            f"{100 * was:.0f}% were to the one before"
        )
    if old is not None and now.mean_ms > limits.slower * old.mean_ms + limits.slack_ms:
        return f"it takes {now.mean_ms:.0f} ms to decide, the one before took {old.mean_ms:.0f} ms"
    return None


def is_kept(now: BundleMeasures, limits: Limits) -> bool:
    """Say whether a bundle without fault has been tried for long enough."""
    if now.seconds >= limits.quiet_s:
        return True
    return now.seconds >= limits.seconds and now.decisions >= limits.decisions


def combined(one: BundleMeasures, other: BundleMeasures) -> BundleMeasures:
    """Add up what a bundle did in two stretches."""
    decisions = one.decisions + other.decisions
    total_ms = one.mean_ms * one.decisions + other.mean_ms * other.decisions
    return msgspec.structs.replace(
        one,
        decisions=decisions,
        unknown=one.unknown + other.unknown,
        errors=one.errors + other.errors,
        mean_ms=total_ms / decisions if decisions else 0.0,
        restarts=one.restarts + other.restarts,
        seconds=one.seconds + other.seconds,
    )
