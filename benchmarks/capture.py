"""What capture costs the gateway: CPU µs a request to have it and its answer in the journal."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.sealing import Body, bodies
from redpoll.capture import OIP_ANSWER, OIP_REQUEST
from redpoll.clock import SystemClock
from redpoll.facts import CODES, Answer, Request
from redpoll.gateway import choice, express
from redpoll.host.paths import DataDir
from redpoll.ids import IdMaker
from redpoll.journal.files import FileJournal, FileWriter
from redpoll.journal.frames import encode_fact, label

BAR_US = 6.0
PER_TICK = 10  # requests, and as many answers, that one tick of the loop has at 32 connections
PER_SYNC = 900  # requests in 75 ms at 12,000 a second
UNITS = 5000
MODEL = "churn"


class Known(NamedTuple):
    """What is known of a request's head: decided once, for all requests with that very head."""

    request: Request
    tail: bytes


def heads(seed: int) -> list[Known]:
    """Heads of 5,000 units in a rollout, with two groups."""
    draw, found = random.Random(seed), []
    for unit in range(UNITS):
        arm = "candidate" if draw.random() < 0.1 else "stable"
        request = Request(
            "", "", 0, f"u-{unit}", groups={"sex": draw.choice("fm"), "age_band": "young"},
            arm=arm, arm_probability=0.1, rollout_id="churn-17", route_generation=12,
            draws=f'[{{"purpose":"arm","choice":"{arm}","probability":0.1}},'
            '{"purpose":"route","choice":"v1","probability":1.0}]',
        )  # fmt: skip
        found.append(Known(request, encode_fact(request)[choice._BEFORE_TAIL :]))
    return found


def as_express(writer: FileWriter, made: list[Body], known: list[Known], requests: int) -> float:
    """As the express lane does it: facts are put together from what is known, a tick at a time."""
    ids, clock = IdMaker(), SystemClock()
    asked, answered = (label(MODEL, CODES[Request], OIP_REQUEST), label(MODEL, CODES[Answer], 3))
    ok_start = b"".join(map(encode_fact, ("v1", "live", "ok", None)))
    pids = [ids.prediction_id(1, clock.now_us()).encode() for _ in range(requests)]
    encode, count, heads_n = encode_fact, len(made), len(known)
    begin = time.process_time()
    for at in range(0, requests, PER_TICK):
        tick = range(at, min(at + PER_TICK, requests))
        facts = []
        for number in tick:
            pid = pids[number]
            fact = b"%b%b%b%b%b" % (
                express._REQUEST, pid, express._ID + pid, encode(1), known[number % heads_n].tail,
            )  # fmt: skip
            facts.append((asked, fact, made[number % count].asked))
        writer.extend(facts)
        writer.flush()
        facts = []
        for number in tick:
            times = encode((1200 + number % 999, number % 300, 1))
            fact = b"%b%b%b%b%b" % (
                express._ANSWER, pids[number], ok_start, times[1:], express._OK_END,
            )  # fmt: skip
            facts.append((answered, fact, made[number % count].answered))
        writer.extend(facts)
        writer.flush()
        _sync(writer, at)
    return (time.process_time() - begin) / requests * 1e6


def one_by_one(writer: FileWriter, made: list[Body], known: list[Known], requests: int) -> float:
    """As it is done where values must be looked at: a record, encoded, for each fact."""
    ids, clock = IdMaker(), SystemClock()
    pids = [ids.prediction_id(1, clock.now_us()) for _ in range(requests)]
    rest = [tuple(getattr(k.request, n) for n in Request.__struct_fields__[3:]) for k in known]
    count, heads_n = len(made), len(known)
    begin = time.process_time()
    for at in range(0, requests, PER_TICK):
        tick = range(at, min(at + PER_TICK, requests))
        for number in tick:
            pid = pids[number]
            asked = Request(pid, pid, 1, *rest[number % heads_n])
            writer.append(MODEL, asked, made[number % count].asked, OIP_REQUEST)
        writer.flush()
        for number in tick:
            answer = Answer(
                pids[number], "v1", "live", "ok", None, 1200 + number % 999, number % 300
            )
            writer.append(MODEL, answer, made[number % count].answered, OIP_ANSWER)
        writer.flush()
        _sync(writer, at)
    return (time.process_time() - begin) / requests * 1e6


def _sync(writer: FileWriter, at: int) -> None:
    """A thread of the gateway does this; its CPU is the gateway's."""
    if at % PER_SYNC == 0:
        work = writer.take_unsynced()
        if work is not None:
            work.run()


Way = Callable[[FileWriter, list[Body], list[Known], int], float]
WAYS: dict[str, Way] = {"express lane": as_express, "one by one": one_by_one}


def measure(way: Way, requests: int, folder: Path, seed: int) -> float:
    """µs of CPU a request. What was written is read back: as many facts as there must be."""
    journal = FileJournal(DataDir(folder).make())
    made, known = bodies(min(requests, 20_000), seed), heads(seed)
    writer = journal.open("gateway")
    cost = way(writer, made, known, requests)
    writer.close()
    kept = sum(1 for entry in journal.read() if entry.raw)
    if kept != 2 * requests:
        raise SystemExit(f"{kept} bodies are in the journal, not {2 * requests}")
    return cost


def main() -> None:
    """Rounds of both ways, in turn; medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for at in range(arguments.rounds):
            for name, way in WAYS.items():
                path = Path(folder) / f"{at} {name}"
                found[name].append(measure(way, arguments.requests, path, at))
    costs = {name: statistics.median(values) for name, values in found.items()}
    if arguments.json:
        print(json.dumps({"cpu_us": costs, "bar_us": BAR_US}))
        return
    body = bodies(100, 0)
    sizes = [statistics.mean(len(getattr(one, part)) for one in body) for part in Body._fields]
    print(f"bodies of {sizes[0]:.0f} and {sizes[1]:.0f} bytes; {PER_TICK} requests a tick")
    for name, cost in costs.items():
        print(f"{name:13} {cost:6.2f} µs of CPU a request and its answer", end="")
        print(f" ({cost / BAR_US:.0%} of the {BAR_US:g} µs that it may cost)")


if __name__ == "__main__":
    main()
