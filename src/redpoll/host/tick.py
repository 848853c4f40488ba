"""One turn of the data plane's loop: what was read in it is looked at at its end, all together.

A server that works between two reads has forgotten half of its own code each time it comes back
from the kernel. Here sockets are read one after another, nothing being done but to note the bytes;
then the bytes are looked at, all of one kind in one go; then one write to the journal; then what
may leave leaves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Generic, TypeVar

log = logging.getLogger("redpoll.gateway")
N = TypeVar("N")
AT_ONCE_BYTES = 16 * 1024  # so much of one reader does not wait for the end of the turn


class Inbox(Generic[N]):
    """What was noted in this turn, and who takes all of it at its end."""

    __slots__ = ("noted", "receive", "tick")

    def __init__(self, tick: Tick, receive: Callable[[list[N]], None]) -> None:
        self.tick = tick
        self.receive = receive
        self.noted: list[N] = []

    def note(self, one: N) -> None:
        """Note one, and see to it that it is looked at; who notes much writes these lines out."""
        self.noted.append(one)
        if not self.tick.scheduled:
            self.tick.schedule()


class Tick:
    """The end of a turn: all inboxes in order, then what waits for the journal."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.scheduled = False
        self.began_ns = 0  # when the first of this turn was noted, monotonic
        self.inboxes: list[Inbox[Any]] = []  # what one notes in another comes behind it
        self.release: Callable[[], None] = _nothing  # what comes when all was looked at
        self.under_way: Callable[[], int] = _many  # how many requests are worked on
        self._loop = loop

    def schedule(self) -> None:
        """See to the end of this turn. For whoever finds it not ``scheduled``."""
        self.scheduled = True
        self.began_ns = monotonic_ns()
        self._loop.call_soon(self._end)

    def schedule_unless_alone(self, others: int) -> None:
        """The same for what a socket brought; at once where no more than ``others`` are under way.

        With nobody to share it, there is no use in waiting for the end of the turn.
        """
        if self.under_way() > others:
            self.schedule()
            return
        self.scheduled = True
        self.began_ns = monotonic_ns()
        self._end()

    def drain(self) -> None:
        """Look at all that was noted so far. To be called before anything that comes behind it."""
        for inbox in self.inboxes:
            if inbox.noted:
                noted, inbox.noted = inbox.noted, []
                try:
                    inbox.receive(noted)
                except Exception:  # who takes notes guards each; this is for the other inboxes
                    log.exception("what was read in one turn could not be taken")

    def _end(self) -> None:
        self.drain()
        self.scheduled = False
        try:
            self.release()
        except Exception:  # whoever called us has nothing to do with it
            log.exception("what was to leave at the end of a turn could not leave")


def _many() -> int:
    """Somebody else may always be there."""
    return 1 << 30


def _nothing() -> None:
    """Nobody waits for anything."""
