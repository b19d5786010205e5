"""A data set of pictures by product: find what is wrong with it before a training does.

Every problem names what it is about and what to do. Pictures are read one at a time; what is kept
of each is 64 bits. Called by `shelfgate models check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.catalogue import Catalogue
from models.pictures import PictureError, labelled, read_picture

SMALLEST = 32
"""Pixels below which a side shows too little."""

FEWEST = 5
"""Pictures a product needs, so that some can be held back to measure with."""

_NEAR = 3
"""Bits in which hashes of one picture, saved twice, may differ."""

_GRID = 8
_CHUNKS = 4
_BITS = 64 // _CHUNKS

Pictures = Mapping[str, Sequence[Path]]


class Flaw(StrEnum):
    """What can be wrong."""

    UNREADABLE = "unreadable"
    TINY = "tiny"
    NO_PICTURES = "no pictures"
    NOT_IN_CATALOGUE = "not in the catalogue"
    TOO_FEW = "too few pictures"
    NONE_TO_TRAIN = "no pictures to train on"
    TWO_PRODUCTS = "same picture under two products"
    TWO_SPLITS = "same picture in two splits"
    TWICE = "same picture twice"


_HARMLESS = (Flaw.TWICE, Flaw.TOO_FEW, Flaw.TINY, Flaw.NO_PICTURES, Flaw.NONE_TO_TRAIN)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: with what, in which way, and what to do about it."""

    flaw: Flaw
    what: str
    advice: str

    @property
    def serious(self) -> bool:
        """Whether training with it would be wrong, rather than worse."""
        return self.flaw not in _HARMLESS


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: products and pictures that were looked at, and the problems."""

    products: int
    pictures: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A picture that was read."""

    split: str
    sku: str
    path: Path
    hash: int


def check(catalogue: Catalogue, splits: Mapping[str, Pictures]) -> Report:
    """Look at every picture of every split.

    splits: pictures by sku, by the name of what they are for; the first one is trained on.
    """
    problems: list[Problem] = []
    seen: list[_Seen] = []
    for split, pictures in splits.items():
        for sku, path in labelled(pictures):
            try:
                picture = read_picture(path)
            except PictureError as error:
                advice = "replace it, or delete it"
                problems.append(Problem(Flaw.UNREADABLE, str(error), advice))
                continue
            problems += _of_size(path, picture)
            seen.append(_Seen(split, sku, path, perceptual_hash(picture)))
    problems += _of_products(catalogue, splits)
    problems += _doubles(seen)
    skus = {sku for pictures in splits.values() for sku in pictures}
    return Report(
        len(skus), sum(len(p) for s in splits.values() for p in s.values()), tuple(problems)
    )


def perceptual_hash(picture: NDArray[np.uint8]) -> int:
    """Return 64 bits of how a picture, (h, w, 3) uint8 BGR, looks.

    The signs of its coarsest cosines against their median (pHash, Zauner 2010), of brightness; the
    same for a picture that was saved anew or made smaller.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:_GRID, :_GRID].ravel()
    bits = waves > np.median(waves[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _of_size(path: Path, picture: NDArray[np.uint8]) -> Iterator[Problem]:
    if min(picture.shape[:2]) < SMALLEST:
        size = f"{picture.shape[1]} x {picture.shape[0]} pixels"
        advice = f"take a larger one; {SMALLEST} pixels a side are the least"
        yield Problem(Flaw.TINY, f"{path}: {size}", advice)


def _of_products(catalogue: Catalogue, splits: Mapping[str, Pictures]) -> Iterator[Problem]:
    skus = {sku for pictures in splits.values() for sku in pictures}
    for sku in sorted(skus - set(catalogue)):
        yield Problem(Flaw.NOT_IN_CATALOGUE, f"{sku}: has pictures", "add it, or rename its folder")
    for sku in sorted(set(catalogue) - skus):
        yield Problem(Flaw.NO_PICTURES, f"{sku}: in the catalogue", "take some, or take it out")
    first = next(iter(splits.values()), {})
    for sku in sorted(skus - set(first)):
        others = ", ".join(split for split, pictures in splits.items() if sku in pictures)
        advice = "take some, or let it be one that is only enrolled"
        yield Problem(Flaw.NONE_TO_TRAIN, f"{sku}: has pictures in {others} only", advice)
    for sku, paths in first.items():
        if len(paths) < FEWEST:
            yield Problem(
                Flaw.TOO_FEW,
                f"{sku}: {len(paths)} to train on",
                f"take {FEWEST - len(paths)} more from other sides, or only enrol it",
            )


def _doubles(seen: Sequence[_Seen]) -> Iterator[Problem]:
    for one, other in _alike(seen):
        what = f"{one.path} and {other.path}"
        if one.sku != other.sku:
            yield Problem(Flaw.TWO_PRODUCTS, what, "keep the one that is labelled rightly")
        if one.split != other.split:
            advice = f"delete one: {one.split} and {other.split} must not share pictures"
            yield Problem(Flaw.TWO_SPLITS, what, advice)
        elif one.sku == other.sku:
            yield Problem(Flaw.TWICE, what, "delete one")


def _alike(seen: Sequence[_Seen]) -> Iterator[tuple[_Seen, _Seen]]:
    """Yield pairs whose hashes differ in few bits.

    Of hashes in as many chunks as bits may differ, and one more, pairs share at least one chunk.
    """
    buckets: dict[tuple[int, int], list[int]] = {}
    for number, one in enumerate(seen):
        others: set[int] = set()
        for chunk in range(_CHUNKS):
            key = (chunk, one.hash >> (chunk * _BITS) & (1 << _BITS) - 1)
            others.update(buckets.setdefault(key, []))
            buckets[key].append(number)
        for other in sorted(others):
            if (seen[other].hash ^ one.hash).bit_count() <= _NEAR:
                yield seen[other], one
