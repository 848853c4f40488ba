"""Errors of a configuration, gathered: a file is read to its end before anything is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from redpoll.config.keys import LATER, SECTIONS, home_of
from redpoll.config.scan import Path, Spots
from redpoll.errors import RedpollError, closest

T = TypeVar("T")

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
SHOWN = 100  # problems that a message lists; all of them are in ``ConfigError.problems``


class Problem(NamedTuple):
    """One error: where it is (``line`` 0: the file as a whole) and what to do about it."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(RedpollError):
    """RP-001 with all problems of the file at once, in order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if count > SHOWN:
            lines.append(f"… and {count - SHOWN} more")
        head = "1 error" if count == 1 else f"{count} errors"
        text = f"{head} in the configuration; nothing of it was applied.\n" + "\n".join(lines)
        super().__init__("RP-001", text)


class Wrong(ValueError):
    """Why a value cannot be taken, as a sentence to stand behind the key's name."""


def key_name(path: Path) -> str:
    """``models.churn.versions."1.10".timeout_ms``, ``….steps[1].weight``."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            quoted = part if _BARE.match(part) else '"' + part.replace('"', '\\"') + '"'
            name += f".{quoted}" if name else quoted
    return name


def show(value: object) -> str:
    """A value for a message, shortened, as TOML would have it."""
    if isinstance(value, str):
        return '"' + (value if len(value) <= 60 else value[:57] + "…") + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value}"[:60] if not isinstance(value, int) or abs(value) < 10**60 else "huge"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence):
        return "an array"
    return str(value)


def not_built(name: str) -> str:
    """What is said of a setting or value whose place is kept for later."""
    return f"{name} is not built yet; leave it out for now"


class Report:
    """What was found wrong so far, and where things stand in the file."""

    def __init__(self, file: str, spots: Spots) -> None:
        self.file = file
        self.spots = spots
        self.problems: list[Problem] = []
        self.muted: set[int] = set()  # lines whose syntax error has been told already

    def add(self, path: Path, message: str) -> None:
        """Note a problem at a key."""
        line = self.spots.line(path)
        if line not in self.muted:
            self.problems.append(Problem(self.file, line, key_name(path), message))


class Node:
    """One table of the file, read key by key; what it holds beyond its section is an error."""

    def __init__(self, report: Report, table: object, path: Path, section: str) -> None:
        self.report = report
        self.path = path
        self.section = section
        self.table: dict[str, object] = {}
        if isinstance(table, dict):
            self.table = table
            self._refuse_others()
        else:
            report.add(path, f"{show(table)} stands where a table must be; write {{key = value}}")

    def _refuse_others(self) -> None:
        known, later = SECTIONS[self.section], LATER.get(self.section, ())
        for key in self.table:
            if key in known:
                continue
            if key in later:
                self.wrong(key, not_built(f"`{key}`"))
                continue
            hint = closest(key, [*known, *later]) or home_of(key)
            self.wrong(key, f"there is no such setting{_where(self.section)}.{hint}")

    def has(self, key: str) -> bool:
        """Whether the key is written in the file."""
        return key in self.table

    def wrong(self, key: str, message: str) -> None:
        """Note a problem at one of this table's keys."""
        self.report.add((*self.path, key), message)

    def get(self, key: str, read: Callable[[object], T], default: T) -> T:
        """The value of a key; the default where it is missing or wrong (which is noted)."""
        if key not in self.table:
            return default
        try:
            return read(self.table[key])
        except Wrong as error:
            self.wrong(key, str(error))
            return default

    def child(self, key: str, section: str) -> Node:
        """A table within this one; empty where it is missing."""
        return Node(self.report, self.table.get(key, {}), (*self.path, key), section)

    def items(self, key: str) -> list[tuple[str, object]]:
        """Name and value of each entry of a table whose keys are free names."""
        table = self.table.get(key, {})
        if isinstance(table, dict):
            return list(table.items())
        self.wrong(key, f"{show(table)} stands where a table must be")
        return []

    def array(self, key: str) -> list[object]:
        """The elements of an array; empty where it is missing or none."""
        value = self.table.get(key, [])
        if isinstance(value, list):
            return value
        self.wrong(key, f"{show(value)} stands where an array must be: [...]")
        return []


def _where(section: str) -> str:
    if not section:
        return " at the top of the file"
    return " in " + section.replace("*", "<name>")
