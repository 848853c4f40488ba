"""When a child that died is started again: after .1 s, doubling to 5 s, for ever."""

from __future__ import annotations

FIRST_S = 0.1
LONGEST_S = 5.0
HEALTHY_S = 10.0


class Backoff:
    """Counts the deaths of one child that came too soon after each other."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def died(self, healthy_s: float) -> float:
        """Seconds to wait now. ``healthy_s``: how long the child had been well before it died."""
        if healthy_s >= HEALTHY_S:
            self._next_s = FIRST_S
        delay = self._next_s
        self._next_s = min(LONGEST_S, delay * 2)
        return delay
