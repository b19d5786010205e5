"""Read the shop's catalogue: what there is, what it is called, what it costs.

A catalogue is a CSV file with one product a line. Read by the bundle (which carries its own copy),
by enrolment and by evaluation.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

REQUIRED = ("sku", "name", "category")
DEFAULT_CURRENCY = "EUR"

_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LANGUAGE = re.compile(r"name_([a-z]{2,3})")
_CURRENCY = re.compile(r"[A-Z]{3}")


class CatalogueError(Exception):
    """A catalogue cannot be used; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Product:
    """One thing that is sold.

    sku: letters, digits, '.', '_' and '-'; it names the folder of the product's pictures.
    names: name by language code (`sv`, `de`), beside the plain name.
    role: free word; the data sets use it for `trained` and `novel`.
    price_minor: price in the currency's minor unit (cents), not negative.
    currency: ISO 4217 code.
    """

    sku: str
    name: str
    category: str = ""
    department: str = ""
    role: str = ""
    price_minor: int = 0
    currency: str = DEFAULT_CURRENCY
    names: Mapping[str, str] = field(default_factory=dict)

    def name_in(self, language: str) -> str:
        """Return the name in a language, or the plain name where there is none."""
        return self.names.get(language, self.name)


class Catalogue(Mapping[str, Product]):
    """Products by sku, in the order they were written."""

    def __init__(self, products: Iterable[Product] = ()) -> None:
        found: dict[str, Product] = {}
        for product in products:
            if product.sku in found:
                raise CatalogueError(f"sku {product.sku!r} is in the catalogue twice")
            found[product.sku] = product
        self._products = MappingProxyType(found)

    def __getitem__(self, sku: str) -> Product:
        return self._products[sku]

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)

    def merged(self, other: Mapping[str, Product]) -> Catalogue:
        """Return a catalogue with other's products added, and replaced where the sku is known."""
        return Catalogue({**self._products, **other}.values())

    def to_csv(self) -> str:
        """Return CSV text that `read_catalogue` reads back to the same products."""
        languages = sorted({language for product in self.values() for language in product.names})
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        columns = ["sku", "name", "category", "department", "role", "price_minor", "currency"]
        writer.writerow(columns + [f"name_{language}" for language in languages])
        for product in self.values():
            row = [product.sku, product.name, product.category, product.department, product.role]
            row += [str(product.price_minor), product.currency]
            writer.writerow(row + [product.names.get(language, "") for language in languages])
        return buffer.getvalue()


def read_catalogue(path: Path) -> Catalogue:
    """Read a CSV file with a header line.

    Columns `sku`, `name` and `category` are needed; `department`, `role`, `price_minor` (0 where
    missing), `currency` (EUR where missing) and `name_<language>` may be there; others are ignored.
    Raises CatalogueError, naming file and line, for anything that is not so.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CatalogueError(f"{path}: no such catalogue") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return parse_catalogue(text, str(path))


def parse_catalogue(text: str, source: str) -> Catalogue:
    """Read CSV text; source is what errors call it. Raises CatalogueError."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        missing = [column for column in REQUIRED if column not in columns]
        if missing:
            raise CatalogueError(f"{source}:1: no column {', '.join(map(repr, missing))}")
        found: dict[str, Product] = {}
        for row in reader:
            where = f"{source}:{reader.line_num}"
            product = _product(row, where)
            if product.sku in found:
                raise CatalogueError(f"{where}: sku {product.sku!r} is there twice")
            found[product.sku] = product
    except csv.Error as error:
        raise CatalogueError(f"{source}:{reader.line_num}: not valid CSV: {error}") from error
    return Catalogue(found.values())


def _product(row: dict[str | None, str | None], where: str) -> Product:
    if None in row:
        raise CatalogueError(f"{where}: more fields than the header has columns")
    cells = {str(column): (value or "").strip() for column, value in row.items()}
    if not _SKU.fullmatch(cells["sku"]):
        raise CatalogueError(
            f"{where}: sku {cells['sku']!r} must be letters, digits, '.', '_' and '-'"
        )
    if not cells["name"]:
        raise CatalogueError(f"{where}: product {cells['sku']!r} has no name")
    currency = cells.get("currency") or DEFAULT_CURRENCY
    if not _CURRENCY.fullmatch(currency):
        raise CatalogueError(f"{where}: currency {currency!r} must be three capitals, as in EUR")
    names = {
        match.group(1): value
        for column, value in cells.items()
        if value and (match := _LANGUAGE.fullmatch(column))
    }
    return Product(
        sku=cells["sku"],
        name=cells["name"],
        category=cells["category"],
        department=cells.get("department", ""),
        role=cells.get("role", ""),
        price_minor=_price(cells.get("price_minor", ""), where),
        currency=currency,
        names=MappingProxyType(names),
    )


def _price(text: str, where: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise CatalogueError(
            f"{where}: price_minor {text!r} must be a whole number of cents, as in 1990 for 19.90"
        )
    return int(text)
