"""Where the commands about signed bundles write down what they change.

In the hub's audit log where there is a hub on this machine, and in the repository's own
`log.jsonl` wherever it lies: a repository may be signed on a machine that is no hub.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from cloud_sync.hub.audit import Audit, Who
from cloud_sync.trust_keys import TrustError

LOG = "log.jsonl"


class Changes:
    """Writes down what somebody changes. clock: Unix seconds.

    engine: the hub's database, None where there is no hub. folder: the repository's, None where
    none is changed.
    """

    def __init__(
        self,
        who: Who,
        engine: Engine | None,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._who, self._engine, self._folder, self._clock = who, engine, folder, clock

    def write(self, action: str, subject: str, **detail: Any) -> None:
        """Note a change that is made. detail: what JSON can hold, and no secret.

        Raises TrustError where the repository's folder does not take it.
        """
        if self._folder is not None:
            line = {"at": round(self._clock(), 3), "who": self._who.name, "action": action}
            _append(self._folder / LOG, {**line, "subject": subject, "detail": detail})
        if self._engine is not None:
            with self._engine.begin() as connection:
                audit = Audit(self._engine, self._clock)
                audit.write(connection, self._who, action, subject, **detail)


def read_log(folder: Path, limit: int) -> list[dict[str, Any]]:
    """Give a repository's changes, newest first. Raises TrustError where they cannot be read."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in reversed(lines[-limit:])]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise TrustError(f"{folder / LOG}: cannot be read: {error}") from error


def _append(path: Path, line: dict[str, Any]) -> None:
    # One write to a file opened for appending: two who sign at once do not mix their lines.
    content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise TrustError(f"{path}: done, but not written down: {why}") from error
