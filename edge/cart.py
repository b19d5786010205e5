"""A cart is the fold of its events.

The rule is pure and the same here and at the hub, so it stands on the ground floor, beside the
messages it reads (`cloud_sync.fold`); these are its words for the device.
"""

from __future__ import annotations

from cloud_sync.fold import Cart, Line, Reason, Review, Tally, fold, unattributed

__all__ = ["Cart", "Line", "Reason", "Review", "Tally", "fold", "unattributed"]
