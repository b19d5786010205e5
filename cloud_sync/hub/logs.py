"""The hub's log: one JSON object a line on standard error, and no secret in it."""

from __future__ import annotations

import json
import logging
from typing import Any

from cloud_sync.logs import log_to_stderr, without_secrets

EXTRAS = ("status", "ms", "who")


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "from": record.name,
            "text": without_secrets(record.getMessage()),
        }
        for name in EXTRAS:
            if hasattr(record, name):
                value = getattr(record, name)
                line[name] = without_secrets(value) if isinstance(value, str) else value
        if record.exc_info:
            line["trace"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(level: int = logging.INFO) -> None:
    """Log as a process of the hub does; what nobody caught is logged as well."""
    log_to_stderr(JsonLines(), level)
    for noisy in ("alembic", "httpx", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
