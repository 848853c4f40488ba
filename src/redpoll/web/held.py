"""A common bound on what all connections hold of requests that have not come whole.

Each connection may hold a body (`limits.body_bytes`), and there may be thousands of them.
"""

from __future__ import annotations

from redpoll.errors import RedpollError

TRY_LATER_S = 1


class Held:
    """How many bytes are held, over all connections, and how many may be."""

    __slots__ = ("most", "total")

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0

    def crowded(self) -> RedpollError:
        """RP-108, for who would pass the bound."""
        return RedpollError(
            "RP-108",
            f"Requests that are arriving may hold {self.most} bytes together "
            "(server.limits.reading_bytes), and this one would pass that, so it was refused; send "
            "it again after the seconds in Retry-After.",
            retry_after_s=TRY_LATER_S,
        )


class Share:
    """What of it is one connection's."""

    __slots__ = ("_held", "_mine")

    def __init__(self, held: Held) -> None:
        self._held = held
        self._mine = 0

    def now(self, size: int) -> bool:
        """It holds that many bytes now. False: all of them together hold more than they may."""
        held = self._held
        if size != self._mine:
            held.total += size - self._mine
            self._mine = size
        return held.total <= held.most
