"""What every process of ours logs to standard error, box or hub, and that no secret is in it.

The hub writes JSON (`cloud_sync.hub.logs`), a box writes lines for people; both blot out the same.
Ground floor: imports none of ours.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from types import TracebackType

log = logging.getLogger(__name__)

SECRETS = (
    (re.compile(r"sg[tc]_[A-Za-z0-9]+_[A-Za-z0-9_-]+"), "[hidden]"),
    (re.compile(r"(://[^\s:/@]*):[^\s/]*@"), r"\1:[hidden]@"),
    (
        re.compile(r"(?i)\b(authorization|password|passphrase|secret)(\W{1,4})(bearer )?[^\s,;]+"),
        r"\1\2[hidden]",
    ),
    # Cameras are asked for pictures with passwords in their addresses.
    (re.compile(r"(?i)([?&]\w*(?:pass|pwd|token|key|secret|auth)\w*=)[^\s&'\"]+"), r"\1[hidden]"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END|$)", re.DOTALL), "[hidden]"),
)
"""What must not be written down, wherever it comes from: tokens and codes, passwords, keys."""


def without_secrets(text: str) -> str:
    """Blot out what looks like a secret."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


class PlainLines(logging.Formatter):
    """Writes a record as a line for a person to read."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, a trace behind it where there is one."""
        return without_secrets(super().format(record))


def log_to_stderr(lines: logging.Formatter, level: int = logging.INFO) -> None:
    """Send everything that is logged to standard error; what nobody caught is logged as well."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _when_uncaught
    threading.excepthook = lambda one: _when_uncaught(
        one.exc_type, one.exc_value or one.exc_type(), one.exc_traceback
    )


def _when_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("ended by what nobody caught: %s", error, exc_info=(kind, error, trace))
