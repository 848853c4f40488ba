"""Facts that the journal lacks, as gateways say of themselves once it can be written again."""

from __future__ import annotations

from collections import deque

from redpoll.facts import LOST, Sample

KEPT = 1000


class Losses:
    """The newest losses. Not kept over a restart: what they led to stands in a Decision."""

    def __init__(self) -> None:
        self._told: deque[tuple[int, int]] = deque(maxlen=KEPT)  # time (µs), facts

    def add(self, time_us: int, fact: Sample) -> None:
        """Take a sample in, where it speaks of losses."""
        if fact.name == LOST:
            self._told.append((time_us, int(fact.value)))

    def since(self, since_us: int) -> tuple[int, int]:
        """How many facts were lost since then, and when the newest loss was told (0: none was)."""
        found = [(at, count) for at, count in self._told if at > since_us]
        return sum(count for _, count in found), max((at for at, _ in found), default=0)
