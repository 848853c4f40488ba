"""Group sync: what was flushed is made to survive a power cut, off the event loop, on a timer."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

from redpoll.journal.writer import FileWriter, SyncWork

INTERVAL_S = 0.075
_log = logging.getLogger("redpoll.journal")


class GroupSync:
    """Runs ``fdatasync`` in a thread of its own, at most every ``interval_s``.

    So a power cut loses at most that much and the time of one sync. ``failures`` counts syncs that
    the disk refused.
    """

    def __init__(self, writer: FileWriter, interval_s: float = INTERVAL_S) -> None:
        self.failures = 0
        self._writer = writer
        self._interval_s = interval_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal-sync")
        self._running: Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0  # when the sync that runs began

    @property
    def behind_s(self) -> float:
        """How long the sync that runs has been running; 0: none does. A slow disk shows here."""
        running = self._running is not None and not self._running.done()
        return time.monotonic() - self._since if running else 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; call it on the loop's thread."""
        self._timer = loop.call_later(self._interval_s, self._tick, loop)

    def stop(self) -> None:
        """End, after a sync that is under way. Blocks; ``writer.close()`` syncs the rest."""
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown(wait=True)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._running is None or self._running.done():
            work = self._writer.take_unsynced()
            if work is not None:
                self._since = time.monotonic()
                self._running = self._thread.submit(self._run, work)
        self._timer = loop.call_later(self._interval_s, self._tick, loop)

    def _run(self, work: SyncWork) -> None:
        try:
            work.run()
        except Exception as error:
            self.failures += 1
            _log.error("%s", error)
