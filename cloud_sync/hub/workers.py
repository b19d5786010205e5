"""Several ingest workers, a process each, under one hub.

Each runs `shelfgate hub ingest`, which writes a line of JSON to its standard output whenever what
keeps it from working changes, and ends when its standard input does: it never outlives the hub,
however that ended. One that dies is started again.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

LOOK_S = 0.5
AGAIN_MOST_S = 30.0
END_S = 15.0


class Worker:
    """One process, and what it last said. command: its arguments after `shelfgate`."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name, self._command, self._environment = name, command, environment
        self.problem: str | None = "not started yet"
        self._again_s = LOOK_S
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from edge.cli import main; main()", *self._command],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        reader = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        reader.start()

    def pause_s(self) -> float:
        """Say how long to wait before it is started again; longer each time."""
        pause, self._again_s = self._again_s, min(2 * self._again_s, AGAIN_MOST_S)
        return pause

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                self.problem = json.loads(line)["problem"]
            except (ValueError, KeyError, TypeError):
                continue
            if self.problem is None:
                self._again_s = LOOK_S
        self.problem = f"ingest worker {self._name} ended"


class Workers:
    """So many workers; the same face as one `cloud_sync.hub.ingest.Ingest`.

    command: arguments of `shelfgate` for a worker, without its name. environment: its variables.
    """

    def __init__(
        self, names: Sequence[str], command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._names, self._command, self._environment = names, command, environment
        self._workers: list[Worker] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="workers", daemon=True)

    @property
    def problem(self) -> str | None:
        """What keeps any of them from working; None where nothing does."""
        if not self._workers:
            return "not started yet"
        return next((one.problem for one in self._workers if one.problem), None)

    def start(self) -> None:
        """Start them all."""
        self._workers = [
            Worker(name, [*self._command, "--worker", name], self._environment)
            for name in self._names
        ]
        self._thread.start()

    def stop(self) -> None:
        """End them all, and wait."""
        self._stopping.set()
        self._thread.join()
        for worker in self._workers:
            assert worker.process.stdin is not None
            worker.process.stdin.close()
        for worker in self._workers:
            try:
                worker.process.wait(END_S)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for name, worker in zip(self._names, self._workers, strict=True):
                code = worker.process.poll()
                if code is not None and not self._stopping.is_set():
                    log.error("ingest worker %s ended with %d; starting it again", name, code)
                    self._stopping.wait(worker.pause_s())
                    worker.start()
