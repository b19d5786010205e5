"""Decide among a bundle's category groups: each has a gate, and the router says whom to ask first.

Used by the recogniser for every item, and handed to evaluation, so that what is measured is what a
device does. Pure: embeddings in, a Decision out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.gate import Decision, Gate, Verdict
from models.groups import Groups
from models.router import Router
from models.table import GroupTable

Embedding = Callable[[str], NDArray[np.float32]]
"""Gives the (D,) embedding of the item in question by the model of this name."""


class Panel:
    """The gates of several groups, asked as one."""

    def __init__(
        self,
        tables: Mapping[str, GroupTable],
        model_of: Mapping[str, str],
        router: Router | None = None,
        router_model: str = "",
    ) -> None:
        """Take tables and the names of their models by group, and the router between them.

        gates: of each group, in the order of the tables.
        """
        self.gates = {name: Gate(table, name) for name, table in tables.items()}
        self._model_of = model_of
        self._router = router
        self._router_model = router_model

    def ask(self, group: str, embedding: Embedding) -> Decision:
        """Ask one group's gate. Raises KeyError."""
        return self.gates[group].decide(embedding(self._model_of[group]))

    def decide(self, embedding: Embedding, groups: Sequence[str] = ()) -> Decision:
        """Decide which product an item is.

        groups: category groups to ask first; names there is no gate for are passed over. What none
            of them knows is asked of all others. Without any the router says whom to ask first,
            and whether that is enough.
        """
        first = [name for name in groups if name in self.gates]
        asked: list[Decision] = []
        if not first and self._router is not None and len(self.gates) > 1:
            route = self._router.route(embedding(self._router_model))
            # A router that is not sure must not leave it to one group: see `combined`.
            first = list(route.groups[:1]) if route.sure else []
        for name in first:
            asked.append(self.ask(name, embedding))
            if asked[-1].sku is not None:
                return asked[-1]
        others = [self.ask(name, embedding) for name in self.gates if name not in first]
        return combined([*asked, *others])


def panel_of(groups: Groups) -> Panel:
    """Return what decides among groups."""
    return Panel(groups.tables, groups.model_of, groups.router, groups.router_model)


def combined(decisions: Sequence[Decision]) -> Decision:
    """Make one decision of what several groups said.

    One group that knows the item settles it. Several that do are a question for a person, as is an
    item that one group asks to review; an item is unknown where it is to all.
    """
    known = [decision for decision in decisions if decision.sku is not None]
    if len(known) == 1:
        return known[0]
    if known:
        return _review(known)
    doubtful = [decision for decision in decisions if decision.verdict is Verdict.REVIEW]
    return min(doubtful or decisions, key=lambda decision: decision.distance)


def _review(decisions: Sequence[Decision]) -> Decision:
    nearest = sorted(
        (candidate for decision in decisions for candidate in decision.nearest),
        key=lambda candidate: candidate.distance,
    )
    best = min(decisions, key=lambda decision: decision.distance)
    return Decision(
        verdict=Verdict.REVIEW,
        sku=None,
        distance=nearest[0].distance,
        nearest=tuple(nearest),
        group=best.group,
        immediate=False,
        strangeness=min(decision.strangeness for decision in decisions),
    )
