"""Requests a second of a pipeline in a worker, with `batch` and without (ratio at least 3)."""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import psutil
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks._served import served

CLIENTS = 16
ROUNDS = 5
ROUND_S = 4.0
GOAL = 3.0
CONFIG = """\
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
[models.one]
inputs = {age = "float", plan = "category"}
output = {name = "churn", type = "binary", score = "p", positive = "yes"}
[models.one.versions.v1]
backend = "sklearn:model.joblib"
[models.many]
inputs = {age = "float", plan = "category"}
output = {name = "churn", type = "binary", score = "p", positive = "yes"}
[models.many.versions.v1]
backend = "sklearn:model.joblib"
batch = {rows = 32, wait = "2ms"}
"""


def main() -> int:
    """Alternate between the two models; 16 clients that ask again as soon as they are answered."""
    rates: dict[str, list[float]] = {"one": [], "many": []}
    costs: dict[str, list[float]] = {"one": [], "many": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _fit(folder / "model.joblib")
        with served(folder, CONFIG) as server:
            for model in rates:
                _ask(server.data_url, model, 1.0)
            for _ in range(ROUNDS):
                for model in rates:
                    before = _cpu_s(folder, model)
                    answered, took_s = _ask(server.data_url, model, ROUND_S)
                    rates[model].append(answered / took_s)
                    costs[model].append((_cpu_s(folder, model) - before) / answered * 1e6)
    ratios = sorted(many / one for one, many in zip(rates["one"], rates["many"]))
    cheaper = sorted(one / many for one, many in zip(costs["one"], costs["many"]))
    print(f"one row a request, {CLIENTS} clients, one worker, {ROUNDS} pairs of {ROUND_S:g} s")
    for model, words in (("one", "without batch"), ("many", "batch of 32")):
        rate, cost = np.median(rates[model]), np.median(costs[model])
        print(f"{words:14} {rate:7.0f} requests/s  {cost:7.0f} us of worker CPU a request")
    ratio = ratios[len(ratios) // 2]
    print(f"ratio of rates {ratio:.1f} (goal {GOAL:g}), of CPU {cheaper[len(cheaper) // 2]:.1f}")
    return 0 if ratio >= GOAL else 1


def _fit(path: Path) -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"age": random.normal(size=500), "plan": random.choice(["basic", "pro", "max"], 500)}
    )
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age"]))
    fitted = make_pipeline(columns, LogisticRegression())
    joblib.dump(fitted.fit(frame, np.where(frame["age"] > 0, "yes", "no")), path)


def _cpu_s(folder: Path, model: str) -> float:
    known = json.loads((folder / "data/run/workers.json").read_bytes())
    pid = next(one["pid"] for one in known.values() if one["model"] == model)
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def _ask(url: str, model: str, for_s: float) -> tuple[int, float]:
    """Answered requests, and seconds that they took. Any other status is an error."""
    end = time.monotonic() + for_s
    counts = [0] * CLIENTS
    body = json.dumps({"age": 0.5, "plan": "pro"})

    def work(number: int) -> None:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        while time.monotonic() < end:
            connection.request("POST", f"/predict/{model}", body)
            reply = connection.getresponse()
            reply.read()
            if reply.status != 200:
                raise RuntimeError(f"status {reply.status}")
            counts[number] += 1
        connection.close()

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts), time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
