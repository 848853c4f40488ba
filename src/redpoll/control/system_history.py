"""An hour of redpoll's own numbers, kept in memory: rates, lags, room. Pure but for what it keeps.

After a start the lines begin anew; what was counted before is in the counters.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence

from redpoll.views import LineView

EVERY_US = 5_000_000
KEPT = 720  # an hour
POINTS = 60  # of a line; more would not be seen
USUAL = (0.1, 0.9)
ENOUGH_FOR_USUAL = 24  # values: two minutes
SPAN_US = 10_000_000  # over which rates are taken

Numbers = Mapping[str, float]


class History:
    """Gauges and counters by name, each with its times."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, dict[str, float]]] = deque(maxlen=KEPT)
        self._newest: deque[tuple[int, dict[str, float]]] = deque(maxlen=16)

    def add(self, time_us: int, numbers: Numbers) -> None:
        """Take in all numbers of one moment; kept for the hour are those 5 s apart."""
        one = (time_us, dict(numbers))
        self._newest.append(one)
        if not self._kept or time_us - self._kept[-1][0] >= EVERY_US:
            self._kept.append(one)

    def rate(self, name: str) -> float | None:
        """By how much a counter grows a second, over the last ten seconds; None: not known yet."""
        if not self._newest:
            return None
        end_us, last = self._newest[-1]
        for start_us, first in self._newest:
            if end_us - start_us <= SPAN_US and end_us > start_us and name in first:
                grown = last.get(name, first[name]) - first[name]
                return max(0.0, grown) * 1e6 / (end_us - start_us)
        return None

    def most(self, name: str, now: float) -> float:
        """The highest value of the hour, ``now`` included."""
        return max([now, *(numbers[name] for _, numbers in self._kept if name in numbers)])

    def slope(self, name: str, enough_us: int) -> float | None:
        """A gauge's change a second over the whole hour; None where that is less than ``enough``."""
        known = [(at, numbers[name]) for at, numbers in self._kept if name in numbers]
        if len(known) < 2 or known[-1][0] - known[0][0] < enough_us:
            return None
        return (known[-1][1] - known[0][1]) * 1e6 / (known[-1][0] - known[0][0])

    def line(self, name: str, title: str, unit: str, *, rate: bool = False) -> LineView | None:
        """A line of at most ``POINTS`` values; ``rate``: of a counter, a second. None: too few."""
        known = [(at, numbers[name]) for at, numbers in self._kept if name in numbers]
        if rate:
            known = [
                (after, max(0.0, b - a) * 1e6 / (after - before))
                for (before, a), (after, b) in itertools.pairwise(known)
            ]
        if len(known) < 2:
            return None
        values = [value for _, value in known]
        return LineView(
            name=title,
            unit=unit,
            now=values[-1],
            values=tuple(_thinned(values)),
            usual=_usual(values),
            start_us=known[0][0],
            end_us=known[-1][0],
        )


def _thinned(values: Sequence[float]) -> list[float]:
    """The mean of each stretch."""
    size = math.ceil(len(values) / POINTS)
    stretches = (values[at : at + size] for at in range(0, len(values), size))
    return [sum(stretch) / len(stretch) for stretch in stretches]


def _usual(values: Sequence[float]) -> tuple[float, float] | None:
    """The middle 80 %; None where too little is known."""
    if len(values) < ENOUGH_FOR_USUAL:
        return None
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in USUAL)
    return low, high
