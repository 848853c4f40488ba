"""What other processes say of themselves in ``run/metrics/``: route generations, lost facts."""

from __future__ import annotations

import json
from typing import Any

from redpoll.host.paths import DataDir
from redpoll.host.process import alive


class Signals:
    """As last read; :meth:`refresh` reads every process's file, so once a second is enough."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self.generations: dict[str, int] = {}  # live process -> the route table it works with
        self.facts_lost = 0

    def refresh(self) -> None:
        """Read the files again."""
        generations: dict[str, int] = {}
        lost = 0.0
        for path in sorted(self._data.metrics.glob("*.json")):
            try:
                said: dict[str, Any] = json.loads(path.read_bytes())
                series = [(str(one[0]), float(one[2])) for one in said["series"]]
                process, pid = str(said["process"]), int(said["pid"])
            except (OSError, ValueError, LookupError, TypeError):
                continue
            for name, value in series:
                if name == "redpoll_journal_lost_total":
                    lost += value
                elif name == "redpoll_route_generation" and alive(pid):
                    generations[process] = int(value)
        self.generations, self.facts_lost = generations, int(lost)
