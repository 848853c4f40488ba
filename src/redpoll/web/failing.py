"""Failed requests in words: their inputs in a line, the answers beside, and what they share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from redpoll.views import FailureView
from redpoll.web import words

VALUE_MAX = 60  # characters of one value
BLOCK = "  | "  # before each line of a block in a worker's stderr
LINE_MAX = 80  # characters of one request: two lines
STDERR_SHOWN = 5  # lines: the last frame of a traceback and its error
SHARED_MAX = 3  # more columns than this in common say nothing
FEW = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip


_QUOTED = re.compile(r"'([^'\\n]{1,60})'|\"([^\"\\n]{1,60})\"")


class Value(NamedTuple):
    """One column of a failed request. ``marked``: the error names it, or all failures share it."""

    name: str
    value: str
    marked: bool


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
    """What one request asked, in two lines at most: first what its error names or all share."""
    found = columns(failure)
    named = set(_quoted(failure.candidate_answer or ""))
    marked = {n for n, v in found.items() if v in named} or {n for n in found if n in same}
    ordered = sorted(found, key=lambda name: name not in marked)  # stable: else as they came
    shown: list[Value] = []
    length = 0
    for name in ordered:
        length += len(name) + len(found[name]) + 3
        if length > LINE_MAX and shown:
            break
        shown.append(Value(name, found[name], name in marked))
    return shown


def _quoted(text: str) -> list[str]:
    """What stands in quotes in an error's text: values that the model stumbled over."""
    return [one or two for one, two in _QUOTED.findall(answer(text))]


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


def last_words(stderr: str) -> str:
    """What a worker said last: its last block, without the marks of where in a line.

    Blocks begin with a line of their own; what belongs to one stands behind ``  | `` (see
    :mod:`redpoll.host.logs`).
    """
    lines = stderr.rstrip().split("\n")
    end = len(lines)
    while end > 0 and not lines[end - 1].startswith(BLOCK):
        end -= 1
    start = end
    while start > 0 and lines[start - 1].startswith(BLOCK):
        start -= 1
    block = [line.removeprefix(BLOCK) for line in lines[start:end]] or lines
    kept = [line for line in block if line.strip(" ^~")]
    return "\n".join(kept[-STDERR_SHOWN:])


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
