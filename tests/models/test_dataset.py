"""What is wrong with a data set is named, with what to do about it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import main
from models.catalogue import Catalogue, Product, read_catalogue
from models.dataset import FEWEST, Flaw, check, perceptual_hash
from models.pictures import find_pictures
from models.selftest import drawn

HEADER = "sku,name,category\n"


def a_catalogue(*skus: str) -> Catalogue:
    return Catalogue(Product(sku=sku, name=sku, category="Things") for sku in skus)


def pictures_of(folder: Path, sku: str, numbers: range) -> None:
    (folder / sku).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / sku / f"{number}.png"), drawn(number))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for place, sku in enumerate(("milk", "juice")):
        pictures_of(tmp_path / "train", sku, range(10 * place, 10 * place + FEWEST))
        pictures_of(tmp_path / "test", sku, range(50 + 10 * place, 52 + 10 * place))
    return tmp_path


def flaws(shop: Path, *skus: str) -> dict[Flaw, str]:
    splits = {name: find_pictures([shop / name]) for name in ("train", "test")}
    return {p.flaw: p.what for p in check(a_catalogue(*skus), splits).problems}


def test_good_pictures_have_no_problems(shop: Path) -> None:
    assert flaws(shop, "milk", "juice") == {}


def test_what_cannot_be_used_is_named(shop: Path) -> None:
    (shop / "train/milk/torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    cv2.imwrite(str(shop / "train/juice/tiny.png"), drawn(3)[:20, :20])
    found = flaws(shop, "milk", "juice")
    assert "torn.jpg" in found[Flaw.UNREADABLE]
    assert "20 x 20" in found[Flaw.TINY]
    assert len(found) == 2


def test_products_without_pictures_and_pictures_without_product(shop: Path) -> None:
    pictures_of(shop / "train", "cheese", range(80, 82))
    found = flaws(shop, "milk", "juice", "butter")
    assert found[Flaw.NOT_IN_CATALOGUE].startswith("cheese")
    assert found[Flaw.TOO_FEW].startswith("cheese: 2")
    assert found[Flaw.NO_PICTURES].startswith("butter")


@pytest.mark.parametrize(
    ("sku", "split", "flaw"),
    [
        ("juice", "train", Flaw.TWO_PRODUCTS),
        ("milk", "test", Flaw.TWO_SPLITS),
        ("milk", "train", Flaw.TWICE),
    ],
)
def test_a_picture_saved_anew_is_recognised(shop: Path, sku: str, split: str, flaw: Flaw) -> None:
    picture = drawn(2)
    smaller = cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(shop / split / sku / "again.jpg"), smaller, [cv2.IMWRITE_JPEG_QUALITY, 70])
    found = flaws(shop, "milk", "juice")
    assert list(found) == [flaw]
    assert "again.jpg" in found[flaw]
    assert f"milk{'/'}2.png" in found[flaw]


def test_a_picture_under_two_products_in_two_splits_is_told_as_both(shop: Path) -> None:
    cv2.imwrite(str(shop / "test/juice/again.jpg"), drawn(2))
    found = flaws(shop, "milk", "juice")
    assert set(found) == {Flaw.TWO_PRODUCTS, Flaw.TWO_SPLITS}
    assert all("again.jpg" in what for what in found.values())


def test_a_product_to_measure_with_and_not_to_train_on_is_named(shop: Path) -> None:
    pictures_of(shop / "test", "cheese", range(80, 82))
    found = flaws(shop, "milk", "juice", "cheese")
    assert list(found) == [Flaw.NONE_TO_TRAIN]
    assert found[Flaw.NONE_TO_TRAIN] == "cheese: has pictures in test only"


def test_a_tiny_picture_that_is_there_twice_is_seen(shop: Path) -> None:
    tiny = cv2.resize(drawn(2), (24, 24), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(shop / "test/milk/tiny.png"), tiny)
    found = flaws(shop, "milk", "juice")
    assert set(found) == {Flaw.TINY, Flaw.TWO_SPLITS}
    assert "tiny.png" in found[Flaw.TWO_SPLITS]


def test_other_pictures_have_other_hashes() -> None:
    hashes = [perceptual_hash(drawn(number)) for number in range(40)]
    near = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(near) > 3
    lighter = np.clip(drawn(1).astype(int) + 10, 0, 255).astype(np.uint8)
    assert (perceptual_hash(lighter) ^ hashes[1]).bit_count() <= 3


def test_the_command_fails_where_training_would_be_wrong(shop: Path) -> None:
    (shop / "catalog.csv").write_text(f"{HEADER}milk,Milk,Dairy\njuice,Juice,Drinks\n")
    arguments = ["models", "check", "--catalogue", str(shop / "catalog.csv")]
    arguments += ["--pictures", str(shop / "train"), "--pictures", str(shop / "test")]
    good = CliRunner().invoke(main, arguments)
    assert good.exit_code == 0, good.output
    assert "nothing wrong" in good.output
    (shop / "train/milk/torn.jpg").write_bytes(b"")
    bad = CliRunner().invoke(main, arguments)
    assert bad.exit_code == 1
    assert "torn.jpg" in bad.output
    assert "delete it" in bad.output
    assert len(read_catalogue(shop / "catalog.csv")) == 2
