"""Refresh: new products in, better tables and models taken, worse ones left, and a way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.gate import Gate
from models.bundle import DEFAULT_BUNDLE, Bundle, BundleError, Group, load_bundle
from models.bundle_writer import draft_of
from models.catalogue import Catalogue, Product
from models.enrol import enrol
from models.judging import Bar, Frozen, Pictures, is_better
from models.refresh import NoChallenger, Tools, grown_looks, refresh
from models.refresh_report import refresh_page
from models.releases import Releases
from models.table import build_table, normalised
from tests.models.a_table import LIMITS, a_table, directions
from tests.models.test_enrol import ByColour

COLOURS = {
    "red": (30, 30, 220),
    "blue": (220, 30, 30),
    "green": (30, 200, 30),
    "teal": (200, 200, 20),
}


def pictures(folder: Path, sku: str, count: int, first: int = 0, like: str = "") -> list[Path]:
    place = folder / sku
    place.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        noise = np.random.default_rng(number).integers(-12, 12, (40, 30, 3))
        picture = np.clip(np.array(COLOURS[like or sku]) + noise, 0, 255).astype(np.uint8)
        paths.append(place / f"{number}.png")
        cv2.imwrite(str(paths[-1]), picture)
    return paths


def a_champion(folder: Path, skus: Sequence[str] = ("red", "blue")) -> Bundle:
    """Return a bundle that knows colours; its model is the default one's, which nobody runs."""
    bundle = load_bundle(DEFAULT_BUNDLE)
    source = bundle.groups[0]
    model = replace(source.model, dim=64)
    empty = build_table({}, 64, LIMITS)
    made = {}
    for sku in skus:
        crops = [cv2.imread(str(path)) for path in pictures(folder / "first", sku, 4)]
        made[sku] = enrol(sku, crops, ByColour(), empty).looks  # type: ignore[arg-type]
    group = Group("all", model, empty.with_products(made))
    return replace(
        bundle, groups=(group,), catalogue=Catalogue(Product(sku, sku, "c") for sku in skus)
    )


CATALOGUE = Catalogue(Product(sku, sku, "c") for sku in COLOURS)
TOOLS = Tools(lambda model: ByColour(), Gate)


def a_test(folder: Path, *skus: str) -> Frozen:
    return Frozen({sku: pictures(folder / "test", sku, 3, first=50) for sku in skus})


def whats(steps: Sequence[object]) -> list[str]:
    return [step.what for step in steps]  # type: ignore[attr-defined]


def test_a_new_product_is_enrolled_and_the_model_kept(tmp_path: Path) -> None:
    arrivals = {"green": pictures(tmp_path / "in", "green", 3)}
    frozen = a_test(tmp_path, "red", "blue")
    champion = a_champion(tmp_path)
    outcome = refresh(champion, CATALOGUE, arrivals, frozen, Bar(0.5, 0.5), TOOLS)
    assert outcome.draft is not None
    assert outcome.draft.groups[0].table.skus == ("red", "blue", "green")
    assert outcome.draft.version == champion.version + 1
    assert outcome.draft.groups[0].model is champion.groups[0].model
    assert whats(outcome.steps) == ["green: enrolled in all", "all: model kept"]
    page = refresh_page(outcome.steps, "title", "told")
    assert "green: enrolled in all" in page
    again = refresh(
        champion, CATALOGUE, arrivals, frozen, Bar(0.5, 0.5), TOOLS, taken=outcome.taken
    )
    assert again.draft is None


def test_pictures_of_the_frozen_test_are_never_learned_from(tmp_path: Path) -> None:
    frozen = a_test(tmp_path, "red", "blue")
    outcome = refresh(a_champion(tmp_path), CATALOGUE, frozen.query, frozen, Bar(0.5, 0.5), TOOLS)
    assert outcome.draft is None
    assert "6 pictures passed over" in whats(outcome.steps)


def test_a_wrongly_settled_picture_is_left_out(tmp_path: Path) -> None:
    arrivals = {"red": pictures(tmp_path / "in", "red", 2, first=9, like="blue")}
    frozen = a_test(tmp_path, "red", "blue")
    outcome = refresh(a_champion(tmp_path), CATALOGUE, arrivals, frozen, Bar(0.5, 0.5), TOOLS)
    assert outcome.draft is None
    assert "red: 2 pictures left out" in whats(outcome.steps)


def test_pictures_that_make_the_test_worse_are_not_added(tmp_path: Path) -> None:
    """Teal pictures under red's name draw red towards teal, which is sold too."""
    champion = a_champion(tmp_path, ("red", "teal"))
    table = champion.groups[0].table
    row = table.skus.index("red")
    crops = [cv2.imread(str(p)) for p in pictures(tmp_path / "x", "teal", 40, first=200)]
    drawn, _ = grown_looks(table, row, ByColour().embed(crops))
    assert drawn is None  # so far off that they do not even come that far
    worse = {"accuracy": 0.8, "selective": 1.0, "coverage": 0.7, "unknown_accepted": None}
    better = {**worse, "accuracy": 0.9}
    careless = {**worse, "accuracy": 0.95, "selective": 0.9}
    assert is_better(better, worse, strictly=True)
    assert not is_better(worse, better, strictly=False)
    assert not is_better(careless, better, strictly=True)
    assert is_better(better, better, strictly=False)
    assert not is_better(better, better, strictly=True)


def test_new_pictures_of_a_known_product_move_it_a_little() -> None:
    table = a_table(3)
    seen = normalised(table.centroids[:1] + 0.2 * directions(1, seed=4))
    looks, odd = grown_looks(table, 0, seen)
    assert looks is not None
    assert odd == 0
    before, after = table.centroids[0] @ seen[0], looks.centroid @ seen[0]
    assert before < after < 1.0
    assert len(looks.anchors) == len(table.anchors_of(0)) + 1


def spoilt(bundle: Bundle) -> Bundle:
    """Return the bundle with its products exchanged, so that it is below any bar."""
    group = bundle.groups[0]
    red, blue = group.table.looks_of(0), group.table.looks_of(1)
    table = build_table({"red": blue, "blue": red}, 64, LIMITS)
    return replace(bundle, groups=(replace(group, table=table),))


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ("good", "all: challenger takes over"),
        ("bad", "all: champion stays"),
        ("none", "all: model kept"),
        ("forgetful", "all: model kept"),
    ],
)
def test_a_challenger_takes_over_only_if_it_is_better(
    tmp_path: Path, trainer: str, told: str
) -> None:
    good = a_champion(tmp_path)
    champion = spoilt(good)
    asked = []

    def challenge(group: Group, material: Pictures) -> Group | None:
        asked.append(sorted(material))
        if trainer == "none":
            return None
        if trainer == "forgetful":
            return replace(group, table=group.table.without(["red"]))
        return good.groups[0] if trainer == "good" else champion.groups[0]

    outcome = refresh(
        champion, CATALOGUE, {}, a_test(tmp_path, "red", "blue"), Bar(),
        replace(TOOLS, challenge=challenge),
        training={"red": pictures(tmp_path / "more", "red", 2)},
    )  # fmt: skip
    assert told in whats(outcome.steps)
    assert asked == [["red"]]
    assert (outcome.draft is not None) == (trainer == "good")


def test_a_challenger_learns_from_all_that_came_but_never_from_the_frozen_test(
    tmp_path: Path,
) -> None:
    frozen = a_test(tmp_path, "red", "blue")
    arrivals = {"red": pictures(tmp_path / "in", "red", 2), "blue": list(frozen.query["blue"])}
    more = {"red": [*pictures(tmp_path / "more", "red", 1, first=20), *frozen.query["red"]]}
    asked: dict[str, list[Path]] = {}

    def challenge(group: Group, material: Pictures) -> Group | None:
        asked.update({sku: list(paths) for sku, paths in material.items()})
        raise NoChallenger("there are too few pictures")

    champion = spoilt(a_champion(tmp_path))
    tools = replace(TOOLS, challenge=challenge)
    first = refresh(champion, CATALOGUE, arrivals, frozen, Bar(), tools)
    outcome = refresh(
        champion, CATALOGUE, arrivals, frozen, Bar(), tools, taken=first.taken, training=more
    )
    assert asked == {"red": [more["red"][0], *arrivals["red"]]}
    assert outcome.steps[-2].why == "below its bar, but there are too few pictures"


def test_the_licence_of_a_model_that_takes_over_is_kept(tmp_path: Path) -> None:
    good = a_champion(tmp_path)
    trained = replace(good, licences={"lite9": "free"}, provenance={"seed": 4})
    champion = spoilt(good)
    outcome = refresh(
        champion, CATALOGUE, {}, a_test(tmp_path, "red", "blue"), Bar(),
        replace(TOOLS, challenge=lambda group, material: trained),
    )  # fmt: skip
    assert outcome.draft is not None
    assert outcome.draft.licences == {**champion.licences, "lite9": "free"}
    assert outcome.draft.provenance["challengers"] == {"all": {"seed": 4}}
    assert champion.provenance.items() <= outcome.draft.provenance.items()


def test_a_model_that_asks_about_everything_is_not_better() -> None:
    champion = {"accuracy": 0.8, "selective": 0.95, "coverage": 0.8, "unknown_accepted": None}
    asks = {**champion, "accuracy": 0.9, "selective": None, "coverage": 0.0}
    careful = {**champion, "accuracy": 0.9, "selective": 1.0, "coverage": 0.7}
    careless = {**champion, "selective": 0.0, "coverage": 1.0}
    assert not is_better(asks, champion, strictly=True)
    assert is_better(careful, champion, strictly=True)
    assert is_better(asks, careless, strictly=True)


def test_a_product_goes_to_the_group_of_its_category(tmp_path: Path) -> None:
    champion = a_champion(tmp_path)
    group = champion.groups[0]
    groups = tuple(
        replace(group, name=name, table=group.table.without([other]))
        for name, other in (("reds", "blue"), ("blues", "red"))
    )
    catalogue = Catalogue(
        Product(sku, sku, category)
        for sku, category in (("red", "warm"), ("blue", "cold"), ("teal", "cold"))
    )
    arrivals = {"teal": pictures(tmp_path / "in", "teal", 3)}
    outcome = refresh(
        replace(champion, groups=groups), catalogue, arrivals,
        a_test(tmp_path, "red", "blue"), Bar(0.5, 0.5), TOOLS,
    )  # fmt: skip
    assert outcome.draft is not None
    assert [g.table.skus for g in outcome.draft.groups] == [("red",), ("blue", "teal")]


def two_groups(champion: Bundle) -> Bundle:
    """Return a bundle of the same products in a group for warm and one for cold ones."""
    group = champion.groups[0]
    groups = (("warm", ["blue", "teal"]), ("cold", ["red"]))
    return replace(
        champion,
        groups=tuple(replace(group, name=n, table=group.table.without(o)) for n, o in groups),
    )


def test_a_product_of_a_new_category_goes_to_the_nearest_group(tmp_path: Path) -> None:
    champion = two_groups(a_champion(tmp_path, ("red", "blue", "teal")))
    catalogue = Catalogue(Product(s, s, s) for s in (*COLOURS, "navy"))
    arrivals = {"navy": pictures(tmp_path / "in", "navy", 3, like="blue")}
    outcome = refresh(
        champion, catalogue, arrivals, a_test(tmp_path, "red", "blue"), Bar(0.5, 0.5), TOOLS
    )
    assert "navy: enrolled in cold" in whats(outcome.steps)
    assert outcome.draft is not None
    assert outcome.draft.groups[0].table.skus == ("red",)


def test_a_product_that_belongs_to_no_group_is_passed_over_and_not_taken(tmp_path: Path) -> None:
    champion = two_groups(a_champion(tmp_path))
    warm, cold = champion.groups
    cold = replace(cold, model=replace(cold.model, name="another"))
    arrivals = {"green": pictures(tmp_path / "in", "green", 3)}
    outcome = refresh(
        replace(champion, groups=(warm, cold)), Catalogue(Product(s, s, s) for s in COLOURS),
        arrivals, a_test(tmp_path, "red", "blue"), Bar(0.5, 0.5), TOOLS,
    )  # fmt: skip
    assert "green: passed over" in whats(outcome.steps)
    assert outcome.draft is None
    assert not outcome.taken


def test_where_all_that_is_decided_is_wrong_the_group_is_below_its_bar(tmp_path: Path) -> None:
    """A share of 0.0 is not the same as nothing decided."""
    champion = spoilt(a_champion(tmp_path))
    outcome = refresh(
        champion, CATALOGUE, {}, a_test(tmp_path, "red", "blue"), Bar(0.0, 0.9), TOOLS
    )
    (step,) = [step for step in outcome.steps if step.what == "all: model kept"]
    assert step.figures["champion"]["selective"] == 0.0
    assert step.why == "below its bar, but no trainer"


def test_releases_can_go_back_and_keep_only_so_many(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases", keep=2)
    assert releases.current() is None
    draft = draft_of(load_bundle(DEFAULT_BUNDLE))
    for version in range(1, 5):
        releases.publish(replace(draft, version=version))
    current = releases.current()
    assert current is not None
    assert current.version == 4
    assert releases.back().version == 3
    assert releases.back().version == 2
    with pytest.raises(BundleError, match="no earlier release"):
        releases.back()
    assert releases.publish(replace(draft, version=5)).path.name == "0005"
    releases.take(["a"])
    releases.take(["b"])
    assert releases.taken() == {"a", "b"}
