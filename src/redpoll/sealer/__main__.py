"""``python -m redpoll.sealer --data-dir D --lifeline FD``: seals, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from importlib.abc import MetaPathFinder
from pathlib import Path

import msgspec

from redpoll.clock import SystemClock
from redpoll.errors import RedpollError
from redpoll.host import lifeline, lock, logs
from redpoll.host.counters import Counters
from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal
from redpoll.journal.layout import Layout
from redpoll.sealer.behind import behind_s
from redpoll.sealer.service import Sealer

IDLE_S = 0.2  # between two looks: a dead gateway's requests are closed about that soon
COUNT_S = 1.0
LOCK_S = 10.0  # how long the sealer before us may take to go
_log = logging.getLogger("redpoll.sealer")


async def run(data: DataDir, fd: int) -> None:
    """Rounds until SIGTERM, or until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lifeline.watch(loop, fd, stop.set)
    held = await _lock(data.run / "sealer.lock", stop)
    if held is None:
        return
    with held:
        sealer = Sealer(data, FileJournal(data), SystemClock())
        numbers = _Numbers(sealer, data)
        counted = 0.0
        while not stop.is_set():
            await asyncio.to_thread(sealer.round)
            if loop.time() - counted >= COUNT_S:
                counted = loop.time()
                numbers.save()
            try:
                await asyncio.wait_for(stop.wait(), IDLE_S)
            except TimeoutError:
                continue
        await asyncio.to_thread(sealer.close)
        numbers.save()


async def _lock(path: Path, stop: asyncio.Event) -> lock.FileLock | None:
    """The only sealer of the folder; an old one may need a moment to notice that it must go."""
    deadline = asyncio.get_running_loop().time() + LOCK_S
    while not stop.is_set():
        try:
            return lock.acquire(path)
        except RedpollError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)
    return None


class _Numbers:
    """What ``/metrics`` and *System* say of us. Counters carry on from the sealer before us."""

    def __init__(self, sealer: Sealer, data: DataDir) -> None:
        self._sealer = sealer
        self._folder = data.journal
        self._layout = Layout(data)
        self._counters = Counters("sealer", data.metrics)
        self._answers = self._counters.cell("redpoll_journal_facts_total", ("answer",))
        # How many facts a damaged file holds, nobody can say: it counts as one.
        self._damaged = self._counters.cell("redpoll_journal_lost_total", ("any", "damaged file"))
        self._before = (self._answers.value, self._damaged.value)
        self._told: dict[tuple[str, str, str], int] = {}  # of what was removed

    def save(self) -> None:
        """Bring the numbers up to date, and rename them into place."""
        self._answers.value = self._before[0] + self._sealer.lost_requests
        self._damaged.value = self._before[1] + self._sealer.damaged_files
        for labels, count in self._sealer.removed.items():
            cell = self._counters.cell("redpoll_journal_removed_total", labels)
            cell.value += count - self._told.get(labels, 0)
            self._told[labels] = count
        try:
            disk = os.statvfs(self._folder)
            free = float(disk.f_bavail * disk.f_frsize)
            self._counters.set("redpoll_journal_free_bytes", (), free)
            waited_s = behind_s(self._layout, time.time())
            self._counters.set("redpoll_journal_lag_seconds", ("sealer",), waited_s)
            self._counters.save()
        except OSError as error:
            _log.error("counters could not be written: %s", error)


def _logs(data: DataDir) -> None:
    try:
        server = msgspec.json.decode(data.server.read_bytes())["server"]
        logs.setup(server["log_level"], server["log_format"], "sealer")
    except (OSError, KeyError, msgspec.DecodeError):
        logs.setup(process="sealer")


class _NoPandas(MetaPathFinder):
    """Arrow would import pandas, where it is installed, only to ask whether our lists are Series."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Say that there is no pandas, and nothing about the rest."""
        if fullname == "pandas":
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m redpoll.sealer", description=__doc__)
    parser.add_argument("--data-dir", required=True, type=Path)
    parser.add_argument("--lifeline", type=int, default=-1, help="read end of a pipe; EOF: stop")
    arguments = parser.parse_args()
    if arguments.lifeline >= 0:
        lifeline.die_with_parent()
    data = DataDir(arguments.data_dir).make()
    _logs(data)
    sys.meta_path.insert(0, _NoPandas())
    os.nice(5)  # the log may wait; whoever asks for a prediction may not
    try:
        asyncio.run(run(data, arguments.lifeline))
    except RedpollError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
