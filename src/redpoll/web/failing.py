"""Failed requests in words: their inputs in a line, the answers beside, and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from redpoll.views import FailureView
from redpoll.web import words

VALUE_MAX = 60  # characters of one value
COLUMNS_MAX = 8  # shown of one request
SHARED_MAX = 3  # more columns than this in common say nothing
FEW = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip


class Value(NamedTuple):
    """One column of a failed request. ``same``: all the failures have this value."""

    name: str
    value: str
    same: bool


def columns(failure: FailureView) -> dict[str, str]:
    """Each column's value in the first row, as text; {} where the input was not kept."""
    if not failure.inputs:
        return {}
    try:
        said = msgspec.json.decode(failure.inputs)
    except msgspec.DecodeError:
        return {"input": short(failure.inputs)}
    if not isinstance(said, dict):
        return {"input": short(said)}
    return {
        str(name): short(value[0] if isinstance(value, list) and value else value)
        for name, value in said.items()
    }


def shared(failures: Sequence[FailureView]) -> dict[str, str]:
    """Columns in which all failures have one value; {} where that may be chance or says nothing.

    Fewer than three failures, or more than ``SHARED_MAX`` such columns, are no hint.
    """
    rows = [found for failure in failures if (found := columns(failure))]
    if len(rows) < 3:
        return {}
    first, rest = rows[0], rows[1:]
    same = {
        name: value for name, value in first.items() if all(row.get(name) == value for row in rest)
    }
    return same if len(same) <= SHARED_MAX and len(same) < len(first) else {}


def line(failure: FailureView, same: Mapping[str, str]) -> list[Value]:
    """What one request asked, what it shares with the others last and marked."""
    found = columns(failure)
    own = [Value(name, value, False) for name, value in found.items() if name not in same]
    kept = own[: max(0, COLUMNS_MAX - len(same))]
    return [*kept, *(Value(name, value, True) for name, value in same.items())]


def answer(raw: str | None) -> str:
    """Outputs (columns × rows) in one line: the first row's values, or an error's text."""
    if not raw:
        return "no answer kept"
    try:
        said = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw
    if isinstance(said, dict):
        values = [v[0] if isinstance(v, list) and v else v for v in said.values()]
        return ", ".join(short(v) for v in values) or "nothing"
    return short(said)


def few(number: int) -> str:
    """``eight``, but ``13``."""
    return FEW[number] if 0 <= number < len(FEW) else words.count(number)


def title(shown: int, bad: int, stable: str) -> str:
    """``Three of its eight failures, beside 6’s answers``."""
    if bad > shown:
        head = f"{few(shown)} of its {few(bad)} failures"
    else:
        head = "its only failure" if shown == 1 else f"its {few(shown)} failures"
    return f"{head[0].upper()}{head[1:]}, beside {stable}’s answers"


def short(value: Any, most: int = VALUE_MAX) -> str:
    """Any value as text, cut with an ellipsis."""
    if isinstance(value, float):
        text = f"{value:.6g}"
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = text.strip() or '""'
    return text if len(text) <= most else text[: most - 1] + "…"
