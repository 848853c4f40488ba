"""What is told of a model that failed: one sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from redpoll.backends.worker import observe
from redpoll.backends.worker.run import _missing
from redpoll.backends.worker.tensors import Call
from redpoll.host import logs
from tests.workers.rig import Worker, column, output

RANDOM = np.random.default_rng(11)
FRAME = pd.DataFrame(
    {
        "age": RANDOM.integers(18, 80, 80),
        "rate": RANDOM.normal(size=80),
        "plan": RANDOM.choice(["basic", "pro"], 80),
    }
)
INPUTS = {"age": "int", "rate": "float", "plan": "category"}
ID = "01900000-0000-7000-8000-00000000000a"


def pipeline(labels: Any) -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]), (StandardScaler(), ["age", "rate"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, labels)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """``served(labels, **model)``: a worker with a pipeline that was fitted on them."""
    started: list[Worker] = []

    def start(labels: Any, **model: Any) -> Worker:
        joblib.dump(pipeline(labels), tmp_path / "m.joblib")
        started.append(Worker(tmp_path, "sklearn:m.joblib", inputs=INPUTS, **model))
        return started[-1]

    yield start
    for one in started:
        one.end()


def rows(age: list[Any], rate: list[Any], plan: list[Any]) -> list[dict[str, Any]]:
    ages = column("age", age, "INT64")
    if None in age:
        ages["parameters"] = {"nullable": True}
    return [ages, column("rate", rate), column("plan", plan, "BYTES")]


def test_a_null_that_a_model_cannot_take_is_one_sentence_with_its_columns(served: Any) -> None:
    """Of scikit-learn's fourteen lines the first; all of them are in the worker's stderr."""
    worker = served(np.where(FRAME["age"] > 40, "yes", "no"))
    headers = {"redpoll-prediction-id": ID}
    status, said = worker.infer(rows([30, 40], [None, 1.0], ["pro", "pro"]), headers=headers)
    assert (status, said["code"]) == (500, "RP-200")
    assert said["error"] == (
        "ValueError: Input X contains NaN. The request has row(s) with null in: rate; send values "
        "there, or have the model fill in what is missing."
    )
    whole = logs.of_prediction(worker.log, ID)
    assert "LogisticRegression does not accept missing values" in whole
    _, said = worker.infer(rows([None, 40], [None, 1.0], ["pro", None]))
    assert "null in: age, rate, plan; send" in said["error"]
    assert "\n" not in said["error"]
    assert worker.infer(rows([30], [1.0], ["pro"]))[0] == 200


def failed(error: Exception) -> str:
    try:
        raise error
    except Exception as caught:
        return observe.failure(caught)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_of_an_exception_its_type_and_first_line_are_told() -> None:
    """Bounded, and whatever the exception is like."""
    assert failed(KeyError("plan")) == "KeyError: 'plan'"
    assert failed(ValueError("one\ntwo\nthree")) == "ValueError: one"
    assert failed(ValueError("\n\n  late  \n")) == "ValueError: late"
    assert failed(ValueError()) == "ValueError"
    assert failed(ValueError("x" * 5000)) == "ValueError: " + "x" * 287 + "…"
    assert failed(np.linalg.LinAlgError("singular")) == "numpy.linalg.LinAlgError: singular"
    assert failed(Mute()).endswith("Mute: (it cannot say what is wrong)")
    noted = ValueError("first")
    noted.add_note("and a note")
    assert failed(noted) == "ValueError: first"


def test_columns_with_nulls_are_named_whatever_the_model_did_to_them() -> None:
    """Few of many, and none where a model put something else in a column's place."""
    nan = np.array([np.nan])
    many = Call(1, {f"c{n}": nan for n in range(9)})
    assert "null in: c0, c1, c2, c3, c4 and 4 more; send" in _missing("E", many)
    odd = Call(1, {"a": "text", "b": None, "c": [None], "d": np.array([1])})  # type: ignore[dict-item]
    assert _missing("E", odd) == _missing("E", None) == ""
    assert _missing("E: x", Call(1, {"a": nan})).startswith(". The request")
    assert _missing("E: x!", Call(1, {"a": nan})).startswith(" The request")


@pytest.mark.parametrize(
    ("labels", "model", "datatype"),
    [
        ([0, 1], {"output": {"name": "y", "type": "binary", "score": "p", "positive": 1}}, "INT64"),
        ([False, True], {"output": {"name": "y", "type": "binary", "positive": True}}, "BOOL"),
        ([False, True], {"output": {"name": "y", "type": "binary", "positive": 1}}, "INT64"),
        (["no", "yes"], {"output": {"name": "y", "type": "binary", "positive": "yes"}}, "BYTES"),
        ([7, 9], {"output": {"name": "y", "type": "category"}}, "INT64"),
        ([0, 1], {}, "INT64"),
    ],
    ids=["int", "bool", "bool-int", "text", "category", "undeclared"],
)
def test_metadata_and_answers_agree(
    served: Any, labels: list[Any], model: dict[str, Any], datatype: str
) -> None:
    """In the datatype of every output, of rows and of none."""
    worker = served(np.where(FRAME["rate"] > 0, labels[1], labels[0]), **model)
    client = worker.client()
    _, told = client.ask("GET", "/v2/models/m")
    kinds = {tensor["name"]: tensor["datatype"] for tensor in told["outputs"]}
    assert kinds.get("y", kinds.get("prediction")) == datatype
    for inputs in (rows([30], [1.0], ["pro"]), rows([], [], [])):
        _, said = worker.infer(inputs)
        assert {t["name"]: t["datatype"] for t in said["outputs"]} == kinds
    _, said = worker.infer(rows([30], [3.0], ["pro"]))
    assert output(said, "y" if "output" in model else "prediction")["data"] == [labels[1]]
