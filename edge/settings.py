"""Read a TOML document into typed dataclasses, with errors that name the file, line and key.

A section is a dataclass; a field's metadata may bound it: `minimum`, `maximum`, `choices` and
`pattern`. What the sections are is `edge.config`'s business.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from edge import toml_lines

_KINDS = {
    str: "a string in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path in quotes",
    Path | None: "a path in quotes",
}


class ConfigError(ValueError):
    """The configuration cannot be used; the message says where and why, in one line."""


def read_toml(path: Path) -> Table:
    """Read a file.

    Raises ConfigError where it cannot be read or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file (UTF-8)") from error
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_not_toml(path, text, str(error))) from error
    lines = toml_lines.lines_of(text.replace("\r\n", "\n"))
    return Table(path, document, (), lines)


def _not_toml(path: Path, text: str, message: str) -> str:
    """Turn the reader's "... (at line 3, column 8)" into our form."""
    reason, _, place = message.rpartition(" (at ")
    line = re.match(r"line (\d+)", place)
    number = int(line.group(1)) if line else text.rstrip("\n").count("\n") + 1
    return f"{path}:{number}: not valid TOML: {reason or message}"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a document and the place where it stands."""

    file: Path
    values: Mapping[str, Any]
    path: toml_lines.Path
    lines: Mapping[toml_lines.Path, int]

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.file.parent

    def get(self, key: str, otherwise: object = None) -> Any:
        """Return a value as it was written."""
        return self.values.get(key, otherwise)

    def error(self, message: str, key: str | None = None) -> ConfigError:
        """Return an error that points at a key of this table, or at the table itself."""
        place = (*self.path, key) if key is not None else self.path
        while place not in self.lines:
            place = place[:-1]
        label = self._label()
        subject = f"{key}: " if key is not None else ""
        return ConfigError(f"{self.file}:{self.lines[place]}: {label}{subject}{message}")

    def _label(self) -> str:
        """Return "[motion] ", "[[camera]] " or, at the root, nothing."""
        names = ".".join(part for part in self.path if isinstance(part, str))
        if not names:
            return ""
        return f"[[{names}]] " if isinstance(self.path[-1], int) else f"[{names}] "

    def refuse_unknown(self, known: Iterable[str], kind: str = "key") -> None:
        """Raise ConfigError at the first key that is not known, with the nearest one that is."""
        names = tuple(known)
        for key in self.values:
            if key in names:
                continue
            close = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
            raise ConfigError(f"{self._where(key)}unknown {kind} {key!r}: {hint}")

    def _where(self, key: str) -> str:
        line = self.lines.get((*self.path, key), self.lines.get(self.path, 1))
        return f"{self.file}:{line}: {self._label()}"

    def table(self, name: str) -> Table:
        """Return the table `[name]`, empty where the document has none.

        Raises ConfigError where something else has that name.
        """
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self.error(f"is a section: write [{name}] on a line of its own", name)
        return Table(self.file, value, (*self.path, name), self.lines)

    def tables(self, name: str) -> tuple[Table, ...]:
        """Return the tables `[[name]]`.

        Raises ConfigError where something else has that name.
        """
        values = self.values.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            full = ".".join((*(part for part in self.path if isinstance(part, str)), name))
            raise self.error(f"is a list of tables: write [[{full}]] above each", name)
        return tuple(
            Table(self.file, value, (*self.path, name, index), self.lines)
            for index, value in enumerate(values)
        )

    def read(self, section: type, by_hand: tuple[str, ...] = ()) -> Any:
        """Read the table as a section.

        section: the dataclass. by_hand: fields that the caller reads itself; with any, the other
        fields are returned as a dict instead of an instance.
        Raises ConfigError at an unknown key, a missing one, a wrong type or a value out of bounds.
        """
        self.refuse_unknown(entry.name for entry in fields(section))
        hints = get_type_hints(section)
        values: dict[str, Any] = {}
        for entry in fields(section):
            if entry.name in by_hand:
                continue
            required = entry.default is MISSING and entry.default_factory is MISSING
            if entry.name in self.values or required:
                values[entry.name] = self.scalar(entry.name, hints[entry.name], entry.metadata)
        return values if by_hand else section(**values)

    def scalar(self, key: str, kind: Any, bounds: Mapping[str, Any]) -> Any:
        """Read one value.

        kind: str, bool, int, float, Path or Path | None. bounds: as in a field's metadata.
        Raises ConfigError where it is missing, of another type or out of bounds.
        """
        if key not in self.values:
            raise self.error("is missing", key)
        value = self.values[key]
        if not _is_a(value, kind):
            raise self.error(f"{_KINDS[kind]} expected, not {_shown(value)}", key)
        if kind is float:
            value = float(value)
        if reason := _out_of_bounds(value, bounds):
            raise self.error(reason, key)
        if kind in (Path, Path | None):
            return self._path(key, value, kind)
        return value

    def _path(self, key: str, value: str, kind: Any) -> Path | None:
        if value:
            try:
                return self.folder / Path(value).expanduser()
            except RuntimeError as error:
                raise self.error(f"{value}: there is no such home folder", key) from error
        if kind is Path:
            raise self.error("a path expected, not an empty string", key)
        return None


def _is_a(value: object, kind: Any) -> bool:
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)  # type: ignore[arg-type]
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str if kind in (Path, Path | None) else kind)


def _shown(value: object) -> str:
    """Return a value as the file would write it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _out_of_bounds(value: Any, bounds: Mapping[str, Any]) -> str:
    """Return why a value is not allowed, or nothing."""
    minimum, maximum = bounds.get("minimum"), bounds.get("maximum")
    if minimum is not None and value < minimum and maximum is None:
        return f"{value} is too small: {minimum} or more"
    if minimum is not None and maximum is not None and not minimum <= value <= maximum:
        return f"{value} is out of range: {minimum} to {maximum}"
    if (choices := bounds.get("choices")) and value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        return f"{value!r} is none of {', '.join(choices)}{hint}"
    if (pattern := bounds.get("pattern")) and not re.fullmatch(pattern, value):
        return f"{value!r} is no name: letters, digits, '-', '_' and '.', 64 at most"
    return ""
