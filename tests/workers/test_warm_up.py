"""Calls of a declared sample before a worker is ready: nobody's requests, and no evidence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.rig import Worker, column, output
from tests.workers.serving import serving

Start = Callable[..., Worker]
COUNTS = """
def load():
    calls = []
    def predict(columns):
        x = columns["x"]
        calls.append(len(x))
        if (x < 0).any():
            raise ValueError(f"cannot take {x.tolist()}")
        return {"y": x, "calls": [str(calls)] * len(x)}
    return predict
"""
INPUTS = {"x": "float"}


def sample(folder: Path, entries: Any) -> dict[str, str]:
    (folder / "sample.json").write_text(json.dumps(entries))
    return {"warm_up": "sample.json"}


def test_every_entry_is_asked_before_it_is_ready(tmp_path: Path, python_worker: Start) -> None:
    """A row, several rows, and a request as clients send it."""
    entries = [
        {"x": 1.0},
        {"rows": [{"x": 1.0}, {"x": None}]},
        {"inputs": [column("x", [1.0] * 3)]},
    ]
    worker = python_worker(COUNTS, version=sample(tmp_path, entries), inputs=INPUTS)
    _, answer = worker.infer([column("x", [1.0])])
    assert output(answer, "calls")["data"] == ["[1, 2, 3, 1]"]


@pytest.mark.parametrize(
    ("entries", "model", "words"),
    [
        ([{"x": 1.0}, {"x": -1.0}], {}, "entry 1: the model failed on it: ValueError: cannot take"),
        ({"x": "a"}, {}, "entry 0: input 'x', index 0"),
        ([7], {}, "7 is neither a row nor a request"),
        ({"x": -1.0}, {"redact": ["x"]}, "ValueError (its `redact`ed"),
        ({"x": 1.0}, {"inputs": {}}, "declares no `inputs`"),
    ],
    ids=["fails", "type", "no row", "redacted", "undeclared"],
)
def test_a_model_that_cannot_answer_its_sample_never_is_ready(
    tmp_path: Path, python_worker: Start, entries: Any, model: dict[str, Any], words: str
) -> None:
    """The entry and the reason are said; of redacted inputs no value is."""
    version = sample(tmp_path, entries)
    worker = python_worker(COUNTS, wait=False, version=version, **{"inputs": INPUTS, **model})
    assert worker.process.wait(20) == 3
    assert words in worker.stderr()
    assert ("-1.0" in worker.stderr()) == ("cannot take" in words)


def test_warm_up_calls_are_in_no_journal(tmp_path: Path) -> None:
    """Of two calls that the model saw, one was a request."""
    (tmp_path / "counts.py").write_text(COUNTS)
    (tmp_path / "sample.json").write_text('{"x": 5.0}')
    config = """
[models.m]
inputs = {x = "float"}
[models.m.versions.v1]
backend = "python:counts:load"
warm_up = "sample.json"
"""
    with serving(tmp_path, config, "m") as server:
        row = server.client.predict("m", {"x": 1.0}).rows[0]
        assert row["calls"] == "[1, 1]"
    sql = "SELECT (SELECT count(*) FROM request) AS requests, (SELECT count(*) FROM answer) AS answers"
    done = subprocess.run(
        [sys.executable, "-m", "redpoll", "log", "query", "--json", sql],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout) == [{"requests": 1, "answers": 1}], done.stderr
