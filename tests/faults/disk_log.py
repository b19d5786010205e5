"""What a process wrote to its disk, call by call: the disk as it was at any moment of its life.

`strace` notes every call by which a program changes a folder, with the bytes. Played again up to a
moment, they give the disk that a power cut at that moment leaves: with the last write torn, and, if
wanted, without whatever no fsync had brought onto the disk.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,creat,lseek,write,pwrite64,sendfile,copy_file_range,ftruncate,truncate,fallocate,"
    "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
VOLATILE = ("-shm",)
"""What SQLite shares between processes in memory; a power cut leaves none of it that counts."""

_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_HANDLE = re.compile(r"^(-?\d+|AT_FDCWD)(?:<((?:\\x[0-9a-f]{2}|[^<>])*)>)?(\(deleted\))?")


def strace(log: Path) -> list[str]:
    """Give the words that, before a command, have its calls written to a file."""
    return ["strace", "-f", "-qq", "-y", "-xx", "-s", "16777216", "--seccomp-bpf",
            "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log)]  # fmt: skip


def can_trace() -> bool:
    """Whether this machine has strace and lets it trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changed something. path: the file; other: what it is renamed to."""

    name: str
    path: str
    data: bytes = b""
    offset: int = 0
    other: str = ""


def calls(log: Path, folder: Path) -> Iterator[Call]:
    """Read a log: the calls that changed the folder, and every line written to standard output.

    The latter are calls named `said`, with the line as their data.
    """
    waiting: dict[str, str] = {}
    places: dict[tuple[str, str], int] = {}
    inside = f"{folder}/"
    with log.open(encoding="latin-1") as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            pid, text = found.groups()
            if text.endswith("<unfinished ...>"):
                waiting[pid] = text.removesuffix("<unfinished ...>").rstrip()
                continue
            resumed = _RESUMED.match(text)
            if resumed is not None:
                text = waiting.pop(pid, "") + resumed.group(2).lstrip()
            call = _CALL.match(text)
            if call is not None and int(call.group(3)) >= 0:
                yield from _changes(
                    call.group(1), call.group(2), int(call.group(3)), places, inside
                )


def _changes(
    name: str, arguments: str, result: int, places: dict[tuple[str, str], int], inside: str
) -> Iterator[Call]:
    handle = _HANDLE.match(arguments)
    number, path = ("", "") if handle is None else (handle.group(1), _named(handle.group(2)))
    at = (number, path)
    numbers = [int(word) for word in re.findall(r", \[?(-?\d+)", _TEXT.sub('""', arguments))]
    if name in ("openat", "creat"):
        full = _joined(*_pairs(arguments)[0])
        if full.startswith(inside):
            if "O_APPEND" in arguments:
                raise NotImplementedError(f"appending to {full}: this log cannot play it")
            places[(str(result), full)] = 0
            if "O_CREAT" in arguments or name == "creat":
                yield Call("create", full)
            if "O_TRUNC" in arguments or name == "creat":
                yield Call("truncate", full)
    elif name == "write" and number == "1":
        yield Call("said", "", bytes.fromhex(_hex(arguments)))
    elif name in ("link", "linkat"):
        names = [_joined(folder, text) for folder, text in _pairs(arguments)]
        if names[1].startswith(inside):
            yield Call("link", names[0], other=names[1])
    elif name in ("rename", "renameat", "renameat2", "mkdir", "mkdirat", "unlink", "unlinkat",
                  "rmdir", "truncate"):  # fmt: skip
        yield from _of_names(name, arguments, numbers, inside)
    elif path.startswith(inside):
        yield from _of_a_handle(name, arguments, result, at, numbers, places)


def _of_names(name: str, arguments: str, numbers: list[int], inside: str) -> Iterator[Call]:
    first, *others = [_joined(folder, text) for folder, text in _pairs(arguments)]
    if not first.startswith(inside):
        return
    if name.startswith("rename"):
        yield Call("rename", first, other=others[0])
    elif name == "truncate":
        yield Call("truncate", first, offset=numbers[-1])
    else:
        yield Call("mkdir" if name.startswith("mkdir") else "remove", first)


def _of_a_handle(
    name: str, arguments: str, result: int, at: tuple[str, str], numbers: list[int],
    places: dict[tuple[str, str], int],
) -> Iterator[Call]:  # fmt: skip
    path = at[1]
    if name == "lseek":
        places[at] = result
    elif name == "write":
        offset = places.get(at, 0)
        yield Call("write", path, bytes.fromhex(_hex(arguments))[:result], offset)
        places[at] = offset + result
    elif name == "pwrite64":
        yield Call("write", path, bytes.fromhex(_hex(arguments))[:result], numbers[-1])
    elif name == "sendfile":
        source = _HANDLE.match(arguments.split(", ")[1])
        assert source is not None
        with Path(_named(source.group(2))).open("rb") as file:
            file.seek(numbers[-2])
            data = file.read(result)
        offset = places.get(at, 0)
        yield Call("write", path, data, offset)
        places[at] = offset + result
    elif name == "ftruncate":
        yield Call("truncate", path, offset=numbers[-1])
    elif name in ("fsync", "fdatasync"):
        yield Call("sync", path)
    elif name in ("copy_file_range", "fallocate"):
        raise NotImplementedError(f"{name} of {path}: this log cannot play it")


def _hex(arguments: str) -> str:
    found = _TEXT.search(arguments)
    assert found is not None
    assert not found.group(2), "strace cut a write off"
    return found.group(1).replace("\\x", "")


def _pairs(arguments: str) -> list[tuple[str, str]]:
    """Give every name in a call's arguments with the folder that it is looked up in."""
    pairs, folder = [], ""
    for word in arguments.split(", "):
        text, handle = _TEXT.fullmatch(word), _HANDLE.match(word)
        if text is not None:
            pairs.append((folder, _plain(text.group(1))))
            folder = ""
        elif handle is not None:
            folder = _named(handle.group(2))
    return pairs


def _plain(text: str) -> str:
    return os.fsdecode(bytes.fromhex(text.replace("\\x", "")))


def _named(text: str | None) -> str:
    if text is None:
        return ""
    return _plain(text) if text.startswith("\\x") else text


def _joined(folder: str, name: str) -> str:
    return str(Path(folder or "/", name))


@dataclass(slots=True)
class _File:
    """A file's bytes, and what its writes since the last fsync have overwritten, oldest first."""

    content: bytearray = field(default_factory=bytearray)
    undo: list[tuple[int, bytes, int]] = field(default_factory=list)


class Disk:
    """The folder, played again from nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._folders: set[str] = set()

    def play(self, call: Call) -> None:
        """Do a call again."""
        path = call.path
        if call.name == "create":
            self._files.setdefault(path, _File())
        elif call.name == "mkdir":
            self._folders.add(path)
        elif call.name == "remove":
            self._files.pop(path, None)
            self._folders.discard(path)
        elif call.name == "link":
            there = self._files.get(path)
            self._files[call.other] = there or _File(bytearray(Path(path).read_bytes()))
        elif call.name == "rename":
            self._rename(path, call.other)
        elif path in self._files and call.name == "write":
            file = self._files[path]
            self._note(file, call.offset, len(call.data))
            file.content.extend(bytes(max(0, call.offset - len(file.content))))
            file.content[call.offset : call.offset + len(call.data)] = call.data
        elif path in self._files and call.name == "truncate":
            file = self._files[path]
            self._note(file, call.offset, max(0, len(file.content) - call.offset))
            file.content.extend(bytes(max(0, call.offset - len(file.content))))
            del file.content[call.offset :]
        elif path in self._files and call.name == "sync":
            self._files[path].undo.clear()

    def _note(self, file: _File, offset: int, length: int) -> None:
        was = bytes(file.content[offset : offset + length])
        file.undo.append((offset, was, len(file.content)))

    def _rename(self, path: str, other: str) -> None:
        if path in self._files:
            self._files[other] = self._files.pop(path)
            return
        for name in [name for name in self._files if name.startswith(path + "/")]:
            self._files[other + name.removeprefix(path)] = self._files.pop(name)
        for name in [n for n in self._folders if n == path or n.startswith(path + "/")]:
            self._folders.discard(name)
            self._folders.add(other + name.removeprefix(path))

    def leave(self, into: Path, *, unsynced: bool) -> None:
        """Write what a power cut now leaves. unsynced: whether all writes had reached the disk."""
        into.mkdir(parents=True)
        for name in sorted(self._folders):
            (into / Path(name).relative_to(self._folder)).mkdir(parents=True, exist_ok=True)
        for name, file in self._files.items():
            if name.endswith(VOLATILE):
                continue
            content = bytearray(file.content)
            for offset, was, length in [] if unsynced else reversed(file.undo):
                content[offset : offset + len(was)] = was
                del content[length:]
                content.extend(bytes(max(0, length - len(content))))
            place = into / Path(name).relative_to(self._folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
