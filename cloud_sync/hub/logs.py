"""The hub's log: one JSON object a line on standard error, and no secret in it."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any

log = logging.getLogger(__name__)

SECRETS = (
    (re.compile(r"sg[tc]_[A-Za-z0-9]+_[A-Za-z0-9_-]+"), "[hidden]"),
    (re.compile(r"(://[^\s:/@]*):[^\s/]*@"), r"\1:[hidden]@"),
    (
        re.compile(r"(?i)\b(authorization|password|passphrase|secret)(\W{1,4})(bearer )?[^\s,;]+"),
        r"\1\2[hidden]",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END|$)", re.DOTALL), "[hidden]"),
)
"""What must not be written down, wherever it comes from: tokens and codes, passwords, keys."""

EXTRAS = ("status", "ms", "who")


def without_secrets(text: str) -> str:
    """Blot out what looks like a secret."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


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
    """Send everything that is logged to standard error; what nobody caught is logged as well."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _when_uncaught
    threading.excepthook = lambda one: _when_uncaught(
        one.exc_type, one.exc_value or one.exc_type(), one.exc_traceback
    )
    for noisy in ("alembic", "httpx", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _when_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("ended by what nobody caught: %s", error, exc_info=(kind, error, trace))
