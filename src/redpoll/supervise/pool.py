"""All workers: those that run are made to match those that are wanted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path

import msgspec

from redpoll import routes
from redpoll.facts import Deploy
from redpoll.host.counters import Counters
from redpoll.host.paths import DataDir, replace
from redpoll.supervise.telling import Teller
from redpoll.supervise.wanted import Want, wanted
from redpoll.supervise.worker import Worker

log = logging.getLogger("redpoll.supervise")

POLL_S = 0.05
LINGER_S = 2.0  # after a version was last wanted: gateways may still work with the table before


class Pool:
    """Follows ``run/routes.json``, keeps ``run/workers.json``, writes Deploy facts."""

    def __init__(self, data: DataDir, lifeline: int, teller: Teller, counters: Counters) -> None:
        self._data = data
        self._lifeline = lifeline
        self._teller = teller
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._workers: dict[str, Worker] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}  # no longer wanted, still running
        self._retiring: dict[Worker, Worker] = {}  # successor -> predecessor
        self._tasks: set[asyncio.Task[None]] = set()
        self._stamp: tuple[int, int] = (0, 0)
        self._timer: asyncio.TimerHandle | None = None
        self._save_due = False
        self._stopping = False
        self._prints = _Fingerprints(data)

    def start(self) -> None:
        """Begin to follow the route table."""
        self._save()
        self._poll()

    async def stop(self) -> None:
        """End all workers, at once and in order."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        for handle in self._leaving.values():
            handle.cancel()
        ending = {*self._workers.values(), *self._retiring, *self._retiring.values()}
        await asyncio.gather(*(worker.stop("the server ends") for worker in ending))
        await asyncio.gather(*self._tasks)
        for folder in {Path(worker.want.socket).parent for worker in ending} - {self._data.run}:
            with contextlib.suppress(OSError):
                folder.rmdir()  # the one for sockets beside a data folder that is too deep
        self._save()

    def kill(self) -> None:
        """End all workers without waiting for any call."""
        for worker in {*self._workers.values(), *self._retiring.values()}:
            worker.kill()

    def pids(self) -> dict[str, list[int]]:
        """The processes that run, by worker (``model/version/index``): two while one succeeds."""
        found: dict[str, list[int]] = {}
        for worker in {*self._workers.values(), *self._retiring.values()}:
            want = worker.want
            if worker.pid is not None:
                name = f"{want.model}/{want.version.name}/{want.index}"
                found.setdefault(name, []).append(worker.pid)
        return found

    def _poll(self) -> None:
        """Every 50 ms: look for a new table, and for workers that are late or stuck."""
        self._timer = self._loop.call_later(POLL_S, self._poll)
        for worker in [*self._workers.values(), *self._retiring.values()]:
            worker.check()
        try:
            found = self._data.routes.stat()
        except FileNotFoundError:
            return
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp == self._stamp:
            return
        try:
            table = routes.decode(self._data.routes.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read: %s", self._data.routes, error)
            self._stamp = stamp
            return
        self._stamp = stamp
        self.match(wanted(table, self._data))

    def match(self, wants: dict[str, Want]) -> None:
        """Start what is missing, replace what changed, let go what is not wanted."""
        for key, want in wants.items():
            handle = self._leaving.pop(key, None)
            if handle is not None:
                handle.cancel()
            worker = self._workers.get(key)
            if worker is None:
                self._workers[key] = self._begin(want)
            elif (worker.want.spec, worker.want.socket) != (want.spec, want.socket) or (
                worker.want.version != want.version
            ):
                self._succeed(worker, want)
        for key in self._workers.keys() - wants.keys() - self._leaving.keys():
            self._leaving[key] = self._loop.call_later(LINGER_S, self._let_go, key)

    def _begin(self, want: Want) -> Worker:
        worker = Worker(want, self._data, self._lifeline, self._tell)
        worker.start()
        return worker

    def _succeed(self, worker: Worker, want: Want) -> None:
        """What the worker is told changed: the next one takes over when it is ready."""
        log.info("worker %s is replaced: its configuration changed", want.key)
        before = self._retiring.pop(worker, None)
        if before is not None:  # the predecessor still serves; the one in between never did
            self._later(worker, "its configuration changed again")
            worker = before
        worker.retire()
        successor = Worker(want, self._data, self._lifeline, self._tell)
        self._workers[want.key] = successor
        self._retiring[successor] = worker
        successor.start()

    def _let_go(self, key: str) -> None:
        del self._leaving[key]
        worker = self._workers.pop(key)
        before = self._retiring.pop(worker, None)
        for one in (worker, before):
            if one is not None:
                self._later(one, "no longer wanted")
        self._change()

    def _later(self, worker: Worker, why: str) -> None:
        task = self._loop.create_task(worker.stop(why))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell(self, worker: Worker, event: str, detail: str) -> None:
        """A worker's news: into the journal, into the counters, into ``workers.json``."""
        self._change()
        labels = (worker.want.model, worker.want.version.name)
        if event == "state":
            mine = [
                w for w in self._workers.values() if (w.want.model, w.want.version.name) == labels
            ]
            ready = any(one.state == "ready" for one in mine)
            self._counters.set("redpoll_backend_ready", labels, float(ready))
            return
        if event == "crash":
            self._counters.inc("redpoll_worker_restarts_total", labels)
        if event == "start" and worker.fingerprint:
            before = self._prints.swap(*labels, worker.fingerprint)
            if before and before != worker.fingerprint:
                was = f"was {before[:12]}, is {worker.fingerprint[:12]}"
                log.warning("%s %s: its bytes or code changed: %s", *labels, was)
                self._write(worker, "changed", was)
        self._write(worker, event, detail)
        if event == "ready":
            before_it = self._retiring.pop(worker, None)
            if before_it is not None:
                before_it.hand_over()
                self._later(before_it, "replaced")

    def _write(self, worker: Worker, event: str, detail: str) -> None:
        self._counters.inc("redpoll_journal_facts_total", ("deploy",))
        fact = Deploy(
            version=worker.want.version.name,
            event=event,
            fingerprint=worker.fingerprint,
            environment=json.dumps(worker.environment),
            detail=detail or None,
        )
        self._teller.tell(worker.want.model, fact)

    def _change(self) -> None:
        if not self._save_due:
            self._save_due = True
            self._loop.call_soon(self._save)

    def _save(self) -> None:
        self._save_due = False
        views = {key: self._serving(worker).view() for key, worker in self._workers.items()}
        try:
            replace(self._data.workers, json.dumps(views).encode())
        except OSError as error:
            log.error("%s could not be written: %s", self._data.workers, error)

    def _serving(self, worker: Worker) -> Worker:
        """The predecessor while it serves still, else the worker itself."""
        before = self._retiring.get(worker)
        return before if before is not None and before.state == "ready" else worker


class _Fingerprints:
    """The last fingerprint of each version, over restarts of the server."""

    def __init__(self, data: DataDir) -> None:
        self._path = data.run / "fingerprints.json"
        self._known: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            self._known = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])

    def swap(self, model: str, version: str, new: str) -> str:
        """Remember a fingerprint and return the one before; "" where there was none."""
        key = f"{model}/{version}"
        before = self._known.get(key, "")
        if before != new:
            self._known[key] = new
            with contextlib.suppress(OSError):
                replace(self._path, json.dumps(self._known).encode())
        return before
