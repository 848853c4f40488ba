"""Several requests as one call of the model: which go together, and whose answer is whose.

Only requests whose columns have the same names, types and shapes are put together, so that the model
sees what it would have seen from one client that sent all the rows. How long is waited for more
adapts to how many came of late: who is alone never waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import answers
from .tensors import Call

Array = Any


class Limits(NamedTuple):
    """What is declared: rows of one call at most, and seconds that the first one waits at most."""

    rows: int
    wait_s: float


class Expected:
    """How many requests are worth waiting for: as many as were there at once the last time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.requests = 1

    def learn(self, answered: int, came_meanwhile: int) -> None:
        """Take note of a call: of how many requests it was, and how many came while it ran."""
        self.requests = max(1, min(self.most, answered + came_meanwhile))


def groups(calls: Sequence[Call], rows: int) -> Iterator[list[int]]:
    """Indices of calls that go together, each group of at most ``rows`` rows, in their order."""
    open_groups: dict[Any, tuple[list[int], int]] = {}
    for at, call in enumerate(calls):
        key = _key(call)
        members, count = open_groups.get(key, ([], 0))
        if members and count + call.rows > rows:
            yield members
            members, count = [], 0
        members.append(at)
        open_groups[key] = (members, count + call.rows)
    for members, _ in open_groups.values():
        yield members


def _key(call: Call) -> Any:
    """What must be equal: names in their order, types, shapes of a row, and which miss integers."""
    columns = tuple(
        (name, array.dtype.str, array.shape[1:]) for name, array in call.columns.items()
    )
    matrix = call.matrix
    whole = None if matrix is None else (matrix.dtype.str, matrix.shape[1:])
    return columns, whole, tuple(sorted(call.holes))


def merged(calls: Sequence[Call]) -> Call:
    """One call with the rows of all, in their order. They must be of one group."""
    first = calls[0]
    columns = {
        name: np.concatenate([call.columns[name] for call in calls]) for name in first.columns
    }
    matrix = None
    if first.matrix is not None:
        matrix = np.concatenate([call.matrix for call in calls])
    holes = {name: [one for call in calls for one in call.holes[name]] for name in first.holes}
    return Call(sum(call.rows for call in calls), columns, matrix, holes=holes)


def split(outputs: Mapping[str, Any], calls: Sequence[Call]) -> list[dict[str, Array]]:
    """The outputs of a merged call by request. Raises :class:`.answers.BadAnswer`."""
    rows = sum(call.rows for call in calls)
    arrays = {name: answers.shaped(name, value, rows)[0] for name, value in outputs.items()}
    parts, at = [], 0
    for call in calls:
        parts.append({name: array[at : at + call.rows] for name, array in arrays.items()})
        at += call.rows
    return parts
