"""Where each key of a TOML text stands: line numbers, which ``tomllib`` does not tell.

The scanner knows only as much TOML as it takes to find keys: headers, dotted and quoted keys,
strings, arrays, inline tables. It trusts ``tomllib`` to judge the text and never raises; where it
loses its way it goes on at the next line, and a key it did not find gets its table's line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")  # also line ends and comments
_SCALAR = re.compile(r"[^\s,\]}#]+(?:[ ][0-9][^\s,\]}#]*)?")  # a date and its time may be apart
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_ESCAPE = re.compile(r'\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[btnfr"\\])')
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_DEPTH = 64


class Spot(NamedTuple):
    """Where a key stands. ``raw`` is its value as written, where that is one word."""

    line: int
    raw: str = ""


class Header(NamedTuple):
    """A ``[table]`` header: its line and its text between the brackets, as written."""

    line: int
    text: str


class Spots:
    """All keys of a text, by path; arrays count from 0."""

    def __init__(self) -> None:
        self.by_path: dict[Path, Spot] = {}
        self.headers: dict[Path, Header] = {}
        self.again: dict[int, int] = {}  # line of a key given twice -> line where it stood first

    def line(self, path: Path) -> int:
        """The line of a key, or of the nearest table around it; 1 where nothing is known."""
        for length in range(len(path), 0, -1):
            spot = self.by_path.get(path[:length])
            if spot:
                return spot.line
        return 1

    def raw(self, path: Path) -> str:
        """The value as it is written (``1.10``, not 1.1); empty where it is not one word."""
        spot = self.by_path.get(path)
        return spot.raw if spot else ""


class _Lost(Exception):
    """The scanner does not understand this line."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.spots = Spots()
        self._line = 1
        self._counted = 0  # up to where line ends are counted: the text is read once
        self._first: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}  # [[table]]: the index of its newest element

    def line(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = max(self._counted, self.at)
        return self._line

    def run(self) -> Spots:
        prefix: Path = ()
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                return self.spots
            try:
                if self.text[self.at] == "[":
                    prefix = self._header()
                else:
                    self._pair(prefix, 0)
            except (_Lost, ValueError, OverflowError):
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _take(self, word: str) -> bool:
        if not self.text.startswith(word, self.at):
            return False
        self.at += len(word)
        return True

    def _string(self) -> str:
        for pattern in _STRINGS:
            found = pattern.match(self.text, self.at)
            if found:
                self.at = found.end()
                return found.group()
        raise _Lost

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            bare = _BARE.match(self.text, self.at)
            if bare:
                self.at = bare.end()
                parts.append(bare.group())
            else:
                quoted = self._string()
                inner = quoted[1:-1]
                parts.append(_ESCAPE.sub(_unescape, inner) if quoted[0] == '"' else inner)
            self._skip(_BLANK)
            if len(parts) > _DEPTH:
                raise _Lost
            if not self._take("."):
                return tuple(parts)

    def _header(self) -> Path:
        line = self.line()
        array = self._take("[[")
        start = self.at if array else self.at + 1
        self.at = start
        parts = self._key()
        text = self.text[start : self.at].strip()
        if not self._take("]]" if array else "]"):
            raise _Lost
        path = self._resolve(parts[:-1]) + parts[-1:]
        if array:
            index = self._arrays.get(path, -1) + 1
            self._arrays[path] = index
            self.spots.by_path.setdefault(path, Spot(line))
            path = (*path, index)
        elif path in self._arrays:
            path = (*path, self._arrays[path])
        self._note(path, line)
        self.spots.headers.setdefault(path, Header(line, text))
        return path

    def _resolve(self, parts: tuple[str, ...]) -> Path:
        path: Path = ()
        for part in parts:
            path = (*path, part)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        return path

    def _note(self, path: Path, line: int, raw: str = "") -> None:
        for length in range(1, len(path)):
            self.spots.by_path.setdefault(path[:length], Spot(line))
        first = self._first.setdefault(path, line)
        if first != line:
            self.spots.again.setdefault(line, first)
        self.spots.by_path[path] = Spot(line, raw)

    def _pair(self, prefix: Path, depth: int) -> None:
        line = self.line()
        path = prefix + self._key()
        if not self._take("="):
            raise _Lost
        self._note(path, line)
        self._value(path, line, depth)

    def _value(self, path: Path, line: int, depth: int) -> None:
        if depth > _DEPTH:
            raise _Lost
        self._skip(_BLANK)
        if self._take("{"):
            self._table(path, depth)
        elif self._take("["):
            self._array(path, depth)
        elif self.text[self.at : self.at + 1] in ('"', "'"):
            self._string()
        else:
            word = _SCALAR.match(self.text, self.at)
            if not word:
                raise _Lost
            self.at = word.end()
            self._note(path, line, word.group())

    def _table(self, path: Path, depth: int) -> None:
        while True:
            self._skip(_SPACE)
            if self._take("}"):
                return
            self._pair(path, depth + 1)
            self._skip(_SPACE)
            if not self._take(",") and self.text[self.at : self.at + 1] != "}":
                raise _Lost

    def _array(self, path: Path, depth: int) -> None:
        index = 0
        while True:
            self._skip(_SPACE)
            if self._take("]"):
                return
            line = self.line()
            self._note((*path, index), line)
            self._value((*path, index), line, depth + 1)
            index += 1
            self._skip(_SPACE)
            if not self._take(",") and self.text[self.at : self.at + 1] != "]":
                raise _Lost


def _unescape(found: re.Match[str]) -> str:
    code = found.group(1)
    return chr(int(code[1:], 16)) if code[0] in "uU" else _ESCAPES[code]


def scan(text: str) -> Spots:
    """Find every key of a TOML text. Any text is taken; what is not TOML is passed over."""
    return _Scanner(text).run()
