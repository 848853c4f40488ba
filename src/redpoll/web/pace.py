"""How often a token may ask: its requests a second, with one second's worth at once."""

from __future__ import annotations

BURST_S = 1.0


class Pace:
    """When each name's next request is due: the generic cell rate algorithm (ITU-T I.371).

    It holds one number a name, so it is bounded by how many tokens there are.
    """

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}

    def wait_s(self, name: str, per_second: float, now_s: float) -> float:
        """0.0 where the request is within the bound, and counted; else how long to wait."""
        due_s = max(self._due_s.get(name, 0.0), now_s)
        step_s = 1 / per_second
        early_s = due_s + step_s - now_s - max(BURST_S, step_s)
        if early_s > 1e-9:  # a refused request costs nothing: who waits is answered
            return early_s
        self._due_s[name] = due_s + step_s
        return 0.0
