"""What other processes say of themselves in ``run/metrics/``: route generations, lost facts."""

from __future__ import annotations

from redpoll.host.counters import Saved, saved
from redpoll.host.paths import DataDir


class Signals:
    """As last read; :meth:`refresh` reads every process's file, so once a second is enough."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self.processes: list[Saved] = []
        self.generations: dict[str, int] = {}  # live process -> the route table it works with
        self.facts_lost = 0

    def refresh(self) -> None:
        """Read the files again."""
        generations: dict[str, int] = {}
        lost = 0.0
        self.processes = saved(self._data.metrics)
        for one in self.processes:
            for (name, _), value in one.values.items():
                if name == "redpoll_journal_lost_total":
                    lost += value
                elif name == "redpoll_route_generation" and one.alive:
                    generations[one.process] = int(value)
        self.generations, self.facts_lost = generations, int(lost)
