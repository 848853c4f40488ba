"""Which workers should run, from the route table. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from redpoll.backends.start import specification
from redpoll.catalog import Model, Record, Version
from redpoll.host.paths import DataDir
from redpoll.routes import Table, Target


class Want(Record, frozen=True, kw_only=True):
    """One worker that should run. Two that are equal need no change."""

    model: str
    version: Version
    index: int
    socket: str
    spec: str  # JSON: all that the worker is told
    declaration: str  # a digest of what requests and answers look like

    @property
    def key(self) -> str:
        """``<model>/<version>/<index>/<declaration>``, as in ``workers.json``."""
        return f"{self.model}/{self.version.name}/{self.index}/{self.declaration}"

    @property
    def stuck_s(self) -> float:
        """How long one call may take before the worker is replaced."""
        return self.version.timeout_ms / 1000 + self.version.kill_after_s


def wanted(table: Table, data: DataDir) -> dict[str, Want]:
    """The workers of all versions that should run, by key: those of today and those to come."""
    found = {}
    for route in table.routes.values():
        wants = _wants(route.model, route.targets, data)
        if route.coming is not None:
            wants += _wants(route.coming, route.coming_targets, data)
        found.update({want.key: want for want in wants})
    return found


def _wants(model: Model, targets: Mapping[str, Target], data: DataDir) -> list[Want]:
    found = []
    declaration = model.declaration()
    for target in targets.values():
        if not target.run or not target.version.worker:
            continue
        spec = specification(model, target.version, data.artifacts)
        for index, address in enumerate(target.addresses):
            want = Want(
                model=model.name,
                version=target.version,
                index=index,
                socket=address.removeprefix("unix:"),
                spec=spec,
                declaration=declaration,
            )
            found.append(want)
    return found
