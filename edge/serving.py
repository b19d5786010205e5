"""The bundle that decides, and how to go over to another one while the cameras run.

One recogniser decides for all cameras, one question at a time. Another takes its place between two
questions; until it is trusted the one before stays open, and answers what the new one fails at, so
that no event is lost to it; where there is none, the event goes to review. Called by the pipelines,
and by the installer of bundles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cloud_sync.messages import BundleMeasures
from edge.embed import Recogniser
from edge.gate import Decision, Verdict
from edge.runtime import RuntimeUnavailable
from models.bundle import Bundle, BundleError, load_bundle

log = logging.getLogger(__name__)


class Serving:
    """Decides with one bundle, and then with another.

    packaged: the bundle's folder that None stands for. recogniser: what decides first.
    runtime: as for `edge.runtime.open_network`. when_served: is told of every bundle that decides
    from now on, before its first decision.
    """

    def __init__(
        self,
        packaged: Path,
        recogniser: Recogniser,
        runtime: str,
        when_served: Callable[[Bundle], None] = lambda bundle: None,
    ) -> None:
        self._packaged = packaged
        self._runtime = runtime
        self.when_served = when_served
        self._lock = Lock()
        self._serves = recogniser
        self._before: Recogniser | None = None
        self._reset()

    @property
    def bundle(self) -> Bundle:
        """The bundle that decides."""
        return self._serves.bundle

    def decide(self, crops: Sequence[NDArray[np.uint8]], groups: Sequence[str] = ()) -> Decision:
        """Say which product crops show; waits for whoever asked before.

        The decision carries the digest of the bundle that made it.
        """
        with self._lock:
            started = time.perf_counter()
            try:
                decision = self._serves.decide(crops, groups)
                by = self._serves.bundle.digest
            except Exception:  # whatever a bundle on probation does, the event goes on
                self._errors += 1
                log.exception("the bundle cannot decide")
                decision, by = self._otherwise(crops, groups)
            else:
                self._decisions += 1
                self._unknown += decision.verdict is Verdict.REJECT
                self._spent_s += time.perf_counter() - started
        return replace(decision, bundle=by)

    def _otherwise(
        self, crops: Sequence[NDArray[np.uint8]], groups: Sequence[str]
    ) -> tuple[Decision, str]:
        """Decide with the bundle before, while there is one; else leave it to a person."""
        if self._before is None:
            return Decision(Verdict.REVIEW, None, 2.0, (), ""), self._serves.bundle.digest
        return self._before.decide(crops, groups), self._before.bundle.digest

    def open(self, bundle: Path | None) -> Recogniser:
        """Make a bundle ready to decide. Raises BundleError."""
        try:
            opened = load_bundle(bundle or self._packaged)
            return Recogniser(opened, runtime=self._runtime, like=self._serves)
        except RuntimeUnavailable as error:
            raise BundleError(str(error)) from error

    def serve(self, opened: Recogniser) -> None:
        """Decide with another bundle from now on."""
        self.when_served(opened.bundle)
        with self._lock:
            self._before, self._serves = self._serves, opened
            self._reset()

    def trust(self) -> None:
        """Let go of the bundle before."""
        with self._lock:
            self._before = None

    def measures(self) -> BundleMeasures:
        """How the bundle does since it serves."""
        return BundleMeasures(
            decisions=self._decisions,
            unknown=self._unknown,
            errors=self._errors,
            mean_ms=1000.0 * self._spent_s / self._decisions if self._decisions else 0.0,
            seconds=time.monotonic() - self._since,
        )

    def _reset(self) -> None:
        self._decisions = self._unknown = self._errors = 0
        self._spent_s, self._since = 0.0, time.monotonic()
