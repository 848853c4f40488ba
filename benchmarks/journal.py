"""What the journal costs: CPU µs a fact to append, write, follow, seal and read back."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from redpoll.clock import SystemClock
from redpoll.facts import Answer, Request
from redpoll.host.paths import DataDir
from redpoll.ids import IdMaker
from redpoll.journal.files import FileJournal
from redpoll.journal.query import query
from redpoll.sealer.service import Sealer

DRAWS = (
    '[{"purpose":"arm","choice":"candidate","probability":0.1},'
    '{"purpose":"route","choice":"v2","probability":1.0}]'
)
INPUTS = ",".join(
    f'{{"name":"x{i}","shape":[1],"datatype":"FP64","data":[{i}.25]}}' for i in range(10)
)
BODY = f'{{"id":"r-1","inputs":[{INPUTS}]}}'.encode()
ANSWER = (
    b'{"model_name":"churn","outputs":['
    b'{"name":"churn","shape":[1],"datatype":"INT64","data":[1]},'
    b'{"name":"probability","shape":[1],"datatype":"FP64","data":[0.25]}]}'
)
PER_FLUSH = 10  # requests, each with its answer


class Stage:
    """CPU time of a block, in µs a fact."""

    def __init__(self, results: dict[str, float], name: str, facts: int) -> None:
        self.results, self.name, self.facts = results, name, facts

    def __enter__(self) -> None:
        self.before = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.results[self.name] = (time.process_time() - self.before) / self.facts * 1e6


def measure(requests: int, folder: Path) -> dict[str, float]:
    """Every stage over the same facts: ``requests`` requests and as many answers."""
    results: dict[str, float] = {}
    data = DataDir(folder).make()
    journal = FileJournal(data)
    writer, ids, now = journal.open("gateway"), IdMaker(), SystemClock().now_us()
    asked = [
        Request(ids.prediction_id(1, now), "", 0, f"u-{i % 5000}", None, {"sex": "f"}, "candidate",
                0.1, "churn-17", 12, None, DRAWS)
        for i in range(requests)
    ]  # fmt: skip
    answered = [Answer(one.prediction_id, "v2", latency_us=1234) for one in asked]
    facts = 2 * requests
    append = write = 0.0
    for at in range(0, requests, PER_FLUSH):
        begin = time.process_time()
        for i in range(at, min(at + PER_FLUSH, requests)):
            writer.append("churn", asked[i], BODY, 1)
            writer.append("churn", answered[i], ANSWER, 3)
        appended = time.process_time()
        writer.flush()
        append += appended - begin
        write += time.process_time() - appended
    results["append"], results["write"] = append / facts * 1e6, write / facts * 1e6
    del asked, answered
    follower = journal.follow()
    with Stage(results, "follow", facts):
        while follower.poll():
            pass
    writer.close()
    sealer = Sealer(data, journal, SystemClock())
    with Stage(results, "seal", facts):
        assert sealer.round() == facts
    sealer.close()
    with Stage(results, "read sealed", facts):
        assert sum(1 for _ in journal.read()) == facts
    with Stage(results, "query sealed", facts):
        assert query(data, "SELECT count(*) FROM answer WHERE status = 'ok'").rows == [(requests,)]
    size = sum(path.stat().st_size for path in data.journal.rglob("*.parquet"))
    results["sealed bytes"] = size / facts
    return results


def main() -> None:
    """Print a line a stage; ``--json`` one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Sealer(DataDir(Path(folder) / "warm").make(), FileJournal(folder), SystemClock())
        measure(2000, Path(folder) / "warm")  # imports, and Arrow's first steps
        results = measure(arguments.requests, Path(folder) / "run")
    if arguments.json:
        print(json.dumps(results))
        return
    print(f"{len(BODY)} bytes asked, {len(ANSWER)} answered; µs of CPU a fact:")
    for name, value in results.items():
        print(f"  {name:13} {value:8.2f}")
    print(f"  {'sealing':13} {1e6 / results['seal']:8.0f} facts/s on one core")


if __name__ == "__main__":
    main()
