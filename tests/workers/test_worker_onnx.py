"""ONNX files in a worker: columns become their inputs, classes and probabilities become columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from redpoll.backends.worker import answers
from redpoll.backends.worker.models import Call, LoadError, Model, load
from redpoll.backends.worker.onnx_labels import Labels, read
from redpoll.backends.worker.tensors import BadRequest
from tests.workers.rig import Worker, column, output

Loader = Callable[..., Model]
RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(80, 2)).astype(np.float32)
LABELS = np.where(X.sum(axis=1) > 0, "yes", "no")
FRAME = pd.DataFrame(
    {"age": RANDOM.integers(18, 80, 80), "plan": RANDOM.choice(["basic", "pro"], 80)}
)
BINARY = {"name": "churn", "type": "binary", "score": "p", "positive": "yes"}
TWO = {"a": "float", "b": "float"}
FITTED = LogisticRegression().fit(X, LABELS)
COLUMNS = {"a": X[:, 0].astype(float), "b": X[:, 1].astype(float)}


def exported(estimator: Any, zipmap: bool = False, **more: Any) -> bytes:
    options = {id(estimator): {"zipmap": zipmap}} if hasattr(estimator, "predict_proba") else None
    types = more.pop("initial_types", [("X", FloatTensorType([None, 2]))])
    made = to_onnx(estimator, initial_types=types, options=options, target_opset=18)
    return bytes(made.SerializeToString())


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Any = ()) -> bytes:
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, list(weights)),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    return bytes(made.SerializeToString())


@pytest.fixture
def loaded(tmp_path: Path) -> Loader:
    """``loaded(raw, providers=(), **model)``: the model as a worker loads it."""

    def make(raw: bytes, providers: tuple[str, ...] = (), **model: Any) -> Model:
        (tmp_path / "m.onnx").write_bytes(raw)
        version = {
            "name": "v1", "backend": "onnx:m.onnx", "folder": str(tmp_path), "providers": providers,
        }  # fmt: skip
        return load({"model": {"name": "m", **model}, "version": version})

    return make


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(raw: bytes, **model: Any) -> Worker:
        (tmp_path / "m.onnx").write_bytes(raw)
        started.append(Worker(tmp_path, "onnx:m.onnx", **model))
        return started[-1]

    yield start
    for one in started:
        one.end()


def sent(model: Model, call: Call) -> dict[str, Any]:
    raw = answers.encode({}, model.predict(call), call.rows, model.types)
    return {one["name"]: one for one in json.loads(raw)["outputs"]}


def test_a_pipeline_on_named_columns_is_served_over_its_socket(worker: Any) -> None:
    """One input a column, of its own type; a text that is missing, or not known, is said."""
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age"])),
        LogisticRegression(),
    ).fit(FRAME, LABELS)
    types = [("age", Int64TensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
    raw = exported(pipeline, initial_types=types)
    served = worker(raw, inputs={"age": "int", "plan": "category"}, output=BINARY)
    frame = FRAME[:5]
    inputs = [
        column("plan", frame["plan"].tolist(), "BYTES"),
        column("age", frame["age"].tolist(), "INT64"),
    ]
    status, answer = served.infer(inputs)
    assert status == 200
    assert output(answer, "churn")["data"] == pipeline.predict(frame).tolist()
    expected = pipeline.predict_proba(frame)[:, 1].tolist()
    assert output(answer, "p")["data"] == pytest.approx(expected, abs=1e-6)
    inputs = [column("plan", [None], "BYTES"), column("age", [3], "INT64")]
    status, answer = served.infer(inputs)
    assert (status, answer["code"]) == (400, "RP-107")
    assert "'plan', index 0: null" in answer["error"]


@pytest.mark.parametrize("zipmap", [True, False], ids=["maps", "tensors"])
@pytest.mark.parametrize(
    "estimator",
    [FITTED, RandomForestClassifier(5, random_state=0).fit(X, LABELS)],
    ids=["logistic", "forest"],
)
def test_classes_and_probabilities_are_columns(
    loaded: Loader, estimator: Any, zipmap: bool
) -> None:
    """Declared or not; in both of the forms that classifiers are exported in."""
    raw = exported(estimator, zipmap)
    call = Call(80, COLUMNS)
    proba = estimator.predict_proba(X)
    for positive, at in (("yes", 1), ("no", 0), (None, 1)):
        model = loaded(raw, inputs=TWO, output={**BINARY, "positive": positive})
        found = sent(model, call)
        assert found["churn"]["data"] == estimator.predict(X).tolist()
        assert found["p"]["data"] == pytest.approx(proba[:, at].tolist(), abs=1e-5)
    model = loaded(raw, inputs=TWO, output={"name": "c", "type": "category", "score": "sure"})
    assert sent(model, call)["sure"]["data"] == pytest.approx(proba.max(axis=1), abs=1e-5)
    found = sent(loaded(raw, inputs=TWO), call)
    (yes,) = (one for name, one in found.items() if name.endswith("_yes"))
    assert yes["data"] == pytest.approx(proba[:, 1].tolist(), abs=1e-5)


def test_an_undeclared_model_takes_one_matrix_of_any_name(worker: Any) -> None:
    """FP64 is narrowed to the FP32 that the model takes; a wrong width is said."""
    served = worker(exported(FITTED))
    matrix = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": X[:2].ravel().tolist()}
    status, answer = served.infer([matrix])
    assert status == 200
    assert answer["outputs"][0]["data"] == FITTED.predict(X[:2]).tolist()
    status, answer = served.infer([{**matrix, "shape": [1, 4]}])
    assert (status, answer["code"]) == (400, "RP-107")
    assert "[n, 2]" in answer["error"]


def test_a_regression_answers_a_number_under_the_declared_name(loaded: Loader) -> None:
    """Or all of its numbers, as json."""
    fitted = LinearRegression().fit(X, X[:, 0] * 2)
    model = loaded(exported(fitted), inputs=TWO, output={"name": "price", "type": "float"})
    found = sent(model, Call(80, COLUMNS))
    assert found["price"]["shape"] == [80]
    assert found["price"]["data"] == pytest.approx((X[:, 0] * 2).tolist(), abs=1e-4)
    both = LinearRegression().fit(X, X * 2)
    model = loaded(exported(both), inputs=TWO, output={"name": "prices", "type": "json"})
    first = json.loads(sent(model, Call(80, COLUMNS))["prices"]["data"][0])
    assert first == pytest.approx((X[0] * 2).tolist(), abs=1e-4)


def test_integers_that_do_not_fit_are_refused_not_wrapped(loaded: Loader) -> None:
    """The index is named; a missing one is said to be missing."""
    raw = graph(
        [helper.make_node("Identity", ["n"], ["m"])],
        [helper.make_tensor_value_info("n", TensorProto.INT32, [None])],
        [helper.make_tensor_value_info("m", TensorProto.INT32, [None])],
    )
    model = loaded(raw, inputs={"n": "int"})
    assert sent(model, Call(2, {"n": np.array([1, -2])}))["m"]["data"] == [1, -2]
    for values, words in (([1, 2**31], "index 1: 2147483648"), ([np.nan, 1.0], "index 0: null")):
        with pytest.raises(BadRequest, match=words):
            model.predict(Call(2, {"n": np.array(values)}))


def test_a_model_of_one_row_at_a_time_is_asked_row_by_row(loaded: Loader) -> None:
    """Images of a fixed first axis of 1; any other fixed number is refused when it is loaded."""

    def means(rows: Any) -> bytes:
        return graph(
            [helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0)],
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [rows, 2, 3])],
            [helper.make_tensor_value_info("mean", TensorProto.FLOAT, [rows])],
            [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
        )

    images = RANDOM.normal(size=(4, 2, 3)).astype(np.float32)
    for rows in (1, "n"):
        found = sent(loaded(means(rows)), Call(4, {"image": images}))
        assert found["mean"]["data"] == pytest.approx(images.mean(axis=(1, 2)).tolist(), abs=1e-6)
    with pytest.raises(LoadError, match="takes 5 rows at once"):
        loaded(means(5))
    with pytest.raises(BadRequest, match=r"\[n, 2, 3\]"):
        loaded(means("n")).predict(Call(4, {"image": images[:, :1]}))


def test_what_cannot_work_is_said_when_it_is_loaded(loaded: Loader) -> None:
    """No ONNX, a provider that is not there, columns, classes and scores that do not fit."""
    raw = exported(FITTED)
    cases: list[tuple[bytes, dict[str, Any], str]] = [
        (b"no model", {}, "cannot be loaded by onnxruntime"),
        (raw, {"providers": ("CPUExecutionProvidre",)}, "Did you mean 'CPUExecutionProvider'"),
        (raw, {"providers": ("CUDAExecutionProvider",)}, "has no provider"),
        (raw, {"inputs": {"a": "float"}}, "a matrix of 2 columns"),
        (raw, {"inputs": TWO, "output": {**BINARY, "positive": "ye"}}, "none of the model's"),
        (exported(LinearRegression().fit(X, X[:, 0])), {"output": BINARY}, "no output that is"),
    ]
    for model, options, words in cases:
        with pytest.raises(LoadError, match=words):
            loaded(model, **options)


def test_weights_beside_the_file_come_with_its_folder(tmp_path: Path) -> None:
    """The folder is the model then: a file alone, without them, is refused."""
    made = onnx.load_from_string(exported(FITTED))
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [512], np.ones(512, np.float32).tobytes(), raw=True
    )
    made.graph.initializer.append(weight)
    (tmp_path / "model").mkdir()
    onnx.save_model(
        made, tmp_path / "model" / "m.onnx", save_as_external_data=True, location="m.data"
    )
    version = {"name": "v1", "backend": "onnx:model/m.onnx", "folder": str(tmp_path)}
    with pytest.raises(LoadError, match="a folder of their own"):
        load({"model": {"name": "m"}, "version": version})
    model = load({"model": {"name": "m"}, "version": {**version, "backend": "onnx:model"}})
    assert (
        next(iter(model.predict(Call(80, {"X": X})).values())).tolist()
        == FITTED.predict(X).tolist()
    )


def test_the_probability_of_classes_without_names_is_not_guessed(loaded: Loader) -> None:
    """Numbered classes are taken where every answer agrees; else the answer is refused."""

    def scored(first: int) -> bytes:
        return graph(
            [
                helper.make_node("ArgMax", ["x"], ["at"], axis=1, keepdims=0),
                helper.make_node("Add", ["at", "first"], ["label"]),
                helper.make_node("Identity", ["x"], ["share"]),
            ],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
            [
                helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
                helper.make_tensor_value_info("share", TensorProto.FLOAT, [None, 2]),
            ],
            [helper.make_tensor("first", TensorProto.INT64, [1], [first])],
        )

    declared = {"inputs": TWO, "output": {**BINARY, "positive": 1}}
    call = Call(1, {"a": np.array([0.25]), "b": np.array([0.75])})
    assert sent(loaded(scored(0), **declared), call)["p"]["data"] == [0.75]
    with pytest.raises(answers.BadAnswer, match="cannot be told"):
        loaded(scored(1), **declared).predict(call)


def test_class_names_are_read_out_of_any_bytes_without_an_error() -> None:
    """A file that is cut off anywhere, or is none, names no classes."""
    raw = exported(FITTED)
    assert read(raw) == Labels(["no", "yes"], False)
    numbered = LogisticRegression().fit(X, np.where(LABELS == "yes", 7, -3))
    assert read(exported(numbered)).classes == [-3, 7]
    for end in range(0, len(raw), 3):
        assert isinstance(read(raw[:end]), Labels)
    for seed in range(50):
        assert isinstance(read(np.random.default_rng(seed).bytes(300)), Labels)
