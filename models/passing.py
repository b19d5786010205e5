"""Tell what keeps a command from starting for a while from what somebody has to mend.

What starts commands (systemd) tries again where one ends with exit code 1, and leaves it where the
input is bad, exit code 2. Ground floor, so that every command of ours can. Pure.
"""

from __future__ import annotations

import errno
import socket
import sqlite3

import click

from models.bad_input import BadInput

_NUMBERS = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EAGAIN,
}  # fmt: skip
"""No room, a disk that fails, an address that is taken or not there yet, a lock somebody holds."""

_SQLITE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
}  # fmt: skip


class PassingError(Exception):
    """Base of errors that say of themselves that they may pass, where their causes do not tell."""


def may_pass(error: BaseException) -> bool:
    """Return whether what is behind an error, by its causes, may be gone at the next try."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, PassingError):
            return True
        if isinstance(behind, sqlite3.Error):
            return getattr(behind, "sqlite_errorcode", 0) & 0xFF in _SQLITE
        if isinstance(behind, socket.gaierror):
            return behind.errno == socket.EAI_AGAIN
        if isinstance(behind, TimeoutError | ConnectionError):
            return True
        if isinstance(behind, OSError):
            return behind.errno in _NUMBERS
        behind = behind.__cause__
    return False


def cannot_start(error: BaseException, said: str = "") -> click.ClickException:
    """Return what a command that cannot start raises: exit code 1 where it may pass, else 2.

    said: the line to print, the error's own where empty.
    """
    kind = click.ClickException if may_pass(error) else BadInput
    return kind(said or str(error))
