"""Counting in every process, and one sum of it all at ``GET /metrics``.

Each process renames its numbers into ``run/metrics/<process>.json`` once a second. A process that
starts again takes up where the file of its name stopped, so that counters never fall.
"""

from __future__ import annotations

import os
import platform
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

import redpoll
from redpoll.errors import closest
from redpoll.host.metrics import BOUNDS, METRICS, Metric
from redpoll.host.paths import replace
from redpoll.host.process import alive

Key = tuple[str, tuple[str, ...]]
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in BOUNDS)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Cell:
    """One counter or gauge, to be held by who counts often."""

    __slots__ = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = value


class Histogram:
    """One histogram over :data:`BOUNDS`, seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def observe_all(self, times_ns: list[int]) -> None:
        """Count these durations, nanoseconds; sorts the list."""
        times_ns.sort()
        low, counts = 0, self.counts
        for at, bound in enumerate(_BOUNDS_NS):
            high = bisect_right(times_ns, bound, low)
            counts[at] += high - low
            low = high
            if low == len(times_ns):
                break
        else:
            counts[-1] += len(times_ns) - low
        self.sum += sum(times_ns) * 1e-9


class _Series(msgspec.Struct, array_like=True):
    name: str
    labels: tuple[str, ...]
    value: float = 0.0
    counts: list[int] | None = None  # histograms; `value` is their sum


class _File(msgspec.Struct):
    process: str
    pid: int
    series: list[_Series]


class Counters:
    """The numbers of one process. ``process`` names its file: one live process a name."""

    def __init__(self, process: str, folder: Path) -> None:
        self.process = process
        self.path = folder / f"{process}.json"
        self.late: list[Callable[[], None]] = []  # counts that wait for somebody to look
        self._cells: dict[Key, Cell] = {}
        self._histograms: dict[Key, Histogram] = {}
        self._carry_on()
        self._cpu = self.cell("redpoll_process_cpu_seconds_total", (process,))
        self._cpu_before = self._cpu.value
        self._memory = self.cell("redpoll_process_resident_memory_bytes", (process,))
        python = platform.python_version()
        self.set("redpoll_build_info", (redpoll.__version__, python), 1.0)

    def settle(self) -> None:
        """Count what was left for later."""
        late, self.late = self.late, []
        for count in late:
            count()

    def cell(self, name: str, labels: tuple[str, ...] = ()) -> Cell:
        """The counter or gauge itself: ``cell.value += 1`` is the cheapest way to count."""
        self.settle()
        found = self._cells.get((name, labels))
        if found is None:
            _check(name, labels, ("counter", "gauge"))
            found = self._cells[name, labels] = Cell()
        return found

    def histogram(self, name: str, labels: tuple[str, ...] = ()) -> Histogram:
        """The histogram itself, to be observed often."""
        self.settle()
        found = self._histograms.get((name, labels))
        if found is None:
            _check(name, labels, ("histogram",))
            found = self._histograms[name, labels] = Histogram()
        return found

    def inc(self, name: str, labels: tuple[str, ...] = (), value: float = 1.0) -> None:
        """Add to a counter."""
        self.cell(name, labels).value += value

    def set(self, name: str, labels: tuple[str, ...] = (), value: float = 0.0) -> None:
        """Set a gauge."""
        self.cell(name, labels).value = value

    def observe(self, name: str, labels: tuple[str, ...] = (), value: float = 0.0) -> None:
        """Count one value in a histogram, seconds."""
        self.histogram(name, labels).observe(value)

    def forget(self, name: str, labels: tuple[str, ...]) -> None:
        """Take a gauge out: what it spoke of is gone."""
        self._cells.pop((name, labels), None)

    def save(self) -> None:
        """Rename our numbers into place. Blocks for one small write."""
        content = msgspec.json.encode(self._now())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace(self.path, content)

    def _now(self) -> _File:
        self.settle()
        self._cpu.value = self._cpu_before + time.process_time()
        self._memory.value = _resident_bytes()
        series = [_Series(name, labels, cell.value) for (name, labels), cell in self._cells.items()]
        series += [
            _Series(name, labels, found.sum, found.counts)
            for (name, labels), found in self._histograms.items()
        ]
        return _File(self.process, os.getpid(), series)

    def _carry_on(self) -> None:
        found = _read(self.path)
        for one in found.series if found else ():
            kind = METRICS[one.name].kind
            if kind == "counter":
                self.cell(one.name, one.labels).value = one.value
            elif kind == "histogram" and one.counts is not None:
                histogram = self.histogram(one.name, one.labels)
                histogram.counts, histogram.sum = one.counts, one.value


class Saved(NamedTuple):
    """What one process said last: its counters and gauges (histograms are left out)."""

    process: str
    pid: int
    alive: bool
    values: dict[Key, float]


def saved(folder: Path) -> list[Saved]:
    """What every process said last, those that are gone too. Reads one small file a process."""
    found = []
    for path in sorted(folder.glob("*.json")):
        one = _read(path)
        if one is not None:
            values = {(s.name, s.labels): s.value for s in one.series if s.counts is None}
            found.append(Saved(one.process, one.pid, alive(one.pid), values))
    return found


def render(folder: Path, mine: Counters | None = None) -> bytes:
    """The sum of all processes in ``folder``, as Prometheus' text format 0.0.4.

    A process that is gone keeps its counters and histograms; what it had as gauges is left out.
    ``mine`` are the caller's own numbers, of this moment: a full disk must not hide what it costs.
    """
    cells: dict[Key, float] = {}
    histograms: dict[Key, tuple[list[int], float]] = {}
    own = None if mine is None else mine.path
    for path in sorted({*folder.glob("*.json")} | ({own} if own is not None else set())):
        found = mine._now() if mine is not None and path == own else _read(path)
        lives = found is not None and alive(found.pid)
        for one in found.series if found else ():
            key, metric = (one.name, one.labels), METRICS[one.name]
            if one.counts is not None:
                counts, total = histograms.get(key, ([0] * len(one.counts), 0.0))
                summed = [a + b for a, b in zip(counts, one.counts, strict=True)]
                histograms[key] = (summed, total + one.value)
            elif metric.kind == "counter" or metric.merge == "sum":
                if metric.kind == "counter" or lives:
                    cells[key] = cells.get(key, 0.0) + one.value
            elif lives:
                cells[key] = max(cells.get(key, one.value), one.value)
    return _text(cells, histograms)


def _text(cells: dict[Key, float], histograms: dict[Key, tuple[list[int], float]]) -> bytes:
    lines: list[str] = []
    for name, metric in METRICS.items():
        mine = sorted(key for key in (*cells, *histograms) if key[0] == name)
        if mine:
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        for key in mine:
            pairs = [
                f'{label}="{_escape(value)}"'
                for label, value in zip(metric.labels, key[1], strict=True)
            ]
            if key in cells:
                lines.append(f"{name}{_braces(pairs)} {_number(cells[key])}")
                continue
            counts, total = histograms[key]
            seen = 0
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
                seen += count
                le = f'le="{bound}"'
                lines.append(f"{name}_bucket{_braces([*pairs, le])} {seen}")
            lines.append(f"{name}_sum{_braces(pairs)} {_number(total)}")
            lines.append(f"{name}_count{_braces(pairs)} {seen}")
    return "".join(f"{line}\n" for line in lines).encode()


def _braces(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _read(path: Path) -> _File | None:
    """A process's file; None where there is none, or another version of redpoll wrote it."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    found.series = [one for one in found.series if _fits(one)]
    return found


def _fits(one: _Series) -> bool:
    metric = METRICS.get(one.name)
    if metric is None or len(metric.labels) != len(one.labels):
        return False
    if metric.kind == "histogram":
        return one.counts is not None and len(one.counts) == len(BOUNDS) + 1
    return one.counts is None


def _check(name: str, labels: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    metric: Metric | None = METRICS.get(name)
    if metric is None:
        raise LookupError(f"{name!r} is no metric of redpoll.{closest(name, METRICS)}")
    if metric.kind not in kinds:
        raise LookupError(f"{name} is a {metric.kind}, not a {' or '.join(kinds)}")
    if len(labels) != len(metric.labels):
        raise LookupError(f"{name} takes the labels {metric.labels}, not {labels}")


def _resident_bytes() -> float:
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0.0
    return float(int(fields[1]) * PAGE_BYTES)
