"""The catalogue is read as it was written, and errors name the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue import Catalogue, CatalogueError, Product, parse_catalogue, read_catalogue

TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff"), max_size=20
).map(str.strip)
PRODUCTS = st.builds(
    Product,
    sku=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
    name=TEXT.filter(bool),
    category=TEXT,
    department=TEXT,
    role=TEXT,
    price_minor=st.integers(0, 10**7),
    currency=st.sampled_from(["EUR", "SEK"]),
    names=st.dictionaries(st.sampled_from(["sv", "de"]), TEXT.filter(bool)),
)


@given(st.lists(PRODUCTS, unique_by=lambda product: product.sku, max_size=5))
def test_what_is_written_reads_back_the_same(products: list[Product]) -> None:
    again = parse_catalogue(Catalogue(products).to_csv(), "again.csv")
    assert list(again.values()) == products


def test_names_come_in_languages() -> None:
    catalogue = parse_catalogue("sku,name,category,name_sv\nmilk,Milk,Dairy,Mjölk\n", "c.csv")
    assert catalogue["milk"].name_in("sv") == "Mjölk"
    assert catalogue["milk"].name_in("de") == "Milk"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sku,name\na,A\n", r"c\.csv:1: no column 'category'"),
        ("sku,name,category\na,A,x\na,B,x\n", r"c\.csv:3: sku 'a' is there twice"),
        ("sku,name,category\n../a,A,x\n", r"c\.csv:2: sku '\.\./a'"),
        ("sku,name,category\na,,x\n", r"c\.csv:2: product 'a' has no name"),
        ("sku,name,category\na,A,x,y\n", r"c\.csv:2: more fields"),
        ("sku,name,category,price_minor\na,A,x,19.90\n", r"c\.csv:2: price_minor '19\.90'"),
        ("sku,name,category,price_minor\na,A,x,-5\n", r"c\.csv:2: price_minor '-5'"),
        ("sku,name,category,currency\na,A,x,euro\n", r"c\.csv:2: currency 'euro'"),
        ("", r"c\.csv:1: no column"),
    ],
)
def test_errors_name_the_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=says):
        read_catalogue(path)


def test_a_catalogue_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such catalogue"):
        read_catalogue(tmp_path / "none.csv")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(CatalogueError, match="UTF-8"):
        read_catalogue(path)
