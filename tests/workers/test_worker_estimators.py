"""Estimators that take no matrix or answer no single class, and the other methods that they have."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from redpoll.backends.worker import answers
from redpoll.backends.worker.models import Call, LoadError, Model, load
from redpoll.backends.worker.tensors import BadRequest

Loader = Callable[..., Model]
RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(60, 2))
LABELS = np.where(X.sum(axis=1) > 0, "yes", "no")
SEVERAL = (RANDOM.random((60, 3)) < 0.5).astype(int)
TEXTS = np.array(["good film", "bad film", "good", "so bad"], dtype=object)
MOODS = np.array([1, 0, 1, 0])


@pytest.fixture
def loaded(tmp_path: Path) -> Loader:
    """``loaded(estimator, method=None, **model)``: the model as a worker loads it."""

    def make(estimator: Any, method: str | None = None, **model: Any) -> Model:
        (tmp_path / "m.pkl").write_bytes(pickle.dumps(estimator))
        version = {
            "name": "v1", "backend": "sklearn:m.pkl", "folder": str(tmp_path), "method": method,
        }  # fmt: skip
        return load({"model": {"name": "m", **model}, "version": version})

    return make


def sent(model: Model, call: Call) -> dict[str, Any]:
    """The outputs by name, as they go over the wire."""
    raw = answers.encode({}, model.predict(call), call.rows, model.types)
    return {one["name"]: one for one in json.loads(raw)["outputs"]}


PIPELINES = {
    "count": make_pipeline(CountVectorizer(), LogisticRegression()),
    "hashing": make_pipeline(HashingVectorizer(n_features=64), LogisticRegression()),
    "union": make_pipeline(FeatureUnion([("t", TfidfVectorizer())]), LogisticRegression()),
    "searched": GridSearchCV(
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        {"logisticregression__C": [1.0, 2.0]},
        cv=2,
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_that_begins_with_a_text_vectorizer_gets_a_column_of_texts(
    loaded: Loader, name: str
) -> None:
    """Declared or not: one string a row, of shape [n]."""
    fitted = PIPELINES[name].fit(TEXTS, MOODS)
    for model in ({}, {"inputs": {"review": "text"}}):
        answer = sent(loaded(fitted, **model), Call(4, {"review": TEXTS}))
        assert answer["prediction"]["data"] == fitted.predict(TEXTS).tolist()
        assert answer["probability"]["data"] == fitted.predict_proba(TEXTS)[:, 1].tolist()


def test_what_is_no_text_is_refused_by_name(loaded: Loader) -> None:
    """Two inputs, or a number, are said when it is loaded; a wrong tensor when it comes."""
    fitted = PIPELINES["count"].fit(TEXTS, MOODS)
    with pytest.raises(LoadError, match="declares 2"):
        loaded(fitted, inputs={"a": "text", "b": "text"})
    with pytest.raises(LoadError, match="age as int"):
        loaded(fitted, inputs={"age": "int"})
    model = loaded(fitted)
    with pytest.raises(BadRequest, match="'x' holds float64"):
        model.predict(Call(1, {"x": np.array([1.0])}))
    with pytest.raises(BadRequest, match="not 2 tensors"):
        model.predict(Call(4, {"a": TEXTS, "b": TEXTS}))


def test_a_pipeline_that_begins_with_a_dict_vectorizer_gets_a_dict_a_row(loaded: Loader) -> None:
    """What is missing is left out of it, as it was when it was fitted."""
    rows = [{"age": 1.0, "plan": "pro"}, {"age": 5.0, "plan": "basic"}, {"plan": "pro"}]
    fitted = make_pipeline(DictVectorizer(), LogisticRegression()).fit(rows, [0, 1, 0])
    columns = {
        "age": np.array([1.0, 5.0, np.nan]),
        "plan": np.array(["pro", "basic", "pro"], dtype=object),
    }
    model = loaded(fitted, inputs={"age": "float", "plan": "category"})
    answer = sent(model, Call(3, columns))
    assert answer["probability"]["data"] == fitted.predict_proba(rows)[:, 1].tolist()


MULTI = {
    "forest": RandomForestClassifier(3, random_state=0),
    "each": MultiOutputClassifier(LogisticRegression()),
    "rest": make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression())),
    "network": MLPClassifier((4,), max_iter=30, random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MULTI)
def test_a_classifier_of_several_labels_answers_them_all(loaded: Loader, name: str) -> None:
    """A matrix, or a list a row where the output is json; one class is refused beforehand."""
    fitted = MULTI[name].fit(X, SEVERAL)
    call = Call(60, {"x": X})
    found = sent(loaded(fitted), call)
    assert set(found) == {"prediction"}
    assert found["prediction"]["shape"] == [60, 3]
    assert np.reshape(found["prediction"]["data"], (60, 3)).tolist() == fitted.predict(X).tolist()
    model = loaded(fitted, output={"name": "tags", "type": "json"})
    listed = [json.loads(row) for row in sent(model, call)["tags"]["data"]]
    assert listed == fitted.predict(X).tolist()
    with pytest.raises(LoadError, match="several labels a row"):
        loaded(fitted, output={"name": "tag", "type": "binary", "score": "p", "positive": 1})


def test_probabilities_of_several_labels_have_a_column_each(loaded: Loader) -> None:
    """Named by label and class."""
    fitted = MULTI["forest"].fit(X, SEVERAL)
    call = Call(60, {"x": X})
    found = sent(loaded(fitted, "predict_proba"), call)
    assert list(found)[:2] == ["probability_0_0", "probability_0_1"]
    assert found["probability_2_1"]["data"] == fitted.predict_proba(X)[2][:, 1].tolist()
    model = loaded(fitted, "predict_proba", output={"name": "tags", "type": "json"})
    first = json.loads(sent(model, call)["tags"]["data"][0])
    assert first["2_1"] == fitted.predict_proba(X)[2][0, 1]


def test_a_method_that_is_named_answers_in_place_of_predict(loaded: Loader) -> None:
    """A column a class or feature; one number, or one object a row, where that is declared."""
    logistic = LogisticRegression().fit(X, LABELS)
    call = Call(60, {"x": X})
    proba = logistic.predict_proba(X)
    found = sent(loaded(logistic, "predict_proba"), call)
    assert list(found) == ["probability_no", "probability_yes"]
    assert found["probability_yes"]["data"] == proba[:, 1].tolist()
    model = loaded(logistic, "predict_proba", output={"name": "p", "type": "float"})
    assert sent(model, call)["p"]["data"] == proba[:, 1].tolist()
    model = loaded(logistic, "predict_proba", output={"name": "p", "type": "json"})
    assert json.loads(sent(model, call)["p"]["data"][0]) == {"no": proba[0, 0], "yes": proba[0, 1]}
    scaler = StandardScaler().fit(X)
    found = sent(loaded(scaler, "transform"), call)
    assert found["x1"]["data"] == scaler.transform(X)[:, 1].tolist()
    svm = LinearSVC().fit(X, LABELS)
    output = {"name": "y", "type": "binary", "score": "s", "positive": "no"}
    found = sent(loaded(svm, "decision_function", output=output), call)
    assert found["s"]["data"] == (-svm.decision_function(X)).tolist()
    assert found["y"]["data"] == svm.predict(X).tolist()


def test_a_method_that_it_has_not_is_said_when_it_is_loaded(loaded: Loader) -> None:
    """With those that it has."""
    with pytest.raises(LoadError, match=r"no predict_proba\(\)\. It has predict"):
        loaded(LinearRegression().fit(X, X[:, 0]), "predict_proba")
    with pytest.raises(LoadError, match="It has transform: set `method`"):
        loaded(StandardScaler().fit(X))
