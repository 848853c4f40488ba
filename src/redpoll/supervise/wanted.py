"""Which workers should run, from the route table. Pure."""

from __future__ import annotations

from redpoll.backends.start import KINDS, specification
from redpoll.catalog import Record, Version
from redpoll.host.paths import DataDir
from redpoll.routes import Table


class Want(Record, frozen=True, kw_only=True):
    """One worker that should run. Two that are equal need no change."""

    model: str
    version: Version
    index: int
    socket: str
    spec: str  # JSON: all that the worker is told

    @property
    def key(self) -> str:
        """``<model>/<version>/<index>``, as in ``workers.json``."""
        return f"{self.model}/{self.version.name}/{self.index}"

    @property
    def stuck_s(self) -> float:
        """How long one call may take before the worker is replaced."""
        return self.version.timeout_ms / 1000 + self.version.kill_after_s


def wanted(table: Table, data: DataDir) -> dict[str, Want]:
    """The workers of all versions that should run, by key."""
    found = {}
    for route in table.routes.values():
        for target in route.targets.values():
            if not target.run or target.version.kind not in KINDS:
                continue
            spec = specification(route.model, target.version, data.artifacts)
            for index, address in enumerate(target.addresses):
                want = Want(
                    model=route.model.name,
                    version=target.version,
                    index=index,
                    socket=address.removeprefix("unix:"),
                    spec=spec,
                )
                found[want.key] = want
    return found
