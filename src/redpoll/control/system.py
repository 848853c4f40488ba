"""What *System* shows: whether redpoll loses anything, and how its parts are.

Numbers come by the ways that exist: each process's counters in ``run/metrics/``, ``workers.json``,
``server.json``, the write-ahead files. Looked at once a second; showing it reads nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import psutil

import redpoll
from redpoll.catalog import Server
from redpoll.control import render
from redpoll.control.engine import Engine
from redpoll.control.system_history import History
from redpoll.control.system_processes import CPU, Look, processes
from redpoll.control.system_words import Known, sentences
from redpoll.host.metrics import METRICS
from redpoll.host.process import alive
from redpoll.journal.layout import Layout
from redpoll.views import BoundView, CountView, LineView, SystemView

SLOPE_US = 600_000_000  # free space is told as a rate after ten minutes
DAY_S = 86_400.0
NO_BACKEND = "_"
BOUNDS = (
    ("requests under way", "in_flight", "redpoll_requests_in_flight", ""),
    ("requests waiting", "queue", "redpoll_requests_waiting", ""),
    ("connections", "connections", "redpoll_connections", ""),
    ("bytes being read", "reading_bytes", "redpoll_reading_bytes", "bytes"),
)


class ServerFile(msgspec.Struct):
    """What is read of ``run/server.json``."""

    pid: int = 0
    pids: dict[str, int | None] = {}
    restarts: dict[str, int] = {}
    started_us: int = 0
    server: Server = Server()


class System:
    """Looks once a second, and shows what it saw."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._layout = Layout(engine.data)
        self._history = History()
        self._said = ServerFile()
        self._began: dict[int, float] = {}  # pid -> since when it runs, s
        self._live: tuple[int, int] = (0, 0)  # write-ahead files, their bytes

    def look(self) -> None:
        """Read what changed since. Blocks for a few small files."""
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            self._said = msgspec.json.decode(self._engine.data.server.read_bytes(), type=ServerFile)
        sizes = []
        for wal in (one for files in self._layout.wals().values() for one in files):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(Path(wal.path).stat().st_size)
        self._live = (len(sizes), sum(sizes))
        self._history.add(self._engine.clock.now_us(), self._numbers())

    def view(self) -> SystemView:
        """All of it, as seen last."""
        engine = self._engine
        now_us = engine.clock.now_us()
        numbers = self._numbers()
        history = self._history
        free = numbers.get("redpoll_journal_free_bytes")
        slope = history.slope("redpoll_journal_free_bytes", SLOPE_US)
        a_day = None if slope is None or slope >= 0 else -slope * DAY_S
        written = int(numbers.get("redpoll_journal_facts_total", 0))
        losses = self._counts("redpoll_journal_lost_total")
        known = Known(
            trouble=engine.trouble,
            age_s=render.age_s(engine, now_us),
            written=written,
            lost=engine.signals.facts_lost,
            losses=losses,
            processes=processes(engine, self._seen(now_us)),
            sealer_behind_s=numbers.get("behind sealer", 0.0),
            free_bytes=None if free is None else int(free),
            bytes_a_day=a_day,
            unsynced_s=numbers.get("redpoll_journal_unsynced_seconds", 0.0),
            clock_held_s=numbers.get("redpoll_clock_held_seconds", 0.0),
        )
        severity, sentence, notes = sentences(known)
        return SystemView(
            sentence=sentence,
            severity=severity,
            notes=tuple(notes),
            as_of_us=engine.as_of_us,
            age_s=known.age_s,
            version=redpoll.__version__,
            facts_written=written,
            facts_lost=known.lost,
            losses=tuple(losses),
            requests=int(numbers.get("redpoll_requests_total", 0)),
            refused=tuple(self._counts("redpoll_refused_total")),
            closed_as_lost=int(numbers.get("closed as lost", 0)),
            outcomes_rejected=self._outcomes("rejected"),
            left_out=tuple(self._counts("redpoll_capture_left_out_total")),
            removed=tuple(self._counts("redpoll_journal_removed_total")),
            units_missing=int(numbers.get("redpoll_units_missing_total", 0)),
            behind_s={"control": known.age_s, "sealer": round(known.sealer_behind_s, 3)},
            free_bytes=known.free_bytes,
            bytes_a_day=a_day,
            live_files=self._live[0],
            live_bytes=self._live[1],
            processes=tuple(known.processes),
            bounds=tuple(self._bounds(numbers)),
            lines=tuple(self._lines()),
        )

    def _numbers(self) -> dict[str, float]:
        """Sums over processes, labels left out; gauges of processes that are gone left out, too."""
        found: dict[str, float] = {}
        for one in self._engine.signals.processes:
            for (name, labels), value in one.values.items():
                if name == "redpoll_journal_lag_seconds":
                    if one.alive:
                        found[f"behind {labels[0]}"] = value
                elif name == CPU:
                    found[f"{CPU} {labels[0]}"] = value
                elif METRICS[name].merge == "max":
                    if one.alive:
                        found[name] = max(found.get(name, value), value)
                elif name.endswith("_total") or one.alive:
                    found[name] = found.get(name, 0.0) + value
                if one.process == "sealer" and name == "redpoll_journal_facts_total":
                    found["closed as lost"] = value
        return found

    def _seen(self, now_us: int) -> Look:
        """What the table of processes is made from."""
        said = self._said
        pids = {name: pid for name, pid in said.pids.items() if pid and alive(pid)}
        if said.pid and alive(said.pid):
            pids["supervise"] = said.pid
        known = {one.process: one for one in self._engine.signals.processes}
        for name, one in known.items():  # a control that runs without a supervisor
            if not said.pids and one.alive:
                pids[name] = one.pid
        workers = self._engine.health.listed()
        self._age({*pids.values(), *(int(w["pid"]) for w in workers if w.get("pid"))})
        return Look(
            now_us=now_us,
            pids=pids,
            supervised=bool(said.pids),
            restarts=said.restarts,
            began_s=self._began,
            known=known,
            workers=workers,
            cpu_ratio=lambda process: self._history.rate(f"{CPU} {process}"),
        )

    def _age(self, pids: Iterable[int]) -> None:
        """Since when each process runs: asked once, since it does not change."""
        began: dict[int, float] = {}
        for pid in pids:
            try:
                began[pid] = self._began.get(pid) or psutil.Process(pid).create_time()
            except psutil.Error:
                continue
        self._began = began

    def _counts(self, metric: str) -> list[CountView]:
        """A counter whose last label is a reason, largest first, zeros left out."""
        found: dict[tuple[str, ...], float] = {}
        for one in self._engine.signals.processes:
            for (name, labels), value in one.values.items():
                if name == metric and value:
                    found[labels] = found.get(labels, 0.0) + value
        ordered = sorted(found.items(), key=lambda one: (-one[1], one[0]))
        return [CountView(name=" ".join(n), reason=r, count=int(v)) for (*n, r), v in ordered]

    def _outcomes(self, state: str) -> int:
        return sum(
            int(value)
            for one in self._engine.signals.processes
            for (name, labels), value in one.values.items()
            if name == "redpoll_outcomes_total" and labels[2] == state
        )

    def _bounds(self, numbers: dict[str, float]) -> Iterable[BoundView]:
        limits = msgspec.structs.asdict(self._said.server.limits)
        for name, key, metric, unit in BOUNDS:
            now = numbers.get(metric, 0.0)
            yield BoundView(
                name=name,
                key=f"server.limits.{key}",
                now=int(now),
                most=int(self._history.most(metric, now)),
                limit=int(limits[key]),
                unit=unit,
            )

    def _lines(self) -> Iterable[LineView]:
        history = self._history
        for line in (
            history.line("redpoll_journal_facts_total", "Facts written", "/s", rate=True),
            history.line("behind control", "Behind, control", "s"),
            history.line("behind sealer", "Behind, sealer", "s"),
            history.line("redpoll_journal_free_bytes", "Room on disk", "bytes"),
        ):
            if line is not None:
                yield line
