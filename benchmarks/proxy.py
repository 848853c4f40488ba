"""The gateway beside nginx's plain proxy and an ASGI proxy: one core, 5,000 units, every fact kept."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _proxies
from benchmarks._load import BODY, UNITS, Load, Round, cores
from benchmarks._proxies import ANSWER, WEIGHT, Missing
from benchmarks._serve import measure_serve
from redpoll.journal.files import FileJournal

MANY, ONE = 32, 1
SHARE_SLACK = 0.02  # 5,000 units: three standard deviations of the candidate's share
# The bar that the gateway is to reach: of nginx's rate, and times nginx's CPU.
BAR_RATE, BAR_CPU = 0.55, 2.0
FILLED = 0.9  # of its core: below that, not the server was the limit


class Rounds(NamedTuple):
    """All rounds of one server."""

    many: list[Round]
    one: list[Round]
    warm: int  # requests before the first round
    runs: int  # of wrk, all of them

    def median(self, field: str, many: bool = True) -> float:
        """The median round's value of a field."""
        return statistics.median(getattr(r, field) for r in (self.many if many else self.one))

    @property
    def answered(self) -> int:
        """All requests that wrk saw answered."""
        return self.warm + sum(r.requests for r in (*self.many, *self.one))


def alternate(
    load: Load, servers: dict[str, tuple[int, int]], rounds: int, seconds: int
) -> dict[str, Rounds]:
    """Rounds in turn, so that what disturbs the machine disturbs all of them alike."""
    results = {}
    for name, (port, _) in servers.items():
        requests, runs = load.warm(port, MANY)
        results[name] = Rounds([], [], requests, runs + 2 * rounds)
    for number in range(rounds):
        for name, (port, pid) in servers.items():
            if sys.stderr.isatty():
                print(f"\rround {number + 1}/{rounds}: {name:24}", end="", file=sys.stderr)
                sys.stderr.flush()
            results[name].many.append(load.run(port, MANY, seconds, pid))
            results[name].one.append(load.run(port, ONE, seconds, pid))
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return results


def check_facts(data: Path, answered: int, slack: int) -> tuple[list[str], str]:
    """What is wrong with the journal after the rounds, and a sentence on what is there.

    ``answered`` is what wrk counted; ``slack`` how many requests may have been on the way when its
    rounds ended, which the gateway took and wrk did not count.
    """
    asked: dict[str, bool] = {}
    arms: dict[str, str] = {}
    ok = ended = other_arm = wrong_body = candidates = repeated = 0
    for entry in FileJournal(data).read():
        fact: Any = entry.fact
        kind = type(fact).__name__
        if kind == "Request" and fact.arm != "none":
            asked[fact.prediction_id] = False
            wrong_body += entry.raw != BODY
            candidates += fact.arm == "candidate"
            other_arm += arms.setdefault(fact.unit, fact.arm) != fact.arm
        elif kind == "Answer" and fact.prediction_id in asked:
            repeated += asked[fact.prediction_id]
            asked[fact.prediction_id] = True
            ended += 1
            ok += fact.status == "ok"
            wrong_body += fact.status == "ok" and entry.raw != ANSWER.encode()
    share = sum(arm == "candidate" for arm in arms.values()) / max(1, len(arms))
    problems = []
    if not answered <= ok <= answered + slack:
        problems.append(f"{answered} requests were answered, but the journal has {ok} ok Answers")
    if ended != len(asked) or repeated:
        problems.append(f"{len(asked)} Requests have {ended} Answers ({repeated} of them again)")
    if wrong_body:
        problems.append(f"{wrong_body} bodies are not in the journal as they were sent")
    if other_arm:
        problems.append(f"{other_arm} requests went to another arm than their unit's")
    if abs(share - WEIGHT) > SHARE_SLACK and len(arms) == UNITS:
        problems.append(f"{share:.1%} of the units went to the candidate instead of {WEIGHT:.0%}")
    said = (
        f"journal: {len(asked)} Requests and {ended} Answers with their bodies for {answered} "
        f"requests that wrk saw answered; {candidates / max(1, len(asked)):.1%} of the requests of "
        f"{len(arms)} units went to the candidate, every unit to one arm"
    )
    return problems, said


@contextlib.contextmanager
def all_servers(
    folder: Path, upstream: int, arguments: argparse.Namespace
) -> Iterator[dict[str, tuple[int, int]]]:
    """The servers that are compared, all up, each waiting for its turn."""
    with contextlib.ExitStack() as stack:
        servers = {"nginx": stack.enter_context(_proxies.nginx_proxy(folder, upstream))}
        if "asgi" not in arguments.without:
            servers["asgi"] = stack.enter_context(_proxies.asgi_proxy(folder, upstream))
        servers["redpoll"] = stack.enter_context(
            _proxies.gateway(folder, upstream, arguments.declared)
        )
        yield servers


def rows(results: dict[str, Rounds]) -> dict[str, dict[str, float]]:
    """The table: medians, and their ratios to nginx's."""
    nginx = results["nginx"]
    table = {}
    for name, found in results.items():
        table[name] = {
            "rate": found.median("rate"),
            "rate_ratio": found.median("rate") / nginx.median("rate"),
            "cpu_us": found.median("cpu_us"),
            "cpu_ratio": found.median("cpu_us") / nginx.median("cpu_us"),
            "busy": found.median("busy"),
            "p50_us": found.median("p50_us", many=False),
            "p50_ratio": found.median("p50_us", many=False) / nginx.median("p50_us", many=False),
            "p99_us": found.median("p99_us"),
        }
    return table


def show(table: dict[str, dict[str, float]], serve: dict[str, Any], own: float) -> None:
    """Print it."""
    print(f"upstream by itself, asked by wrk on the same core: {own:.0f} req/s")
    print(
        f"{'':14}{'req/s c32':>10}{'of nginx':>10}{'CPU µs/req':>12}{'× nginx':>9}{'core busy':>11}"
        f"{'req/core s':>12}{'of nginx':>10}{'p99 c32 ms':>12}{'p50 c1 µs':>11}{'× nginx':>9}"
    )
    for name, row in table.items():
        print(
            f"{name:14}{row['rate']:10.0f}{row['rate_ratio']:10.0%}{row['cpu_us']:12.1f}"
            f"{row['cpu_ratio']:9.2f}{row['busy']:11.0%}{1e6 / row['cpu_us']:12.0f}"
            f"{1 / row['cpu_ratio']:10.0%}{row['p99_us'] / 1000:12.1f}"
            f"{row['p50_us']:11.0f}{row['p50_ratio']:9.2f}"
        )
    print(
        f"{'redpoll serve':14}{serve['rate']:10.0f}{serve['rate_ratio']:10.0%}"
        f"{serve['cpu_us']:12.1f}{serve['cpu_ratio']:9.2f}{serve['busy']:11.0%}"
        f"{1e6 / serve['cpu_us']:12.0f}{1 / serve['cpu_ratio']:10.0%}{serve['p99_us'] / 1000:12.1f}"
    )
    split = ", ".join(f"{name} {us:.1f}" for name, us in serve["cpu_us_by_process"].items())
    print(
        f"  whole server on that core, rollout {serve['state']} at {WEIGHT:.0%}; CPU µs/req: {split}"
    )
    print(
        f"  control has folded {serve['folded']} of {serve['answered']} requests; its lag was at "
        f"most {serve['lag_max_s']:.2f} s under load (last round {serve['lag_last_s']:.2f} s), and "
        f"{serve['lag_after_s']:.2f} s within {serve['settled_s']:.1f} s of its end"
    )
    ours, filled = table["redpoll"], table["nginx"]["busy"] >= FILLED
    rate = ours["rate_ratio"] if filled else 1 / ours["cpu_ratio"]
    reached = rate >= BAR_RATE and ours["cpu_ratio"] <= BAR_CPU
    print(
        f"{'reaches' if reached else 'does not reach'} the later bar: {rate:.0%} of nginx's rate "
        f"(bar: at least {BAR_RATE:.0%}), {ours['cpu_ratio']:.2f} × its CPU (bar: at most {BAR_CPU:g})"
    )
    if not filled:
        print(
            "note: nginx did not fill its core (something else ran, or the load was the limit), so "
            "the bar is judged by requests a second of the core's time (req/core s), not by req/s"
        )


def run(arguments: argparse.Namespace, folder: Path) -> int:
    """Everything, in a folder that is thrown away."""
    load = Load(_proxies.tool("wrk"), folder, cores()[1])
    with _proxies.upstream(folder) as upstream:
        load.run(upstream, MANY, 1)
        own = load.run(upstream, MANY, max(1, arguments.seconds // 2)).rate
        with all_servers(folder, upstream, arguments) as servers:
            results = alternate(load, servers, arguments.rounds, arguments.seconds)
        ours = results["redpoll"]
        problems, said = check_facts(folder / "data", ours.answered, MANY * ours.runs)
        serve = measure_serve(
            load,
            folder / "serve",
            upstream,
            arguments.declared,
            arguments.rounds,
            arguments.seconds,
        )
    table = rows(results)
    serve["rate_ratio"] = serve["rate"] / table["nginx"]["rate"]
    serve["cpu_ratio"] = serve["cpu_us"] / table["nginx"]["cpu_us"]
    problems += serve["problems"]
    if arguments.json:
        print(json.dumps({"upstream": own, "table": table, "serve": serve, "problems": problems}))
    else:
        show(table, serve, own)
        print(said)
    for problem in problems:
        print(f"wrong: {problem}", file=sys.stderr)
    return 1 if problems else 0


def main() -> int:
    """0: measured, and every fact is there; 1: facts are missing or a server failed; 2: a peer is missing."""
    parser = argparse.ArgumentParser(prog="benchmarks proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each round")
    parser.add_argument("--declared", action="store_true", help="inputs and output are declared")
    parser.add_argument("--without", choices=["asgi"], action="append", default=[])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        if "asgi" not in arguments.without:
            _proxies.peer()
        for name in ("nginx", "wrk"):
            _proxies.tool(name)
        if len(os.sched_getaffinity(0)) < 2:
            raise Missing("this needs two cores: one for the server, one for load and upstream")
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        try:
            return run(arguments, Path(name))
        except RuntimeError as error:
            print(f"nothing was measured: {error}", file=sys.stderr)
            for log in sorted(Path(name).rglob("*.log")):
                words = log.read_text(errors="replace").strip()[-1500:]
                if words:
                    print(f"--- {log.name} ended with:\n{words}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
