"""The route table: read from ``run/routes.json``, swapped in whole, its backends kept warm."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from redpoll import routes
from redpoll.catalog import Model
from redpoll.gateway.gateway import Gateway
from redpoll.gateway.lanes import Lane, Served, make_backend
from redpoll.routes import Table, Target

log = logging.getLogger("redpoll.gateway")
POLL_S = 0.025
HOUSEKEEPING_S = 1.0
BEAT_S = 0.1
BEATS_PER_QUIET_SECOND = 10


class RouteTable:
    """Follows the file and keeps the gateway's models and lanes as it says.

    A lane whose target did not change lives on with its connections. One that went out of the table
    is closed once nobody uses it any more.
    """

    def __init__(self, gateway: Gateway, path: Path, process: str) -> None:
        self.table: Table | None = None
        self._gateway = gateway
        self._path = path
        self._process = process
        self._stamp: tuple[int, int, int] | None = None
        self._retired: list[tuple[str, Lane]] = []
        self._probes: set[asyncio.Task[None]] = set()
        self._beats = 0
        self._timers: list[asyncio.TimerHandle | None] = [None, None, None]

    def start(self) -> None:
        """Read the table and begin to follow it."""
        self._gateway.recorder.beat()
        self._poll()
        self._beat()
        self._keep()

    def stop(self) -> None:
        """Follow no more; give up all connections."""
        for timer in self._timers:
            if timer is not None:
                timer.cancel()
        for task in self._probes:
            task.cancel()
        for served in self._gateway.models.values():
            for lane in served.lanes.values():
                lane.backend.close()
        for _, lane in self._retired:
            lane.backend.close()

    def _poll(self) -> None:
        self._timers[0] = self._gateway.loop.call_later(POLL_S, self._poll)
        try:
            found = self._path.stat()
        except OSError:
            return
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp == self._stamp:
            return
        try:
            table = routes.decode(self._path.read_bytes())
        except OSError:
            return
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.exception("%s cannot be read; the routes before stay", self._path)
            self._stamp = stamp
            return
        self._stamp = stamp
        self.swap(table)

    def swap(self, table: Table) -> None:
        """Work with this table from now on."""
        gateway = self._gateway
        models: dict[str, Served] = {}
        kept: set[Lane] = set()
        for name, route in table.routes.items():
            before = gateway.models.get(name)
            lanes = {}
            for version, target in route.targets.items():
                lane = self._lane(route.model, target, before)
                lanes[version] = lane
                kept.add(lane)
            models[name] = Served(gateway, route, lanes)
        for name, served in gateway.models.items():
            for lane in served.lanes.values():
                if lane not in kept:
                    self._retired.append((name, lane))
                    key = (name, lane.version)
                    gateway.counters.forget("redpoll_backend_ready", key)
        gateway.models = models
        self.table = table
        gateway.counters.set("redpoll_route_generation", (self._process,), table.generation)
        self._probe()

    def _lane(self, model: Model, target: Target, before: Served | None) -> Lane:
        lane = before.lanes.get(target.version.name) if before is not None else None
        if before is not None and target.version.plain and before.route.model != model:
            lane = None  # it reads and writes as the model is declared
        if lane is not None and lane.target == target:
            return lane
        if lane is not None and _same_place(lane.target, target):
            lane.retarget(target)  # only whether it runs changed: its connections stay
            return lane
        gateway = self._gateway
        backend = make_backend(model, target, gateway.links)
        return Lane(model.name, target, backend, gateway.counters)

    def _keep(self) -> None:
        """Once a second: probe, give idle connections up, close what nobody uses any more."""
        self._timers[1] = self._gateway.loop.call_later(HOUSEKEEPING_S, self._keep)
        gateway = self._gateway
        for name, tally in gateway.tallies.items():
            gateway.counters.set("redpoll_requests_in_flight", (name,), tally.taken)
            gateway.counters.set("redpoll_requests_waiting", (name,), tally.waiting)
        for served in gateway.models.values():
            for lane in served.lanes.values():
                lane.backend.sweep()
        for name, lane in list(self._retired):
            if not lane.in_use():
                self._retired.remove((name, lane))
                lane.backend.close()
        if not self._probes:
            self._probe()

    def _probe(self) -> None:
        for name, served in self._gateway.models.items():
            for lane in served.lanes.values():
                if lane.stopped:
                    lane.backend.ready = False
                    self._gateway.counters.set("redpoll_backend_ready", (name, lane.version), 0.0)
                else:
                    task = self._gateway.loop.create_task(self._probed(name, lane))
                    self._probes.add(task)
                    task.add_done_callback(self._probes.discard)

    async def _probed(self, name: str, lane: Lane) -> None:
        ready = await lane.backend.probe()
        self._gateway.counters.set("redpoll_backend_ready", (name, lane.version), float(ready))
        self._gateway.asking.pump()

    def _beat(self) -> None:
        """Tell readers how far the stream is complete, where nothing else does."""
        self._timers[2] = self._gateway.loop.call_later(BEAT_S, self._beat)
        recorder = self._gateway.recorder
        watching = self.table is not None and self.table.watching
        quiet, recorder.quiet = recorder.quiet, True
        self._beats = self._beats + 1 if quiet else 0
        if quiet and (watching or self._beats % BEATS_PER_QUIET_SECOND == 0):
            recorder.beat()


def _same_place(one: Target, other: Target) -> bool:
    return one.version == other.version and one.addresses == other.addresses
