"""The route table: swapped in whole, connections kept, readiness known, streams beating."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from redpoll import routes
from redpoll.catalog import Limits, Model, Version
from redpoll.gateway.call import Head
from redpoll.gateway.gateway import Gateway
from redpoll.gateway.table import RouteTable
from redpoll.host.counters import Counters
from redpoll.host.paths import replace
from redpoll.journal.memory import MemoryJournal
from redpoll.routes import Route, Table, Target
from redpoll.testing.fake_oip import FakeOip
from tests.gateway.rig import Heard, infer


def make_table(url: str, generation: int = 1, *, watching: bool = False, **route) -> Table:
    version = Version(name="v1", backend=url)
    known = {
        "model": Model(name="m"), "number": 7, "generation": generation, "live": "v1",
        "targets": {"v1": Target(version=version, addresses=(url,))},
    }  # fmt: skip
    return Table(generation=generation, watching=watching, routes={"m": Route(**(known | route))})


def head_of(model: str) -> Head:
    head = Head("POST", "/", {})
    head.model = model
    return head


class House:
    """A gateway that follows a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "routes.json"
        self.journal = MemoryJournal()
        self.counters = Counters("gateway", folder / "metrics")
        loop = asyncio.get_running_loop()
        self.gateway = Gateway(loop, self.journal.open("gateway"), self.counters, Limits())
        self.table = RouteTable(self.gateway, self.path, "gateway")

    def write(self, table: Table) -> None:
        replace(self.path, routes.encode(table))

    async def until(self, holds, seconds: float = 5.0) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not holds():
            assert asyncio.get_running_loop().time() < end, "it did not happen in time"
            await asyncio.sleep(0.005)

    def ready(self, version: str = "v1") -> bool:
        return self.counters.cell("redpoll_backend_ready", ("m", version)).value == 1

    async def ask(self) -> Heard:
        heard = Heard()
        self.gateway.take(heard, head_of("m"), infer(1.0))
        await self.until(lambda: heard.calls)
        return heard


def test_a_changed_file_is_swapped_in_within_a_moment(tmp_path: Path) -> None:
    """Generation by generation; the gauge says which; a bad file changes nothing."""

    async def go(server: FakeOip) -> None:
        house = House(tmp_path)
        house.table.start()
        assert house.table.table is None
        for generation in (1, 2):
            house.write(make_table(server.url, generation))
            began = asyncio.get_running_loop().time()
            await house.until(
                lambda g=generation: house.table.table and house.table.table.generation == g
            )
            assert asyncio.get_running_loop().time() - began < 0.2
            gauge = house.counters.cell("redpoll_route_generation", ("gateway",))
            assert gauge.value == generation
        replace(house.path, b'{"generation": "three"}')
        await asyncio.sleep(0.1)
        assert house.table.table.generation == 2
        assert (await house.ask()).status == 200
        house.write(make_table(server.url, 3))
        await house.until(lambda: house.table.table.generation == 3)
        house.table.stop()

    with FakeOip() as server:
        asyncio.run(go(server))


def test_a_lane_that_did_not_change_keeps_its_connections(tmp_path: Path) -> None:
    """One connection serves before and after a change of weight; a gone lane is closed when idle."""

    async def go(server: FakeOip, other: FakeOip) -> None:
        house = House(tmp_path)
        house.table.start()
        house.write(make_table(server.url))
        await house.until(house.ready)
        await house.ask()
        lane = house.gateway.models["m"].live
        opened = server.connections
        house.write(make_table(server.url, 2, candidate="v1", weight=0.5, salt="x"))
        await house.until(lambda: house.table.table.generation == 2)
        await house.ask()
        assert house.gateway.models["m"].live is lane
        probes = server.connections - opened
        assert len({r.connection for r in server.requests}) == 1, probes
        stopped = msgspec.structs.replace(
            make_table(server.url, 3).routes["m"].targets["v1"], run=False
        )
        house.write(make_table(server.url, 3, targets={"v1": stopped}))
        await house.until(lambda: house.table.table.generation == 3)
        assert house.gateway.models["m"].live is lane
        house.write(make_table(other.url, 4))
        await house.until(lambda: house.table.table.generation == 4)
        assert house.gateway.models["m"].live is not lane
        await house.until(lambda: server.open == 0)
        assert (await house.ask()).status == 200
        assert len(other.requests) == 1
        house.table.stop()

    with FakeOip() as first, FakeOip() as second:
        asyncio.run(go(first, second))


def test_a_call_under_way_outlives_its_route(tmp_path: Path) -> None:
    """Its lane is gone from the table, its answer still comes."""
    from redpoll.testing.fake_oip import Answer, echo

    async def go(server: FakeOip, other: FakeOip) -> None:
        house = House(tmp_path)
        house.table.start()
        server.decide = lambda r: Answer(body=echo(r).body, delay_s=1.3)
        house.write(make_table(server.url))
        await house.until(house.ready)
        heard = Heard()
        house.gateway.take(heard, head_of("m"), infer(1.0))
        await asyncio.sleep(0.05)
        house.write(make_table(other.url, 2))
        await house.until(lambda: heard.calls)
        assert heard.status == 200
        house.table.stop()

    with FakeOip() as first, FakeOip() as second:
        asyncio.run(go(first, second))


def test_readiness_is_probed_and_follows(tmp_path: Path) -> None:
    """At once on a change, then every second; the gauge goes with the version."""

    async def go(server: FakeOip) -> None:
        house = House(tmp_path)
        house.table.start()
        server.ready = False
        house.write(make_table(server.url))
        await house.until(lambda: house.table.table)
        await asyncio.sleep(0.1)
        assert not house.ready()
        server.ready = True
        await house.until(house.ready, 3.0)
        assert house.gateway.models["m"].live.backend.metadata()
        house.write(Table(generation=2))
        await house.until(lambda: not house.gateway.models)
        assert ("redpoll_backend_ready", ("m", "v1")) not in house.counters._cells
        house.table.stop()

    with FakeOip() as server:
        asyncio.run(go(server))


def test_an_idle_stream_beats_quickly_only_while_somebody_watches(tmp_path: Path) -> None:
    """Every 100 ms in a rollout, else once a second; once at the very start."""

    async def go(server: FakeOip) -> None:
        house = House(tmp_path)
        (before,) = house.journal.streams()

        def beats() -> int:
            (now,) = house.journal.streams()
            return now.last_sequence - before.last_sequence

        house.table.start()
        assert beats() >= 1
        house.write(make_table(server.url, 1, watching=True))
        await house.until(lambda: house.table.table)
        start = beats()
        await asyncio.sleep(0.65)
        assert 4 <= beats() - start <= 8
        house.write(make_table(server.url, 2))
        await house.until(lambda: house.table.table.generation == 2)
        start = beats()
        await asyncio.sleep(1.3)
        assert 1 <= beats() - start <= 3
        house.table.stop()

    with FakeOip() as server:
        asyncio.run(go(server))
