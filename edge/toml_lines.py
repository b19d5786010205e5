"""Find the line on which each value of a TOML document stands.

The standard library's reader gives values without places; an error for a person needs the place.
Only for documents that `tomllib` has already accepted: the scanner checks nothing. Called by
`edge.config`.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]
"""Keys and list indexes from the root, as in ("camera", 0, "zones", 1, "polygon")."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*("(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\])*"|' + r"'[^']*'", re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def lines_of(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every table, key and list element of a valid document."""
    return _Scanner(text).scan()


class _Scanner:
    """Walks the text once, left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {(): 1}
        self._counts: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self._skip_blank()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip_blank()
        return self._lines

    def _skip_blank(self) -> None:
        self._at = self._match(_BLANK).end()

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"not valid TOML at offset {self._at}")
        return found

    def _mark(self, path: Path) -> None:
        self._lines.setdefault(path, self._text.count("\n", 0, self._at) + 1)

    def _keys(self) -> list[str]:
        """Read a dotted key."""
        keys = []
        while True:
            found = self._match(_KEY)
            keys.append(found.group(1).strip("\"'"))
            self._at = found.end()
            if self._text[self._at : self._at + 1] != ".":
                return keys
            self._at += 1

    def _header(self) -> Path:
        """Read `[a.b]` or `[[a.b]]`; return the path of the table it opens."""
        start = self._at
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        keys = self._keys()
        end = self._at + brackets
        self._at = start
        path: Path = ()
        for key in keys[:-1]:
            path = self._inside((*path, key))
            self._mark(path)
        path = (*path, keys[-1])
        if brackets == 2:
            self._mark(path)
            self._counts[path] = self._counts.get(path, -1) + 1
            path = self._inside(path)
        self._mark(path)
        self._at = end
        return path

    def _inside(self, path: Path) -> Path:
        """Return the last table of a list of tables, or the table itself."""
        return (*path, self._counts[path]) if path in self._counts else path

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        keys = self._keys()
        after_key = self._at
        self._at = start
        for key in keys:
            path = (*path, key)
            self._mark(path)
        self._at = after_key + 1
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip_blank()
        opening = self._text[self._at]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._at = self._match(_STRING if opening in "\"'" else _SCALAR).end()

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while not self._closes("]"):
            self._mark((*path, index))
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while not self._closes("}"):
            self._pair(path)

    def _closes(self, bracket: str) -> bool:
        """Step over blanks, a comma and, where it comes next, the closing bracket."""
        self._skip_blank()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip_blank()
        if self._text[self._at] == bracket:
            self._at += 1
            return True
        return False
