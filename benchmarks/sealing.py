"""What sealing costs: facts a second that one core turns into the open prediction log."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from redpoll.clock import SystemClock
from redpoll.facts import Answer, Request
from redpoll.host.paths import DataDir
from redpoll.ids import IdMaker
from redpoll.journal.files import FileJournal, FileWriter
from redpoll.journal.writer import ROTATE_BYTES
from redpoll.sealer.service import Sealer

BAR = 100_000  # facts a second
WORDS = ("alpha", "bravo", "crème", "delta", "echo", "fox trot", "golf", "hôtel", "india", "juliet")
PER_FLUSH = 10  # requests, each with its answer


class Body(NamedTuple):
    """One request and its answer, as they come over the wire."""

    asked: bytes
    answered: bytes


def bodies(count: int, seed: int) -> list[Body]:
    """Requests of nine columns, about 600 bytes, every value drawn anew; answers of two outputs."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        values: list[tuple[str, str, object]] = [
            *((f"x{at}", "FP64", draw.gauss(0.0, 100.0)) for at in range(2)),
            ("amount", "FP64", round(draw.expovariate(0.01), 2)),
            ("age", "INT64", draw.randint(18, 95)),
            ("tenure", "INT64", draw.randint(0, 400)),
            ("member", "BOOL", draw.random() < 0.3),
            ("plan", "BYTES", draw.choice(("basic", "premium", "family"))),
            ("region", "BYTES", draw.choice(WORDS)),
            ("note", "BYTES", " ".join(draw.choices(WORDS, k=4))),
        ]
        inputs = [{"name": n, "shape": [1], "datatype": d, "data": [v]} for n, d, v in values]
        score = draw.random()
        outputs = [
            {"name": "churn", "shape": [1], "datatype": "INT64", "data": [int(score > 0.5)]},
            {"name": "probability", "shape": [1], "datatype": "FP64", "data": [score]},
        ]
        asked = {"id": f"order-{number}", "inputs": inputs}
        answered = {"model_name": "churn", "model_version": "v2", "id": f"order-{number}",
                    "outputs": outputs}  # fmt: skip
        made.append(Body(_json(asked), _json(answered)))
    return made


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def fill(journal: FileJournal, made: list[Body], requests: int, seed: int) -> FileWriter:
    """The stream of a living gateway: requests in a rollout, each with its answer."""
    draw, ids, clock = random.Random(seed), IdMaker(), SystemClock()
    writer = journal.open("gateway")
    for at in range(requests):
        candidate = draw.random() < 0.1
        arm, version = ("candidate", "v2") if candidate else ("stable", "v1")
        asked = Request(
            ids.prediction_id(1, clock.now_us()), "", 0, f"u-{draw.randrange(5000)}",
            groups={"sex": draw.choice("fm"), "age_band": draw.choice(("young", "old"))},
            arm=arm, arm_probability=0.1, rollout_id="churn-17", route_generation=12,
            draws=f'[{{"purpose":"arm","choice":"{arm}","probability":0.1}},'
            f'{{"purpose":"route","choice":"{version}","probability":1.0}}]',
        )  # fmt: skip
        body = made[at % len(made)]
        writer.append("churn", asked, body.asked, 1)
        answer = Answer(
            asked.prediction_id, version, latency_us=int(draw.lognormvariate(8, 0.5)),
            queue_us=draw.randrange(300),
        )  # fmt: skip
        writer.append("churn", answer, body.answered, 3)
        if at % PER_FLUSH == 0:
            writer.flush()
    writer.flush()
    return writer


class Sealing(NamedTuple):
    """One stream, sealed."""

    facts: int
    cpu_us: float  # a fact
    wall_us: float
    wal_bytes: float  # a fact
    sealed_bytes: float


def measure(requests: int, folder: Path, seed: int) -> Sealing:
    """Write ``requests`` requests and as many answers; seal what was rotated, as the sealer does."""
    data = DataDir(folder).make()
    # A short run fills a small file, so that it has one to seal, too.
    journal = FileJournal(data, rotate_bytes=min(ROTATE_BYTES, 800 * requests))
    writer = fill(journal, bodies(min(requests, 20_000), seed), requests, seed)
    before = _bytes(data.wal, "*.wal")
    sealer = Sealer(data, journal, SystemClock())
    cpu, wall = time.process_time(), time.perf_counter()
    facts = sealer.round()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    read = before - _bytes(data.wal, "*.wal")
    sealer.close()
    writer.close()
    kept = sum(1 for _ in journal.read(raw=False))
    if not facts or kept != 2 * requests:
        raise SystemExit(f"{facts} facts were sealed, and {kept} of {2 * requests} are there")
    size = _bytes(data.journal, "*.parquet")
    return Sealing(facts, cpu / facts * 1e6, wall / facts * 1e6, read / facts, size / facts)


def _bytes(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def main() -> None:
    """Rounds, each over facts of its own; the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(2000, Path(folder) / "warm", 0)  # imports, and Arrow's first steps
        rounds = [
            measure(arguments.requests, Path(folder) / str(at), at)
            for at in range(1, arguments.rounds + 1)
        ]
    cpu = statistics.median(one.cpu_us for one in rounds)
    first = rounds[0]
    result = {
        "facts": first.facts, "cpu_us": cpu, "facts_per_core_second": 1e6 / cpu,
        "wall_us": statistics.median(one.wall_us for one in rounds),
        "wal_bytes": first.wal_bytes, "sealed_bytes": first.sealed_bytes,
        "bar": BAR, "of_bar": 1e6 / cpu / BAR,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{arguments.rounds} rounds of {first.facts} facts; {first.wal_bytes:.0f} bytes a fact in "
        f"the write-ahead file, {first.sealed_bytes:.0f} sealed"
    )
    print(f"sealing {cpu:.2f} µs of CPU a fact, {1e6 / cpu:.0f} facts/s on one core", end="")
    print(f" ({1 / cpu * 1e6 / BAR:.0%} of the {BAR} that are wanted)")


if __name__ == "__main__":
    main()
