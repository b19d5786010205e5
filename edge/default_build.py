"""Put together what a bundle of a trained network is built from; needs the `train` extra."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edge.embed import Embedder, open_embedder
from edge.gate import Gate
from edge.rehearsal import drawn_store
from models.backbone import LITE
from models.bundle import DEFAULT_BUNDLE, Bundle, Model
from models.catalogue import Catalogue, CatalogueError, Product, read_catalogue
from models.default import (
    GROUP,
    Material,
    Pictures,
    Store,
    build_default,
    bundle_of,
)
from models.default_settings import Settings
from models.pictures import PictureError, find_pictures
from models.recipe import Recipe
from models.train import open_trained

LEARNT_SEEDS = range(9000, 9006)
CALIBRATED_SEEDS = range(9100, 9108)
"""Stores nobody meets in a test: seeds from 0 on are for those."""

_PRICES = {"Packages": 2490, "Fruit": 1290, "Vegetables": 990}
_LICENCE = Path(__file__).parents[1] / "LICENSE"
"""The same Apache-2.0 text the trunk's weights are under."""

_LICENCE_NAME = "EfficientNet-Lite.Apache-2.0.txt"


def build(
    grocery: Path,
    destination: Path,
    work: Path,
    say: Callable[[str], None],
    watch: Callable[[int, int, int, float], None] | None = None,
    settings: Settings | None = None,
) -> Bundle:
    """Build the default bundle from the grocery data set. Raises what reading it raises.

    work: folder the training keeps its checkpoint in. watch: told of every batch.
    """
    settings = settings or Settings()
    catalogue = read_catalogue(grocery / "catalog.csv")
    train = find_pictures([grocery / "trained" / "train"])
    val = find_pictures([grocery / "trained" / "val"])
    say("drawing packages")
    drawn = {
        product.sku: product.neat + product.seen
        for seed in LEARNT_SEEDS
        for product in drawn_store(seed, unknown=0, neat=4, seen=6)
    }
    material = Material(
        catalogue=Catalogue(_priced(product) for product in catalogue.values()),
        train=train,
        val={sku: paths for sku, paths in val.items() if sku in train},
        drawn=drawn,
        stores=[_store(seed) for seed in CALIBRATED_SEEDS],
        packshots=_of(find_pictures([grocery / "iconic"]), train),
        licences={_LICENCE_NAME: _LICENCE.read_bytes()},
    )
    return build_default(
        destination,
        material,
        _opened,
        lambda table: Gate(table, GROUP),
        settings,
        say,
        work=work,
        watch=watch,
    )


def bundle_trained(
    network: Path,
    destination: Path,
    pictures: Pictures,
    val: Pictures,
    catalogue: Catalogue,
    say: Callable[[str], None],
    *,
    bits: int = 16,
    int8: bool = False,
) -> Bundle:
    """Make a bundle of a network that was trained: its products enrolled from pictures.

    network: what `models train` left. val: pictures to calibrate with, not among the others.
    bits, int8: as in `models.default_settings.Settings`.
    Raises CheckpointError, BackboneError, CatalogueError, and PictureError where pictures of
    products it was trained on are missing or too few.
    """
    trained = open_trained(network)
    train = _of(pictures, trained.skus)
    material = Material(
        catalogue=catalogue,
        train=train,
        val=_of(val, train),
        drawn={},
        stores=[],
        licences=_licences(trained.recipe),
    )
    _check(material, network, int8=int8)
    _say_what_is_left_out(trained.skus, pictures, say)
    return bundle_of(
        destination,
        trained.embedder,
        material,
        _opened,
        lambda table: Gate(table, GROUP),
        _of_one(trained.recipe, bits=bits, int8=int8),
        say,
        bundle_id=network.resolve().parent.name,
    )


def _check(material: Material, network: Path, *, int8: bool) -> None:
    """Raise PictureError or CatalogueError where a bundle cannot be made of the material."""
    if not material.train:
        raise PictureError(f"none of the pictures is of a product {network} was trained on")
    if not material.val:
        raise PictureError(
            f"none of the pictures to calibrate with is of a product {network} was trained on "
            "and there are pictures of to enrol"
        )
    for sku in material.train:
        if sku not in material.catalogue:
            raise CatalogueError(f"sku {sku!r} has pictures but is not in the catalogue")
    if int8 and max(map(len, material.val.values())) < 2:
        raise PictureError(
            "what 8 bits cost is judged by two or more pictures of a product to calibrate with: "
            "there is no such product"
        )


def _say_what_is_left_out(
    skus: Sequence[str], pictures: Pictures, say: Callable[[str], None]
) -> None:
    """Name the products with pictures that the network was not trained on, and the other way."""
    others = [sku for sku in pictures if sku not in skus]
    if others:
        say(f"not trained on, to be enrolled afterwards: {', '.join(others)}")
    missing = [sku for sku in skus if sku not in pictures]
    if missing:
        say(f"trained on, but without pictures to enrol: {', '.join(missing)}")


def _licences(recipe: Recipe) -> dict[str, bytes]:
    """Return the text that the weights which a training started from are under, by file name.

    Weights from a file or from timm come without one; the manifest says where they are from.
    """
    if not recipe.pretrained or recipe.weights or recipe.backbone not in LITE:
        return {}
    # The shipped bundle's own copy, since an installed package has no LICENSE beside it.
    return {_LICENCE_NAME: (DEFAULT_BUNDLE / "licences" / _LICENCE_NAME).read_bytes()}


def _of_one(recipe: Recipe, *, bits: int, int8: bool) -> Settings:
    dim, side = recipe.dim, recipe.side
    return Settings(members=((recipe,),), dim=dim, side=side, bits=bits, int8=int8)


def _of(pictures: Mapping[str, Sequence[Path]], skus: Container[str]) -> dict[str, Sequence[Path]]:
    return {sku: paths for sku, paths in pictures.items() if sku in skus}


def _opened(model: Model) -> Embedder:
    return open_embedder(model)


def _store(seed: int) -> Store:
    products = list(drawn_store(seed, unknown=12, seen=5))
    return Store(
        enrolled={p.sku: p.neat for p in products if p.known},
        queries={p.sku: p.seen for p in products if p.known},
        unknown=[crop for p in products if not p.known for crop in p.seen],
    )


def _priced(product: Product) -> Product:
    """Give a product of the data set, which has none, a price to rehearse with."""
    return replace(product, price_minor=_PRICES.get(product.department, 1990), currency="SEK")
