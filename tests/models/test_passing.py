"""What passes by itself is told from what somebody has to mend."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
from pathlib import Path

import pytest

from models.passing import cannot_start, may_pass


class PartError(Exception):
    """What a part raises, with what is behind it as its cause."""


def behind(cause: BaseException) -> PartError:
    try:
        try:
            raise PartError("one") from cause
        except PartError as error:
            raise PartError("two") from error
    except PartError as error:
        return error


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1),
        (OSError(errno.EADDRINUSE, "taken"), 1),
        (OSError(errno.EADDRNOTAVAIL, "not there yet"), 1),
        (BlockingIOError(errno.EAGAIN, "somebody has the lock"), 1),
        (TimeoutError(), 1),
        (ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens"), 1),
        (socket.gaierror(socket.EAI_AGAIN, "no answer yet"), 1),
        (socket.gaierror(socket.EAI_NONAME, "no such host"), 2),
        (PermissionError(errno.EACCES, "not yours"), 2),
        (FileNotFoundError(errno.ENOENT, "no such file"), 2),
        (OverflowError("port"), 2),
    ],
)
def test_what_is_behind_an_error_decides(cause: BaseException, code: int) -> None:
    error = behind(cause)
    assert may_pass(error) is (code == 1)
    assert cannot_start(error).exit_code == code
    assert cannot_start(error, "in words").message == "in words"


def test_a_database_that_is_locked_may_be_free_later_and_one_that_is_none_stays_none(
    tmp_path: Path,
) -> None:
    path = tmp_path / "one.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.Error) as locked:
        sqlite3.connect(path, timeout=0.0).execute("CREATE TABLE t (x)")
    holder.close()
    (tmp_path / "letter.db").write_text("Dear shop, " * 1000)
    with pytest.raises(sqlite3.Error) as none:
        sqlite3.connect(tmp_path / "letter.db").execute("SELECT * FROM sqlite_master")
    assert may_pass(behind(locked.value))
    assert not may_pass(behind(none.value))
