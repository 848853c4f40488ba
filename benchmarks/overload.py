"""At twice its capacity, and with a hung model beside: goodput, refusals, memory, others' p99."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import uvloop

from benchmarks._load import cores, free_port, pinned
from benchmarks._open_loop import Heard, OpenLoop, percentile
from benchmarks._proxies import running
from redpoll.catalog import Limits, Model, ModelLimits, Pool, Server, Version
from redpoll.host.paths import DataDir
from redpoll.routes import Route, Table, Target, encode

SLOTS, BUSY_S = 4, 0.002
QUEUE = 16
GOODPUT, REFUSED_MS, GROWTH, OTHERS = 0.95, 5.0, 0.05, 1.10  # the goals
TIMEOUT_MS = 1000
WAITED_MAX = 0.05  # of the time, for its core: more, and others have the machine


class Line(NamedTuple):
    """One figure beside its goal."""

    what: str
    found: float
    goal: str
    reached: bool
    unit: str = ""

    def __str__(self) -> str:
        mark = "reached" if self.reached else "NOT REACHED"
        return f"{self.what:58}{self.found:10.2f}{self.unit:6}{self.goal:>16}   {mark}"


def route(number: int, name: str, port: int) -> Route:
    """A model with a backend of four slots, and a short queue before it."""
    url = f"http://127.0.0.1:{port}/v2/models/m"
    pool = Pool(connections=SLOTS, idle_s=60.0)
    version = Version(name="v1", backend=url, pool=pool, timeout_ms=TIMEOUT_MS, resend=False)
    model = Model(
        name=name, live="v1", unit="user", versions=(version,),
        limits=ModelLimits(in_flight=SLOTS, queue=QUEUE),
    )  # fmt: skip
    targets = {"v1": Target(version=version, addresses=(url,))}
    return Route(model=model, number=number, generation=1, live="v1", targets=targets)


class Servers:
    """A gateway on its core; the backends of the models a and b on the other one, with the load."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.port, core = free_port(), cores()
        ports = {name: free_port() for name in ("a", "b")}
        slots = str(Path(__file__).parent / "_slots.py")
        self.backends = {
            name: stack.enter_context(
                running([sys.executable, slots, str(port), str(SLOTS), str(BUSY_S)], folder, port, core[1])
            )
            for name, port in ports.items()
        }  # fmt: skip
        data = DataDir(folder / "data").make()
        server = Server(data=f"127.0.0.1:{self.port}", log_level="error", limits=Limits())
        data.server.write_bytes(msgspec.json.encode({"server": server}))
        routes = {name: route(at, name, ports[name]) for at, name in enumerate(("a", "b"), 1)}
        data.routes.write_bytes(encode(Table(generation=1, routes=routes)))
        command = [sys.executable, "-m", "redpoll.web.dataplane", "--data-dir", str(data.root)]
        self.gateway = stack.enter_context(running(command, folder, self.port, core[0]))

    def resident_mb(self) -> float:
        """Of the gateway."""
        return float(psutil.Process(self.gateway).memory_info().rss / 1e6)


def waited_s(pid: int) -> float:
    """Seconds that a process could have run, but others had its core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


async def peak(load: OpenLoop, seconds: float) -> float:
    """The most good answers a second: the best round, with as much offered as nothing is refused, or more."""
    most = 0.0
    for share in (0.8, 1.0, 1.1):
        heard = await load.run(share * SLOTS / BUSY_S, seconds)
        most = max(most, heard.goodput)
    return most


async def overload(
    servers: Servers, seconds: float, peak_seconds: float
) -> tuple[list[Line], dict[str, Any]]:
    """Twice the peak, for as long as is asked."""
    load = OpenLoop(servers.port, "a")
    await load.open(400)
    before, begin = waited_s(servers.gateway), time.monotonic()
    most = await peak(load, peak_seconds)
    memory: list[float] = []

    async def watch() -> None:
        while True:
            memory.append(servers.resident_mb())
            await asyncio.sleep(seconds / 40)

    watching = asyncio.create_task(watch())
    heard = await load.run(2 * most, seconds)
    watching.cancel()
    waited = (waited_s(servers.gateway) - before) / (time.monotonic() - begin)
    load.close()
    settled = memory[len(memory) // 4 :]
    growth = max(settled) / settled[0] - 1
    refused_ms = percentile(heard.refused, 0.99)
    lines = [
        Line("goodput at twice the capacity, of peak", heard.goodput / most, f">= {GOODPUT:g}",
             heard.goodput >= GOODPUT * most),
        Line("refusals (503 with Retry-After), p99", refused_ms, f"<= {REFUSED_MS:g} ms",
             bool(heard.refused) and refused_ms <= REFUSED_MS, " ms"),
        Line("gateway's memory after the first quarter, growth", growth, f"<= {GROWTH:g}", growth <= GROWTH),
        Line("neither answered nor refused", sum(heard.other.values()), "0", not heard.other),
    ]  # fmt: skip
    return lines, {"peak": most, "waited_share": waited, "memory_mb": memory, **told(heard)}


async def hung(servers: Servers, rounds: int, seconds: float) -> tuple[list[Line], dict[str, Any]]:
    """The model a at half its capacity, b as much: b answers in one round, and hangs in the next."""
    a, b = OpenLoop(servers.port, "a"), OpenLoop(servers.port, "b")
    await a.open(64)
    await b.open(600)
    rate, backend = 0.4 * SLOTS / BUSY_S, servers.backends["b"]
    sound, stuck, others = [], [], []
    await asyncio.gather(a.run(rate, 2.0), b.run(rate / 2, 2.0))
    for _ in range(rounds):
        mine, _ = await asyncio.gather(a.run(rate, seconds), b.run(rate / 2, seconds))
        sound.append(percentile(mine.ok, 0.99))
        os.kill(backend, signal.SIGSTOP)
        try:
            # Its places are taken by what waits for time-outs before the clock starts.
            await b.run(rate / 2, TIMEOUT_MS / 2000)
            mine, theirs = await asyncio.gather(a.run(rate, seconds), b.run(rate / 2, seconds))
        finally:
            os.kill(backend, signal.SIGCONT)
        stuck.append(percentile(mine.ok, 0.99))
        others.append(len(theirs.ok) / max(1, theirs.sent))
        await asyncio.sleep(TIMEOUT_MS / 1000)
    a.close(), b.close()
    ratio = statistics.median(stuck) / statistics.median(sound)
    lines = [
        Line("p99 of the other model while one hangs, to without", ratio, f"<= {OTHERS:g}", ratio <= OTHERS),
        Line("the hung model's share of good answers (it did hang)", max(others), "0", max(others) < 0.01),
    ]  # fmt: skip
    return lines, {"p99_sound_ms": sound, "p99_hung_ms": stuck}


def told(heard: Heard) -> dict[str, Any]:
    """A round in few figures, ms."""
    return {
        "offered_a_second": heard.sent / heard.seconds,
        "ok_p50_ms": percentile(heard.ok, 0.5), "ok_p99_ms": percentile(heard.ok, 0.99),
        "refused_share": len(heard.refused) / max(1, heard.sent),
        "refused_p50_ms": percentile(heard.refused, 0.5),
        "load_late_p99_ms": percentile(heard.late, 0.99), "wanting_connections": heard.wanting,
        "other": heard.other,
    }  # fmt: skip


async def measure(options: argparse.Namespace, folder: Path) -> int:
    """Everything; 1 where a goal is missed."""
    with ExitStack() as stack:
        servers = Servers(folder, stack)
        with pinned(cores()[1]):
            lines, first = await overload(servers, options.seconds, options.peak_seconds)
            more, second = await hung(servers, options.rounds, options.round_seconds)
    if options.json:
        print(json.dumps({"lines": [line._asdict() for line in lines + more], **first, **second}))
    else:
        print(f"backend of {SLOTS} slots x {BUSY_S * 1000:g} ms: {SLOTS / BUSY_S:.0f} req/s at most; peak "
              f"through the gateway {first['peak']:.0f}; offered {first['offered_a_second']:.0f} req/s "
              f"for {options.seconds:g} s, open loop")  # fmt: skip
        for line in lines + more:
            print(line)
        print(f"good answers p50 {first['ok_p50_ms']:.1f}, p99 {first['ok_p99_ms']:.1f} ms; "
              f"{first['refused_share']:.0%} refused, p50 {first['refused_p50_ms']:.2f} ms; the load was late by "
              f"{first['load_late_p99_ms']:.2f} ms (p99), which is in these times")  # fmt: skip
        print(f"memory {first['memory_mb'][0]:.1f} MB at first, {max(first['memory_mb']):.1f} at most; p99 "
              f"without and with the hung model, ms: {_listed(second['p99_sound_ms'])}; {_listed(second['p99_hung_ms'])}")  # fmt: skip
    if first["waited_share"] > WAITED_MAX:
        print(f"the gateway waited {first['waited_share']:.0%} of the time for its core, which others had: these "
              "figures say nothing of redpoll", file=sys.stderr)  # fmt: skip
        return 1
    if first["wanting_connections"]:
        print(f"the load had no connection {first['wanting_connections']} times: it was not open", file=sys.stderr)  # fmt: skip
        return 1
    return 0 if all(line.reached for line in lines + more) else 1


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def main() -> int:
    """0: every goal is reached; 1: one is missed; 2: this machine cannot tell."""
    parser = argparse.ArgumentParser(prog="benchmarks overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="at twice the capacity")
    parser.add_argument("--peak-seconds", type=float, default=4.0, help="of each of three rounds")
    parser.add_argument("--rounds", type=int, default=5, help="with and without a hung model")
    parser.add_argument("--round-seconds", type=float, default=6.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        print(
            "this needs two cores: one for the gateway, one for load and backends", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory() as name:
        return uvloop.run(measure(options, Path(name)))


if __name__ == "__main__":
    sys.exit(main())
