"""scikit-learn files in a worker: what they are given, and what they answer."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from redpoll.backends.worker.models import Call, LoadError, load
from tests.workers.rig import Worker, column, output

Loader = Callable[..., Any]
RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(120, 2))
LABELS = np.where(X.sum(axis=1) > 0, "yes", "no")
FRAME = pd.DataFrame(
    {"age": RANDOM.integers(18, 80, 120), "plan": RANDOM.choice(["basic", "pro"], 120)}
)
BINARY = {"name": "churn", "type": "binary", "score": "probability", "positive": "yes"}


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it was given; for tests that look at the model's side."""

    def fit(self, data: Any, labels: Any) -> Recorder:
        self.classes_ = np.unique(labels)
        self.n_features_in_ = 2
        self.feature_names_in_ = np.array(["age", "plan"], dtype=object)
        return self

    def predict(self, data: Any) -> Any:
        self.seen = data
        return np.array(["yes"] * len(data))


@pytest.fixture
def loaded(tmp_path: Path) -> Loader:
    """``loaded(estimator, **model)``: the model as a worker loads it."""

    def make(estimator: Any, **model: Any) -> Any:
        with (tmp_path / "model.pkl").open("wb") as file:
            pickle.dump(estimator, file)
        version = {"name": "v1", "backend": "sklearn:model.pkl", "folder": str(tmp_path)}
        return load({"model": {"name": "m", **model}, "version": version})

    return make


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Loader]:
    """``worker(estimator, **model)``: a process that serves it."""
    started: list[Worker] = []

    def start(estimator: Any, **model: Any) -> Worker:
        joblib.dump(estimator, tmp_path / "model.joblib", compress=3)
        started.append(Worker(tmp_path, "sklearn:model.joblib", **model))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_a_pipeline_on_named_columns_is_served_over_its_socket(worker: Loader) -> None:
    """A compressed joblib file; a DataFrame in the order of fitting, whatever order was declared."""
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age"])),
        LogisticRegression(),
    ).fit(FRAME, LABELS)
    served = worker(pipeline, inputs={"plan": "category", "age": "int"}, output=BINARY)
    inputs = [column("plan", ["pro", "basic"], "BYTES"), column("age", [30, 60], "INT64")]
    status, answer = served.infer(inputs)
    assert status == 200
    frame = pd.DataFrame({"age": [30, 60], "plan": ["pro", "basic"]})
    assert output(answer, "churn")["data"] == pipeline.predict(frame).tolist()
    expected = pipeline.predict_proba(frame)[:, 1].tolist()
    assert output(answer, "probability")["data"] == pytest.approx(expected)
    status, answer = served.infer([column("plan", ["gold"], "BYTES"), column("age", [1], "INT64")])
    assert (status, answer["code"]) == (500, "RP-200")
    assert "unknown categories" in answer["error"]


def test_an_undeclared_model_takes_a_matrix_and_names_its_outputs_itself(worker: Loader) -> None:
    """The plainest first use: one FP32 tensor, answers ``prediction`` and ``probability``."""
    model = LogisticRegression().fit(X, LABELS == "yes")
    served = worker(model)
    matrix = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1.0, 2.0, -1.0, -2.0]}
    _, answer = served.infer([matrix])
    assert output(answer, "prediction") == {
        "name": "prediction",
        "shape": [2],
        "datatype": "BOOL",
        "data": [True, False],
    }
    assert output(answer, "probability")["data"][0] > 0.5
    status, answer = served.infer([{**matrix, "shape": [1, 4]}])
    assert (status, answer["code"]) == (400, "RP-107")
    assert "[n, 2]" in answer["error"]


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), RandomForestClassifier(5, random_state=0)],
    ids=["logistic", "forest"],
)
def test_one_pass_gives_what_predict_gives(loaded: Loader, estimator: Any) -> None:
    """The class that is read from the probabilities is the one that ``predict`` answers."""
    labels = np.array(["a", "b", "c"])[np.digitize(X.sum(axis=1), [-0.5, 0.5])]
    fitted = estimator.fit(X, labels)
    model = loaded(
        fitted,
        inputs={"a": "float", "b": "float"},
        output={"name": "kind", "type": "category", "score": "sure"},
    )
    answer = model.predict(Call(len(X), {"a": X[:, 0], "b": X[:, 1]}))
    assert answer["kind"].tolist() == fitted.predict(X).tolist()
    assert answer["sure"].tolist() == fitted.predict_proba(X).max(axis=1).tolist()


def test_the_probability_is_that_of_the_positive_class(loaded: Loader) -> None:
    """Whichever class that is; numbers and texts of the same name are the same class."""
    fitted = LogisticRegression().fit(X, (LABELS == "yes").astype(int))
    for positive, at in ((1, 1), (0, 0), ("1", 1), (None, 1)):
        model = loaded(
            fitted,
            inputs={"a": "float", "b": "float"},
            output={"name": "y", "type": "binary", "score": "p", "positive": positive},
        )
        answer = model.predict(Call(1, {"a": X[:1, 0], "b": X[:1, 1]}))
        assert answer["p"][0] == fitted.predict_proba(X[:1])[0, at]


def test_a_regression_answers_a_number(loaded: Loader) -> None:
    """And a declared matrix reaches it as it came."""
    fitted = LinearRegression().fit(X, X[:, 0] * 2)
    model = loaded(
        fitted,
        inputs={"a": "float", "b": "float"},
        tensor={"name": "t", "columns": ["a", "b"]},
        output={"name": "price", "type": "float"},
    )
    assert model.predict(Call(1, {}, matrix=X[:1]))["price"][0] == pytest.approx(X[0, 0] * 2)


def test_what_is_missing_reaches_a_data_frame_as_missing(loaded: Loader, monkeypatch: Any) -> None:
    """A whole number in the nullable type, exactly; a category as None."""
    seen: list[Any] = []
    monkeypatch.setattr(
        Recorder, "predict", lambda self, data: seen.append(data) or np.array(["yes"] * len(data))
    )
    model = loaded(Recorder().fit(FRAME, LABELS), inputs={"age": "int", "plan": "category"})
    plans = np.array(["basic", None], dtype=object)
    exact = 2**53 + 1
    ages = np.array([float(exact), np.nan])
    model.predict(Call(2, {"age": ages, "plan": plans}, holes={"age": [exact, None]}))
    model.predict(Call(2, {"age": np.array([1, 2]), "plan": plans}))
    assert str(seen[0].dtypes["age"]) == "Int64"
    assert seen[0]["age"][0] == exact
    assert seen[0]["age"].isna().tolist() == [False, True]
    assert seen[0]["plan"][1] is None
    assert str(seen[1].dtypes["age"]) == "int64"


@pytest.mark.parametrize(
    ("estimator", "model", "words"),
    [
        (LogisticRegression().fit(X, LABELS), {"inputs": {"a": "float"}}, "2 columns"),
        (Recorder().fit(FRAME, LABELS), {"inputs": {"aged": "int", "plan": "text"}}, "'aged'"),
        (
            LogisticRegression().fit(X, LABELS),
            {"output": {**BINARY, "positive": "ye"}},
            "none of the model's classes",
        ),
        (LinearSVC().fit(X, LABELS), {"output": BINARY}, "without predict_proba"),
        (
            LogisticRegression().fit(X, RANDOM.integers(0, 3, 120)),
            {"output": BINARY},
            "knows 3 classes",
        ),
        ({"not": "a model"}, {}, "no predict"),
    ],
    ids=["count", "names", "positive", "no-probability", "classes", "dict"],
)
def test_what_cannot_work_is_said_when_it_is_loaded(
    loaded: Loader, estimator: Any, model: dict[str, Any], words: str
) -> None:
    """Not at the first request."""
    with pytest.raises(LoadError, match=words):
        loaded(estimator, **model)


def test_a_pickle_of_another_scikit_learn_is_refused(loaded: Loader, monkeypatch: Any) -> None:
    """It would load, with a warning, and might answer wrongly."""
    import sklearn.base

    monkeypatch.setattr(sklearn.base, "__version__", "0.99.0")
    fitted = LogisticRegression().fit(X, LABELS)
    raw = pickle.dumps(fitted)
    monkeypatch.undo()
    with pytest.raises(LoadError, match=r"0\.99\.0"):
        loaded(_Raw(raw))


class _Raw:
    """Pickles as another object's bytes."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __reduce__(self) -> Any:
        return (pickle.loads, (self.raw,))
