"""Keep the bundles that were published one after another, and the way back.

    0001/ 0002/ ...     bundles, whole and never changed
    current             the number of the one that counts
    taken.json          digests of the pictures that were dealt with
    reports/0002.json   what each refresh did and why, and .html for people

Used by `shelfgate models refresh`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.bundle import Bundle, BundleError, load_bundle
from models.bundle_writer import Draft, write_bundle

CURRENT = "current"
TAKEN = "taken.json"
REPORTS = "reports"


class Releases:
    """One folder of releases, of which one is current."""

    def __init__(self, root: Path, keep: int = 5) -> None:
        """Take the folder, made when it is needed, and how many old releases to keep, over 0."""
        if keep < 1:
            raise BundleError(f"{keep} releases to keep: there must be one at least to go back to")
        self._root = root
        self._keep = keep

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def current(self) -> Bundle | None:
        """Return the bundle that counts, None before the first. Raises BundleError."""
        number = self._number()
        return None if number is None else load_bundle(self._root / _name(number))

    def publish(self, draft: Draft) -> Bundle:
        """Write the next release, make it current, drop the oldest. Raises BundleError."""
        number = max(self._numbers(), default=0) + 1
        bundle = write_bundle(self._root / _name(number), draft)
        self._point_to(number)
        for old in self._numbers()[: -self._keep - 1]:
            shutil.rmtree(self._root / _name(old))
        return bundle

    def back(self) -> Bundle:
        """Make the release before the current one current again; the newer one stays on the disk.

        Raises BundleError where there is none.
        """
        number = self._number()
        before = [n for n in self._numbers() if number is not None and n < number]
        if not before:
            raise BundleError(f"{self._root}: there is no earlier release to go back to")
        bundle = load_bundle(self._root / _name(before[-1]))
        self._point_to(before[-1])
        return bundle

    def taken(self) -> frozenset[str]:
        """Return the digests of pictures that were dealt with. Raises BundleError."""
        try:
            return frozenset(json.loads((self._root / TAKEN).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, TypeError) as error:
            raise BundleError(f"{self._root / TAKEN}: cannot be read: {error}") from error

    def take(self, digests: Iterable[str]) -> None:
        """Remember pictures as dealt with."""
        everything = sorted(self.taken() | set(digests))
        _write(self._root / TAKEN, json.dumps(everything, indent=0) + "\n")

    def report(self, told: Mapping[str, Any], page: str) -> Path:
        """Write what a refresh did; return the page's path."""
        folder = self._root / REPORTS
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.stem) for p in folder.glob("[0-9]*.json")), default=0)
        _write(folder / f"{_name(number)}.json", json.dumps(told, indent=1) + "\n")
        _write(folder / f"{_name(number)}.html", page)
        return folder / f"{_name(number)}.html"

    def _number(self) -> int | None:
        try:
            return int((self._root / CURRENT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BundleError(f"{self._root / CURRENT}: names no release: {error}") from error

    def _numbers(self) -> list[int]:
        return sorted(int(p.name) for p in self._root.glob("[0-9]" * 4) if p.is_dir())

    def _point_to(self, number: int) -> None:
        _write(self._root / CURRENT, f"{_name(number)}\n")


def _name(number: int) -> str:
    return f"{number:04d}"


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
