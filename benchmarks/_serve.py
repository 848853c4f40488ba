"""The whole ``redpoll serve`` of the benchmark ``proxy``, all its processes on one core."""

from __future__ import annotations

import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks._load import Load, Round, cores, cpu_s, pinned
from benchmarks._proxies import config
from redpoll.client import Client
from redpoll.client.transport import Transport
from redpoll.demo.server import DemoServer
from redpoll.journal.files import FileJournal

CONNECTIONS = 32
SETTLE_S = 30.0  # after the load's end for control to have folded everything
LAG_S_MAX = 10.0  # under saturation; a lag that only grows gets there
SETTLED_S = 1.0


class Lag(threading.Thread):
    """Looks at control's lag four times a second."""

    def __init__(self, metrics: Path) -> None:
        super().__init__(daemon=True)
        self.seen: list[float] = []
        self._metrics, self._ending = metrics, threading.Event()

    def run(self) -> None:
        while not self._ending.wait(0.25):
            self.seen.append(lag_s(self._metrics))

    def end(self) -> list[float]:
        """Stop; all that was seen, at least one value."""
        self._ending.set()
        self.join()
        return [*self.seen, lag_s(self._metrics)]


def lag_s(metrics: Path) -> float:
    """Seconds between now and what control has folded to, as its own metric has it."""
    said = json.loads((metrics / "control.json").read_bytes())
    for name, labels, value, *_ in said["series"]:
        if name == "redpoll_journal_lag_seconds" and labels == ["control"]:
            return float(value)
    return 0.0


def measure_serve(
    load: Load, folder: Path, upstream: int, declared: bool, rounds: int, seconds: int
) -> dict[str, Any]:
    """Rounds with 32 connections, and what control and the journal have of them."""
    folder.mkdir()
    (folder / "redpoll.toml").write_text(config(upstream, declared))
    with pinned(cores()[0]):
        server = DemoServer(folder / "redpoll.toml")
    try:
        server.wait_ready()
        found = _loaded(load, server, rounds, seconds)
    finally:
        orderly = server.stop()
    found["problems"] = _problems(found, server.data_dir, orderly)
    return found


def _loaded(load: Load, server: DemoServer, rounds: int, seconds: int) -> dict[str, Any]:
    said = json.loads((server.data_dir / "run" / "server.json").read_bytes())
    port, pid = int(said["data"].rpartition(":")[2]), said["pid"]
    metrics = server.data_dir / "run" / "metrics"
    client = Client(server.data_url, control_url=server.control_url)
    handle = client.rollout("m", "v2", reason="the benchmark proxy measures a running rollout")
    _await_running(server, handle.id)
    answered, runs = load.warm(port, CONNECTIONS)
    before = {name: cpu_s(one) for name, one in said["pids"].items()}
    measured: list[Round] = []
    lags: list[list[float]] = []
    for _ in range(rounds):
        watching = Lag(metrics)
        watching.start()
        measured.append(load.run(port, CONNECTIONS, seconds, pid))
        lags.append(watching.end())
    requests = sum(one.requests for one in measured)
    split = {
        name: (cpu_s(one) - before[name]) / requests * 1e6 for name, one in said["pids"].items()
    }
    answered += requests
    settled_s = _settle(metrics)
    view = _view(server, handle.id)
    client.close()
    return {
        **{
            name: statistics.median(getattr(one, name) for one in measured)
            for name in ("rate", "cpu_us", "busy", "p99_us")
        },
        "cpu_us_by_process": split,
        "answered": answered,
        "slack": CONNECTIONS * (runs + rounds),
        "folded": sum(arm["requests"] for arm in view["arms"]),
        "state": view["state"],
        "lag_max_s": max(map(max, lags)),
        "lag_last_s": max(lags[-1]),
        "lag_after_s": lag_s(metrics),
        "settled_s": settled_s,
    }


def _await_running(server: DemoServer, rollout: str) -> None:
    end = time.monotonic() + 30
    while _view(server, rollout)["state"] != "running":
        if time.monotonic() > end:
            raise RuntimeError("the rollout did not come to run within 30 s")
        time.sleep(0.1)


def _view(server: DemoServer, rollout: str) -> dict[str, Any]:
    transport = Transport(server.control_url, token=None, timeout_s=30.0)
    try:
        view: dict[str, Any] = transport.call("GET", f"/api/v1/rollouts/{rollout}").json()
        return view
    finally:
        transport.close()


def _settle(metrics: Path) -> float:
    """Seconds until control has caught up."""
    begin = time.monotonic()
    while time.monotonic() - begin < SETTLE_S:
        time.sleep(0.5)
        if lag_s(metrics) < SETTLED_S:
            break
    return time.monotonic() - begin


def _problems(found: dict[str, Any], data: Path, orderly: bool) -> list[str]:
    problems = []
    slack = found["slack"]
    asked: set[str] = set()
    ok = ended = 0
    for entry in FileJournal(data).read(kinds=["request", "answer"], raw=False):
        fact: Any = entry.fact
        if type(fact).__name__ == "Request" and fact.arm != "none":
            asked.add(fact.prediction_id)
    for entry in FileJournal(data).read(kinds=["answer"], raw=False):
        fact = entry.fact
        if fact.role == "live" and fact.prediction_id in asked:
            ended += 1
            ok += fact.status == "ok"
    answered = found["answered"]
    if not answered <= ok <= answered + slack or ended != len(asked):
        problems.append(
            f"`redpoll serve` answered {answered} requests, but its journal has {len(asked)} "
            f"Requests and {ended} Answers, {ok} of them ok"
        )
    if not answered <= found["folded"] <= answered + slack:
        problems.append(f"control has folded {found['folded']} of {answered} requests")
    if found["state"] != "running":
        problems.append(f"the rollout is {found['state']}, though both versions are the same")
    if found["lag_max_s"] > LAG_S_MAX or found["lag_after_s"] > SETTLED_S:
        problems.append(
            f"control's lag is not bounded: {found['lag_max_s']:.1f} s under load, "
            f"{found['lag_after_s']:.1f} s after it"
        )
    if not orderly:
        problems.append("`redpoll serve` did not end in order")
    return problems
