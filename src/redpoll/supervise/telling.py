"""Deploy facts on their way into the journal, also while the disk is full."""

from __future__ import annotations

import logging
from collections import deque

from redpoll.errors import RedpollError
from redpoll.facts import Deploy
from redpoll.journal.port import Writer

HELD = 1000  # facts; then the oldest is given up
log = logging.getLogger("redpoll.supervise")


class Teller:
    """Writes facts in order, and keeps those that the journal does not take yet."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._held: deque[tuple[str, Deploy]] = deque(maxlen=HELD)
        self._failing = False

    def tell(self, model: str, fact: Deploy) -> None:
        """Write one, or keep it for later."""
        self._held.append((model, fact))
        self.flush()

    def flush(self) -> None:
        """Try again to write what is kept; to be called now and then."""
        try:
            self._writer.flush()  # a stream that found no room at first begins here
            while self._held:
                self._writer.append(*self._held[0])
                self._held.popleft()
            self._writer.flush()
        except RedpollError as error:
            if not self._failing:
                log.error("%s; workers are started all the same, and it is written later", error)
            self._failing = True
            return
        self._failing = False
