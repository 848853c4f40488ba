"""A trivial model and scikit-learn's LogisticRegression: redpoll beside MLServer and LitServe."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import _proxies
from benchmarks import _sklearn_peers as peers
from benchmarks._load import Load, Round, cores
from benchmarks._proxies import Missing
from redpoll.errors import RedpollError

CONNECTIONS = 32
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]},
    separators=(",", ":"),
).encode()


class Goal(NamedTuple):
    """How many times the peer's requests a second of a core redpoll is to serve."""

    model: str
    peer: str
    times: float


GOALS = (
    Goal("trivial", "mlserver", 10.0),
    Goal("trivial", "litserve", 20.0),
    Goal("logistic", "mlserver", 3.0),
    Goal("logistic", "mlserver default", 7.0),
)


def all_servers(folder: Path, stack: ExitStack) -> dict[tuple[str, str], peers.Served]:
    """Every server up, each with its model loaded and answering."""
    port, pid = stack.enter_context(peers.redpoll(folder / "redpoll"))
    found = {
        (model, "redpoll"): peers.Served(port, pid, f"/v2/models/{model}/infer")
        for model in ("trivial", "logistic")
    }
    for model, name, workers in (
        ("trivial", "mlserver", 0), ("logistic", "mlserver", 0), ("logistic", "mlserver default", 1),
    ):  # fmt: skip
        made = peers.mlserver(folder / f"{name}-{model}".replace(" ", "-"), model, workers)
        found[model, name] = stack.enter_context(made)
    found["trivial", "litserve"] = stack.enter_context(peers.litserve(folder / "litserve"))
    for served in found.values():
        peers.wait_answers(served, BODY)
    return found


def alternate(
    load_of: dict[tuple[str, str], Load],
    servers: dict[tuple[str, str], peers.Served],
    rounds: int,
    seconds: int,
) -> dict[tuple[str, str], list[Round]]:
    """Round by round, all servers one behind the other: what disturbs one disturbs the others."""
    for key, served in servers.items():
        load_of[key].run(served.port, CONNECTIONS, 2)
    found: dict[tuple[str, str], list[Round]] = {key: [] for key in servers}
    for _ in range(rounds):
        for key, served in servers.items():
            found[key].append(load_of[key].run(served.port, CONNECTIONS, seconds, served.pid))
    return found


def run(options: argparse.Namespace, folder: Path) -> int:
    """Everything; 1 where a goal is missed."""
    wrk = _proxies.tool("wrk")
    with ExitStack() as stack:
        servers = all_servers(folder, stack)
        loads = {}
        for at, (key, served) in enumerate(servers.items()):
            (folder / f"load-{at}").mkdir()
            loads[key] = Load(wrk, folder / f"load-{at}", cores()[1], served.path, BODY)
        results = alternate(loads, servers, options.rounds, options.seconds)
    table = {
        key: {
            "rate": statistics.median(one.rate for one in rounds),
            "cpu_us": statistics.median(one.cpu_us for one in rounds),
            "busy": statistics.median(one.busy for one in rounds),
            "p50_ms": statistics.median(one.p50_us for one in rounds) / 1000,
            "p99_ms": statistics.median(one.p99_us for one in rounds) / 1000,
        }
        for key, rounds in results.items()
    }
    return tell(table, options.json)


def tell(table: dict[tuple[str, str], dict[str, float]], as_json: bool) -> int:
    """Print the table and each goal; 1 where one is missed."""
    goals = []
    for goal in GOALS:
        ours, theirs = table[goal.model, "redpoll"], table[goal.model, goal.peer]
        rate, cpu = ours["rate"] / theirs["rate"], theirs["cpu_us"] / ours["cpu_us"]
        goals.append({**goal._asdict(), "rate_times": rate, "cpu_times": cpu, "reached": cpu >= goal.times})  # fmt: skip
    if as_json:
        rows = [{"model": model, "server": name, **row} for (model, name), row in table.items()]
        print(json.dumps({"table": rows, "goals": goals}))
    else:
        print(f"{'model':10}{'server':18}{'req/s c32':>10}{'CPU µs/req':>12}{'core busy':>11}{'p50 ms':>9}{'p99 ms':>9}")  # fmt: skip
        for (model, name), row in table.items():
            print(f"{model:10}{name:18}{row['rate']:10.0f}{row['cpu_us']:12.1f}{row['busy']:11.0%}"
                  f"{row['p50_ms']:9.1f}{row['p99_ms']:9.1f}")  # fmt: skip
        for one in goals:
            print(f"{one['model']:10}redpoll to {one['peer']:18}{one['rate_times']:6.1f} x req/s, "
                  f"{one['cpu_times']:6.1f} x req/core s   goal >= {one['times']:g}   "
                  f"{'reached' if one['reached'] else 'NOT REACHED'}")  # fmt: skip
        print("redpoll: the whole `redpoll serve` with capture and metrics, both models in a worker process "
              "(models in the gateway's own process are not built), no batching")  # fmt: skip
    return 0 if all(one["reached"] for one in goals) else 1


def main() -> int:
    """0: every goal is reached; 1: one is missed, or a server failed; 2: a peer is missing."""
    parser = argparse.ArgumentParser(prog="benchmarks serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        for name in ("mlserver", "litserve"):
            peers.python(name)
        _proxies.tool("wrk")
        if len(os.sched_getaffinity(0)) < 2:
            raise Missing("this needs two cores: one for the servers, one for the load")
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        try:
            return run(options, Path(name))
        except (RuntimeError, RedpollError) as error:
            print(f"nothing was measured: {error}", file=sys.stderr)
            for log in sorted(Path(name).rglob("*.log")):
                words = log.read_text(errors="replace").strip()[-1500:]
                if words:
                    print(f"--- {log.name} ended with:\n{words}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
