"""Pictures of items that somebody said what they are: what recognition can learn from its doubts.

Reads a device's ledger and evidence folder, changing neither. Used by `shelfgate models refresh`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath

from cloud_sync.messages import ItemBooked, LineSettled, MessageError, decode

LEDGER = "ledger.db"
EVIDENCE = "evidence"


class SettledError(Exception):
    """A state folder cannot be read; the message says which and why."""


def settled_pictures(state: Path) -> dict[str, list[Path]]:
    """Return crops by the sku that an item was last settled as, in order of booking.

    state: the device's state folder, with `ledger.db` and `evidence/`. Items that were taken out,
    and pictures that are gone, are passed over. Raises SettledError.
    """
    path = state / LEDGER
    if not path.is_file():
        raise SettledError(f"{path}: no such ledger")
    items: dict[str, ItemBooked] = {}
    settled: dict[str, str | None] = {}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as rows:
            found = rows.execute(
                "SELECT payload FROM entries WHERE type IN ('item', 'settled') ORDER BY sequence"
            )
            for (payload,) in found:
                entry = decode(payload)
                if isinstance(entry, ItemBooked):
                    items[entry.event_id] = entry
                elif isinstance(entry, LineSettled):
                    settled[entry.item] = entry.sku
    except (sqlite3.Error, MessageError) as error:
        raise SettledError(f"{path}: cannot be read: {error}") from error
    pictures: dict[str, list[Path]] = {}
    for event_id, sku in settled.items():
        item = items.get(event_id)
        if sku is None or item is None:
            continue
        for name in item.evidence:
            inside = state / EVIDENCE / PurePosixPath(name)
            if inside.name.startswith("crop-") and ".." not in inside.parts and inside.is_file():
                pictures.setdefault(sku, []).append(inside)
    return pictures
