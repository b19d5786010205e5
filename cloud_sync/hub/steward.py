"""The hub's own thread: steps rollouts, and puts wishes down at the broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from cloud_sync.hub.courier import Courier
from cloud_sync.hub.rollouts import Rollouts
from cloud_sync.hub.shadows import Shadows

log = logging.getLogger(__name__)

LOOK_S = 0.5
CHORES_S = 3_600.0


class Steward:
    """Looks twice a second; a database or a broker that is away is met again.

    chores: done at the start and every hour.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        shadows: Shadows,
        courier: Courier,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._rollouts, self._shadows, self._courier = rollouts, shadows, courier
        self._chores, self._chores_at = chores, 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steward", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._courier.start()
        self._thread.start()

    def stop(self) -> None:
        """End, and wait."""
        self._stopping.set()
        self._thread.join()
        self._courier.stop()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                self._do_chores()
                self._rollouts.step()
                if self._courier.is_up:
                    self._shadows.mend()
                    due = self._shadows.due()
                    if due:
                        self._shadows.published(self._courier.publish_wishes(due))
            except (SQLAlchemyError, OSError) as error:
                log.error("rollouts rest: %s", str(error)[:300])
                self._stopping.wait(2.0)

    def _do_chores(self) -> None:
        now = time.monotonic()
        if now >= self._chores_at:
            self._chores_at = now + CHORES_S
            for chore in self._chores:
                chore()
