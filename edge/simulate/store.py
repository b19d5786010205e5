"""A store that renders itself: pictures of every camera over time, and the truth about them.

Used by `shelfgate simulate`, and directly where no files are wanted:

    store = SimulatedStore(Settings(seed=3, minutes=1))
    for time_s, pictures in store.frames(): ...
    store.truth()
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edge.simulate.bodies import presences
from edge.simulate.catalogue import Product, products_for
from edge.simulate.gestures import Gesture, gesture_for
from edge.simulate.goods import Goods
from edge.simulate.light import Light, Sensor
from edge.simulate.picture import View
from edge.simulate.plan import Plan, Reach, Visit, plan_for
from edge.simulate.scene import Image
from edge.simulate.settings import Settings
from edge.simulate.shelf import Shelf, angles_of, build, camera_for
from edge.simulate.truth import replaced, truth_of, zones_of


class SimulatedStore:
    """A simulated store; everything about it follows from its settings."""

    def __init__(self, settings: Settings) -> None:
        """Build shelves, plan what happens. Raises SimulationError for unusable pictures."""
        self.settings = settings
        self.goods = Goods()
        self.products: tuple[Product, ...] = products_for(settings)
        self.shelves: tuple[Shelf, ...] = tuple(
            build(number, self.products[number :: settings.shelves], settings, self.goods.measures)
            for number in range(settings.shelves)
        )
        self.plan: Plan = plan_for(settings, self.shelves, self.goods.measures)
        self._views: dict[str, tuple[int, bool, View]] = {}
        for number, (shelf, above) in enumerate(angles_of(settings)):
            camera = camera_for(self.shelves[shelf], settings, above, number)
            view = View(self.shelves[shelf], camera, self.goods, settings.seed)
            self._views[f"cam-{number + 1}"] = (shelf, above, view)
        self._gestures = self._moved()
        widths = [shelf.width for shelf in self.shelves]
        self._presences = presences(settings, self.plan, widths)
        self._truth: list[dict[str, Any]] | None = None

    @property
    def cameras(self) -> tuple[str, ...]:
        """Ids of the cameras."""
        return tuple(self._views)

    @property
    def catalogue(self) -> tuple[Product, ...]:
        """The products a catalogue lists."""
        return tuple(product for product in self.products if product.known)

    @property
    def visits(self) -> tuple[Visit, ...]:
        """The shoppers' visits."""
        return self.plan.visits

    def zones(self) -> dict[str, list[dict[str, Any]]]:
        """Return every camera's zones as `zones.json` lists them."""
        return {
            name: zones_of(view.shelf, view.camera) for name, (_, _, view) in self._views.items()
        }

    def truth(self) -> list[dict[str, Any]]:
        """Return what happened, one object per event and camera that sees it, in order of time."""
        if self._truth is None:
            self._truth = truth_of(self.settings, self.plan, self._views)
        return self._truth

    def view(self, camera: str) -> View:
        """Return what draws a camera's pictures."""
        return self._views[camera][2]

    def frames(self) -> Iterator[tuple[float, dict[str, Image]]]:
        """Yield time in seconds and every camera's picture, (H, W, 3) uint8 BGR, from the start."""
        light = Light(self.settings)
        sensors = {name: Sensor(self.settings, number) for number, name in enumerate(self._views)}
        stacks = [shelf.stacks for shelf in self.shelves]
        pending = list(reversed(self.plan.changes))
        for number in range(self.settings.frames):
            time_s = number / self.settings.fps
            while pending and pending[-1].time_s <= time_s:
                change = pending.pop()
                stacks[change.shelf] = replaced(stacks[change.shelf], change)
            gains, shadow = light.gains(time_s), light.shadow(time_s)
            yield (
                time_s,
                {
                    name: sensors[name].expose(
                        self._scene(time_s, shelf, view, stacks[shelf]), gains, shadow
                    )
                    for name, (shelf, _, view) in self._views.items()
                },
            )

    def _scene(self, time_s: float, shelf: int, view: View, stacks: Any) -> Image:
        gestures = [
            gesture
            for gesture in self._gestures
            if gesture.reach.shelf == shelf
            and gesture.reach.start_s <= time_s < gesture.reach.end_s
        ]
        people = [p for p in self._presences if p.shelf == shelf and p.start_s <= time_s < p.end_s]
        return view.picture(time_s, stacks, gestures, people)

    def _moved(self) -> list[Gesture]:
        return [self._gesture(reach) for reach in self.plan.reaches]

    def _gesture(self, reach: Reach) -> Gesture:
        rng = np.random.default_rng([self.settings.seed, 81, reach.number])
        measures = self.goods.measures(reach.item.product)
        shelf = self.shelves[reach.shelf]
        row = shelf.facings[reach.facing].row
        foot = shelf.foot(row, reach.item, float(measures[2]))
        after = foot if reach.after is None else shelf.foot(row, reach.after, float(measures[2]))
        cameras = [view.camera for number, _, view in self._views.values() if number == reach.shelf]
        return gesture_for(reach, foot, after, measures, cameras, rng)
