"""Memory and CPU time of the workers, which count nothing themselves: read from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from redpoll.host.counters import PAGE_BYTES, Counters

MEMORY = "redpoll_process_resident_memory_bytes"
CPU = "redpoll_process_cpu_seconds_total"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """What one process uses."""

    cpu_s: float  # since its start, its ended children's included
    memory_bytes: int


def used(pid: int) -> Used | None:
    """From ``/proc/<pid>/stat``; None where it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    ticks = sum(int(fields[at]) for at in (11, 12, 13, 14))  # own and waited-for, user and system
    return Used(ticks / TICKS_PER_S, int(fields[21]) * PAGE_BYTES)


class Usage:
    """Puts the numbers of workers among the supervisor's own. To be asked once a second."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._cpu_s: dict[int, float] = {}  # as last seen, by pid
        self._shown: set[str] = set()

    def look(self, workers: Mapping[str, Sequence[int]]) -> None:
        """Count what these workers (name -> pids) used since the last look."""
        cpu_s: dict[int, float] = {}
        shown: set[str] = set()
        for name, pids in workers.items():
            label = (f"worker:{name}",)
            found = {pid: one for pid in pids if (one := used(pid)) is not None}
            if not found:
                continue
            shown.add(name)
            for pid, one in found.items():
                cpu_s[pid] = one.cpu_s
                more = one.cpu_s - self._cpu_s.get(pid, 0.0)
                self._counters.inc(CPU, label, max(0.0, more))
            self._counters.set(MEMORY, label, sum(one.memory_bytes for one in found.values()))
        for gone in self._shown - shown:
            self._counters.forget(MEMORY, (f"worker:{gone}",))
        self._cpu_s, self._shown = cpu_s, shown
