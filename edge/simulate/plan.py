"""Who does what and when: visits, reaches and what they change on the shelves.

Planned once, before anything is drawn, so that the truth is known exactly.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from edge.simulate.catalogue import Product
from edge.simulate.settings import Settings
from edge.simulate.shelf import (
    BOARD_DEPTH,
    FRONT_LINE,
    GAP_BEHIND,
    Facing,
    Item,
    Measures,
    Shelf,
    Stack,
)

FIRST_REACH_S, LAST_QUIET_S = 3.0, 3.5
REST_AFTER_S = 1.2
UNKNOWN_APPEAL = 2.5


class Act(StrEnum):
    """What a hand does at the shelf; only PICK and RETURN are events."""

    PICK = "pick"
    RETURN = "return"
    LIFT = "lift"
    TOUCH = "touch"
    KNOCK = "knock"


@dataclass(frozen=True, slots=True)
class Visit:
    """One shopper's visit, in seconds of the clip. person: number that gives looks."""

    session: str
    person: int
    open_s: float
    close_s: float


@dataclass(frozen=True, slots=True)
class Reach:
    """One hand's way to the shelf and back.

    hand: 1 right, -1 left. item: what is handled, as it stands at its place (for a knock and a
    lift: before). after: how it stands afterwards, None where it is gone.
    start_s: the hand comes in. arrive_s: it is at the place. change_s: the item starts to leave,
    comes to rest or is knocked. rest_s: a lifted item is back. end_s: the hand is out again.
    misplaced: the item came to a facing of another product.
    """

    act: Act
    visit: Visit
    shelf: int
    facing: int
    hand: int
    item: Item
    after: Item | None
    start_s: float
    arrive_s: float
    change_s: float
    rest_s: float
    end_s: float
    number: int
    misplaced: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A facing's stack from time_s on. reach: what caused it; event: whether it is one."""

    time_s: float
    shelf: int
    facing: int
    before: Stack
    after: Stack
    reach: Reach
    event: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that happens, in order of time."""

    visits: tuple[Visit, ...]
    reaches: tuple[Reach, ...]
    changes: tuple[Change, ...]


@dataclass(slots=True)
class _Planner:
    settings: Settings
    shelves: Sequence[Shelf]
    measures: Measures
    rng: np.random.Generator
    stacks: list[list[Stack]]
    free_at: dict[tuple[int, int], float] = field(default_factory=dict)
    reaches: list[Reach] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    baskets: dict[str, list[tuple[float, Product]]] = field(default_factory=dict)
    """What a visitor has, and from when: one hand returns nothing that the other is picking."""
    at_shelf: dict[str, int] = field(default_factory=dict)

    def act(self, visit: Visit, now: float) -> float:
        """Plan a shopper's next reach (or two at once); return when the last hand is out."""
        rng = self.rng
        shelf = self.at_shelf.get(visit.session)
        if shelf is None or rng.random() < 0.2:
            shelf = int(rng.integers(len(self.shelves)))
            self.at_shelf[visit.session] = shelf
        hand = 1 if rng.random() < 0.6 else -1
        first = self._reach(visit, shelf, now, hand, None)
        if first is None:
            return now + 1.0
        end = first.end_s
        if self.settings.hands == 2 and rng.random() < 0.4:
            beside = self.shelves[shelf].facings[first.facing].x
            start = now + float(rng.uniform(0.0, 0.5))
            second = self._reach(visit, shelf, start, -hand, beside)
            if second is not None:
                end = max(end, second.end_s)
        return end

    def _reach(
        self, visit: Visit, shelf: int, start: float, hand: int, beside: float | None
    ) -> Reach | None:
        rng, basket = self.rng, self.baskets.setdefault(visit.session, [])
        acts = (Act.PICK, Act.RETURN, Act.LIFT, Act.TOUCH, Act.KNOCK)
        wanted = acts[int(rng.choice(5, p=(0.46, 0.35, 0.08, 0.07, 0.04)))]
        if wanted is Act.RETURN and any(since < start for since, _ in basket):
            return self._return(visit, shelf, start, hand, beside)
        if wanted is Act.RETURN:
            wanted = Act.PICK
        free = [f for f in self._free(shelf, start, hand, beside) if self.stacks[shelf][f.number]]
        if not free:
            return None
        weights = np.array([_appeal(self.stacks[shelf][facing.number][-1]) for facing in free])
        facing = free[int(rng.choice(len(free), p=weights / weights.sum()))]
        return self._handle(wanted, visit, shelf, facing, start, hand)

    def _free(self, shelf: int, start: float, hand: int, beside: float | None) -> list[Facing]:
        """Facings nobody is busy at; for a second hand those it comes to without crossing arms."""
        return [
            facing
            for facing in self.shelves[shelf].facings
            if self.free_at.get((shelf, facing.number), 0.0) < start
            and (beside is None or 0.12 < (facing.x - beside) * hand < 0.6)
        ]

    def _handle(
        self, act: Act, visit: Visit, shelf: int, facing: Facing, start: float, hand: int
    ) -> Reach:
        rng = self.rng
        stack = self.stacks[shelf][facing.number]
        item = stack[-1]
        arrive = start + float(rng.uniform(0.65, 1.2))
        change = arrive + float(rng.uniform(0.15, 0.5))
        rest = change
        after: Item | None = item
        if act is Act.PICK:
            after = None
        elif act is Act.LIFT:
            rest = change + float(rng.uniform(1.2, 2.6))
            after = _nudged(item, rng, 0.002)
        elif act is Act.KNOCK:
            after = _nudged(item, rng, 0.006)
        end = rest + float(rng.uniform(0.7, 1.15))
        reach = self._keep(
            Reach(act, visit, shelf, facing.number, hand, item, after, start, arrive, change, rest,
                  end, len(self.reaches))
        )  # fmt: skip
        rest_of = stack[:-1]
        if act is Act.PICK:
            self.baskets[visit.session].append((end, item.product))
            self._change(change, reach, rest_of, True)
        elif act is Act.LIFT:
            self._change(change, reach, rest_of, False)
        if act in (Act.LIFT, Act.KNOCK) and after is not None:
            self._change(rest, reach, (*rest_of, after), False)
        return reach

    def _return(
        self, visit: Visit, shelf: int, start: float, hand: int, beside: float | None
    ) -> Reach | None:
        rng, basket = self.rng, self.baskets[visit.session]
        mine = [held for held in basket if held[0] < start]
        held = mine[int(rng.integers(len(mine)))]
        product = held[1]
        astray = rng.random() < 0.2
        places = [
            (facing, item)
            for facing in self._free(shelf, start, hand, beside)
            if (facing.product.sku == product.sku) is not astray
            for item in [self._room_for(product, shelf, facing)]
            if item is not None
        ]
        if not places:
            return None
        facing, item = places[int(rng.integers(len(places)))]
        rest = start + float(rng.uniform(0.95, 1.5))
        end = rest + float(rng.uniform(0.75, 1.3))
        basket.remove(held)
        reach = self._keep(
            Reach(Act.RETURN, visit, shelf, facing.number, hand, item, item, start, rest, rest,
                  rest, end, len(self.reaches), astray)
        )  # fmt: skip
        self._change(rest, reach, (*self.stacks[shelf][facing.number], item), True)
        return reach

    def _room_for(self, product: Product, shelf: int, facing: Facing) -> Item | None:
        """Return how a product would stand in front of a facing's stack, None without room."""
        width, height, depth = (float(value) for value in self.measures(product))
        row = self.shelves[shelf].rows[facing.row]
        if width > facing.width + 0.004 or height > row.room - 0.02:
            return None
        stack = self.stacks[shelf][facing.number]
        if stack:
            front = stack[-1].front - depth - GAP_BEHIND - float(self.rng.uniform(0, 0.004))
        else:
            front = float(self.rng.uniform(FRONT_LINE, min(0.09, BOARD_DEPTH - depth)))
        if front < 0.002:
            return None
        x = facing.x + float(self.rng.normal(0, 0.003))
        return Item(product, x, front, float(self.rng.normal(0, 0.06)))

    def _keep(self, reach: Reach) -> Reach:
        self.reaches.append(reach)
        self.free_at[(reach.shelf, reach.facing)] = reach.end_s + REST_AFTER_S
        return reach

    def _change(self, time_s: float, reach: Reach, after: Stack, event: bool) -> None:
        before = self.stacks[reach.shelf][reach.facing]
        self.stacks[reach.shelf][reach.facing] = after
        self.changes.append(Change(time_s, reach.shelf, reach.facing, before, after, reach, event))


def _appeal(item: Item) -> float:
    """How often an item is reached for: unknown ones more often, so that no clip lacks them."""
    return 1.0 if item.product.known else UNKNOWN_APPEAL


def _nudged(item: Item, rng: np.random.Generator, metres: float) -> Item:
    return replace(
        item,
        x=item.x + float(rng.normal(0, metres)),
        front=max(item.front + abs(float(rng.normal(0, metres))), 0.002),
        yaw=item.yaw + float(rng.normal(0, metres * 8)),
    )


def visits_for(settings: Settings) -> tuple[Visit, ...]:
    """Spread the visits over the clip; neighbours overlap a little."""
    rng = np.random.default_rng([settings.seed, 41])
    if settings.shoppers == 0:
        return ()
    share = settings.duration_s / settings.shoppers
    visits = []
    for number in range(settings.shoppers):
        early, late = rng.uniform(-0.12, 0.06, 2) * share
        open_s = max(number * share + early, 0.5)
        close_s = min((number + 1) * share - late, settings.duration_s - 0.5)
        session = f"visit-{settings.seed}-{number + 1}"
        visits.append(Visit(session, number, round(float(open_s), 3), round(float(close_s), 3)))
    return tuple(visits)


def plan_for(settings: Settings, shelves: Sequence[Shelf], measures: Measures) -> Plan:
    """Plan the whole clip."""
    rng = np.random.default_rng([settings.seed, 43])
    planner = _Planner(settings, shelves, measures, rng, [list(shelf.stacks) for shelf in shelves])
    visits = visits_for(settings)
    last = settings.duration_s - LAST_QUIET_S
    turns = [
        (max(visit.open_s + float(rng.uniform(0.8, 2.5)), FIRST_REACH_S), visit.person, visit)
        for visit in visits
    ]
    heapq.heapify(turns)
    while turns:
        now, _, visit = heapq.heappop(turns)
        if now + 4.6 > min(visit.close_s, last):
            continue
        end = planner.act(visit, now)
        pause = float(rng.uniform(1.6, 5.5))
        heapq.heappush(turns, (end + pause, visit.person, visit))
    changes = sorted(planner.changes, key=lambda change: change.time_s)
    return Plan(visits, tuple(sorted(planner.reaches, key=lambda r: r.start_s)), tuple(changes))
