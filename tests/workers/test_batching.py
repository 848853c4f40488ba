"""Requests that are answered in one call of the model: each gets its own answer, or its own error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.backends.worker import batches
from redpoll.backends.worker.tensors import Call
from redpoll.client import ClientError
from tests.workers.rig import Client, Worker, column, output
from tests.workers.serving import serving

Start = Callable[..., Worker]
# Remembers the rows and types of every call; fails where a row is 13, is slow where one is 99.
MODEL = """
import json, time

def load():
    seen = []
    def predict(columns):
        name = next(iter(columns))
        x = columns[name]
        if name == "seen":
            return {"seen": [json.dumps(seen)] * len(x)}
        seen.append([len(x), name + " " + str(x.dtype) + " " + str(list(x.shape[1:]))])
        if x.dtype.kind in "if":
            if (x == 13).any():
                raise ValueError("unlucky")
            if (x == 99).any():
                time.sleep(0.3)
        return {"y": x}
    return predict
"""
BATCH = {"rows": 8, "wait_s": 0.2}


def body(name: str, data: list[Any], datatype: str = "FP64") -> dict[str, Any]:
    return {"inputs": [column(name, data, datatype)]}


def together(worker: Worker, bodies: list[Any]) -> list[tuple[int, Any]]:
    """Send these while a slow call runs, each on a connection of its own; their replies."""
    slow, clients = worker.client(), [worker.client() for _ in bodies]
    slow.send("POST", "/v2/models/m/infer", body("x", [99.0]))
    time.sleep(0.1)
    for client, one in zip(clients, bodies):
        client.send("POST", "/v2/models/m/infer", one)
    replies = [client.receive() for client in clients]
    assert slow.receive()[0] == 200
    return replies


def seen(worker: Worker) -> list[list[Any]]:
    """Rows and kind of each call of the model so far."""
    status, answer = worker.infer([column("seen", [1.0])])
    assert status == 200
    found: list[list[Any]] = json.loads(output(answer, "seen")["data"][0])
    return found


def test_requests_that_come_together_are_one_call_and_each_gets_its_own_rows(
    python_worker: Start,
) -> None:
    """With their ids, and the outputs that each one asked for."""
    worker = python_worker(MODEL, version={"batch": BATCH})
    bodies = [{**body("x", [float(n), n + 0.5]), "id": f"r{n}"} for n in range(3)]
    replies = together(worker, bodies)
    for n, (status, answer) in enumerate(replies):
        assert (status, answer["id"]) == (200, f"r{n}")
        assert output(answer, "y")["data"] == [n, n + 0.5]
    assert seen(worker) == [[1, "x float64 []"], [6, "x float64 []"]]


def test_no_call_has_more_rows_than_declared(python_worker: Start) -> None:
    """A request that has more by itself is a call of its own."""
    worker = python_worker(MODEL, version={"batch": BATCH})
    sizes = [3, 3, 3, 20]
    replies = together(worker, [body("x", [1.0] * size) for size in sizes])
    assert [len(output(answer, "y")["data"]) for _, answer in replies] == sizes
    rows = [count for count, _ in seen(worker)[1:]]
    assert sum(rows) == sum(sizes)
    assert max(count for count in rows if count != 20) <= 8


def test_what_is_of_another_kind_is_never_in_one_call(python_worker: Start) -> None:
    """Other names, types or shapes: the model sees what one client could have sent."""
    worker = python_worker(MODEL, version={"batch": BATCH})
    matrix = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
    bodies = [
        body("x", [1.0]), body("z", [1.0]), body("x", [1], "INT64"), matrix,
        body("x", ["a"], "BYTES"), body("x", [2.0]), body("x", [1.0], "FP32"),
    ]  # fmt: skip
    replies = together(worker, bodies)
    assert [status for status, _ in replies] == [200] * 7
    calls = seen(worker)[1:]
    assert sorted(kind for _, kind in calls) == [
        "x float32 []", "x float64 [2]", "x float64 []", "x int64 []", "x object []", "z float64 []",
    ]  # fmt: skip
    assert [2, "x float64 []"] in calls


def test_one_that_fails_does_not_fail_the_others(python_worker: Start) -> None:
    """Neither one that the model raises for, nor one that is malformed, nor a wish for no output."""
    worker = python_worker(MODEL, version={"batch": BATCH})
    wish = {**body("x", [3.0]), "outputs": [{"name": "no"}]}
    bodies = [body("x", [1.0]), body("x", [13.0]), {"inputs": 1}, wish, body("x", [2.0])]
    replies = together(worker, bodies)
    assert [status for status, _ in replies] == [200, 500, 400, 400, 200]
    assert "ValueError: unlucky" in replies[1][1]["error"]
    assert [output(replies[at][1], "y")["data"] for at in (0, 4)] == [[1.0], [2.0]]


def test_who_has_left_is_not_asked_for(python_worker: Start) -> None:
    """The gateway hangs up when a deadline has passed."""
    worker = python_worker(MODEL, version={"batch": BATCH})
    slow, left, stays = worker.client(), worker.client(), worker.client()
    slow.send("POST", "/v2/models/m/infer", body("x", [99.0]))
    time.sleep(0.1)
    left.send("POST", "/v2/models/m/infer", body("x", [5.0]))
    stays.send("POST", "/v2/models/m/infer", body("x", [6.0]))
    left.close()
    assert output(stays.receive()[1], "y")["data"] == [6.0]
    slow.receive()
    assert [count for count, _ in seen(worker)] == [1, 1]


def test_who_is_alone_never_waits(python_worker: Start) -> None:
    """Also after a crowd: it waits once, in vain, and then no more."""
    worker = python_worker(MODEL, version={"batch": {"rows": 8, "wait_s": 2.0}})
    client = worker.client()
    began = time.monotonic()
    for _ in range(10):
        assert client.ask("POST", "/v2/models/m/infer", body("x", [1.0]))[0] == 200
    assert time.monotonic() - began < 2.0


def test_a_steady_crowd_is_answered_together(python_worker: Start) -> None:
    """Four clients that ask again as soon as they are answered: mostly four rows a call."""
    worker = python_worker(MODEL, version={"batch": BATCH})

    def work(client: Client) -> None:
        for n in range(30):
            status, answer = client.ask("POST", "/v2/models/m/infer", body("x", [n + 0.5]))
            assert (status, output(answer, "y")["data"]) == (200, [n + 0.5])

    threads = [threading.Thread(target=work, args=(worker.client(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = [count for count, _ in seen(worker)]
    assert sum(rows) == 120
    assert len(rows) < 60


SERVED = """
import time
def load():
    asked = []
    def predict(columns):
        x = columns["x"]
        asked.extend(x.tolist())
        time.sleep(0.4 if (x == 99).any() else 0.02)
        return {"y": x * 2, "rows": [len(x)] * len(x), "asked": [str(sorted(asked))] * len(x)}
    return predict
"""


def test_the_gateway_lets_a_worker_have_what_may_be_one_call(tmp_path: Path) -> None:
    """Answers are right, and a deadline that passes while a call waits is kept: it is not asked."""
    (tmp_path / "served.py").write_text(SERVED)
    config = """
[models.m]
inputs = {x = "float"}
[models.m.versions.v1]
backend = "python:served:load"
batch = {rows = 16, wait = "5ms"}
"""
    with serving(tmp_path, config, "m") as server:

        def ask(number: int) -> Any:
            return server.client.predict("m", {"x": float(number)}).rows[0]

        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(ask, range(64)))
            assert [row["y"] for row in rows] == [2.0 * n for n in range(64)]
            assert max(row["rows"] for row in rows) >= 4
            slow = pool.submit(ask, 99)
            time.sleep(0.15)
            with pytest.raises(ClientError) as caught:
                server.client.predict("m", {"x": 77.0}, deadline_ms=50)
            assert caught.value.status == 504
            slow.result()
        assert "77.0" not in ask(1)["asked"]


def test_what_was_there_at_once_is_what_is_waited_for() -> None:
    """At most as many as one call may have rows; one, where nobody else came."""
    expected = batches.Expected(8)
    found = []
    for answered, came in ((1, 0), (1, 2), (3, 0), (6, 6), (1, 0)):
        expected.learn(answered, came)
        found.append(expected.requests)
    assert found == [1, 3, 3, 8, 1]


KINDS = st.sampled_from(["<f8", "<f4", "<i8"])
CALLS = st.lists(
    st.tuples(st.integers(1, 5), KINDS, st.sampled_from([(), (2,)]), st.booleans()), max_size=20
)


@given(CALLS, st.integers(1, 12))
def test_every_request_is_in_one_group_and_gets_back_what_it_sent(
    kinds: list[Any], rows: int
) -> None:
    """Whatever the mixture: the identity, asked in groups, is the identity."""
    calls, number = [], 0
    for count, kind, shape, hole in kinds:
        size = count * int(np.prod(shape, dtype=int))
        data = np.arange(number, number + size).reshape((count, *shape)).astype(kind)
        number += size
        holes = {"a": list(range(number, number + count))} if hole else {}
        calls.append(Call(count, {"a": data, "b": data * 2}, holes=holes))
    answered: dict[int, Any] = {}
    for members in batches.groups(calls, rows):
        group = [calls[at] for at in members]
        whole = batches.merged(group)
        assert whole.rows <= rows or len(group) == 1
        assert set(whole.holes) == set(group[0].holes)
        assert whole.holes.get("a", []) == [v for call in group for v in call.holes.get("a", [])]
        for at, part in zip(members, batches.split(whole.columns, group)):
            assert at not in answered
            answered[at] = part
    assert sorted(answered) == list(range(len(calls)))
    for at, part in answered.items():
        for name, array in calls[at].columns.items():
            assert part[name].dtype == array.dtype
            assert part[name].tolist() == array.tolist()
