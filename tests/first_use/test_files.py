"""``redpoll init`` for ONNX files and MLflow folders: they say themselves what they take."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy
import onnx
import pandas
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from redpoll import config
from redpoll.backends.probe import onnx_file
from redpoll.backends.probe.said import NoColumns
from tests.cli.conftest import Run
from tests.first_use import models
from tests.first_use.serving import serving, shell

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of its own code when it is imported
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own, while it saves
PEOPLE = models.PEOPLE.drop(columns="note")
MATRIX = models.NUMBERS.to_numpy(numpy.float32)
LABELS = numpy.where(models.OLD == 1, "old", "young")
CODE = """
import mlflow.pyfunc, mlflow.models

class Sum(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] + model_input["b"]

mlflow.models.set_model(Sum())
"""


def exported(estimator: Any, path: Path, types: Any) -> None:
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    made = to_onnx(estimator, initial_types=types, options=options, target_opset=18)
    path.write_bytes(made.SerializeToString())


def saved(estimator: Any, path: Path, data: pandas.DataFrame) -> None:
    """As people log it: with a signature and an example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(data, estimator.predict(data))
        mlflow.sklearn.save_model(
            estimator, str(path), signature=signature, input_example=data[3:4],
            serialization_format="cloudpickle",
        )  # fmt: skip


@pytest.mark.slow
def test_the_printed_lines_predict_what_the_models_do(tmp_path: Path) -> None:
    """A matrix in ONNX, columns in ONNX, a pipeline in MLflow: init, serve, and the lines."""
    flat = LogisticRegression().fit(MATRIX, LABELS)
    exported(flat, tmp_path / "flat.onnx", [("X", FloatTensorType([None, 2]))])
    parts = make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age"]))
    columns = make_pipeline(parts, LogisticRegression()).fit(PEOPLE, LABELS)
    types = [("age", Int64TensorType([None, 1])), ("plan", StringTensorType([None, 1]))]
    exported(columns, tmp_path / "columns.onnx", types)
    whole = models.pipeline()
    saved(whole, tmp_path / "kept", PEOPLE)
    done = shell("redpoll init --json", tmp_path)
    assert done.returncode == 0, done.stderr
    said = {one["model"]: one for one in json.loads(done.stdout)["models"]}
    assert set(said) == {"flat", "columns", "kept"}
    assert [c["name"] for c in said["flat"]["columns"]] == ["x0", "x1"]
    types_of = {name: {c["name"]: c["type"] for c in one["columns"]} for name, one in said.items()}
    assert types_of["columns"] == {"age": "int", "plan": "category"}
    assert types_of["kept"] == {"age": "int", "plan": "category", "income": "float"}
    row, example = said["kept"]["row"], PEOPLE.iloc[3]
    assert (row["age"], row["plan"]) == (example.age, example.plan), "the example that was saved"
    with serving(tmp_path):
        for name, one in said.items():
            answered = shell(one["predict"], tmp_path)
            assert answered.returncode == 0, answered.stderr
            row = json.loads(shlex.split(one["predict"])[3])
            model = {"flat": flat, "columns": columns, "kept": whole}[name]
            data = numpy.array([list(row.values())]) if name == "flat" else pandas.DataFrame([row])
            answer = json.loads(answered.stdout)
            assert answer["prediction"] == model.predict(data)[0]
            expected = model.predict_proba(data)[0, 1]
            assert answer["probability"] == pytest.approx(expected, abs=1e-5)


def test_a_model_of_code_is_asked_by_its_signature(redpoll: Run, tmp_path: Path) -> None:
    """Types from the signature, values made up; without a signature it says how to get one."""
    (tmp_path / "code.py").write_text(CODE)
    data = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    for name, signature in (("told", infer_signature(data, [1.5, 3.5])), ("mute", None)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.pyfunc.save_model(
                str(tmp_path / name), python_model=str(tmp_path / "code.py"), signature=signature
            )
    done = redpoll("init", "told", "--json")
    assert done.code == 0, done.err
    (one,) = done.json()["models"]
    assert {c["name"]: c["type"] for c in one["columns"]} == {"a": "int", "b": "float"}
    assert one["answer"] == {"prediction": 2.0}
    assert "as the file says" in (tmp_path / "redpoll.toml").read_text()
    mute = redpoll("init", "mute", "-c", "other.toml")
    assert mute.code == 1
    assert "no signature" in mute.err and "infer_signature" in mute.err
    assert not (tmp_path / "other.toml").exists()


def graph(path: Path, shape: list[Any], output: list[Any]) -> None:
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["X"], ["Y"])], "g",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("Y", TensorProto.FLOAT, output)],
        ),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=9,
    )  # fmt: skip
    onnx.save(made, str(path))


def test_a_width_that_the_file_does_not_say_comes_from_a_sample(
    redpoll: Run, tmp_path: Path
) -> None:
    """Asked for; with it the columns have its names."""
    graph(tmp_path / "m.onnx", ["n", "m"], ["n", "m"])
    done = redpoll("init", "m.onnx")
    assert done.code == 1
    assert "does not say what columns it takes" in done.err and "--sample" in done.err
    (tmp_path / "d.csv").write_text("Age (years),income\n31,4.5\n")
    done = redpoll("init", "m.onnx", "--sample", "d.csv", "--json")
    (one,) = done.json()["models"]
    assert one["row"] == {"age_years": 31, "income": 4.5}
    (model,) = config.load(tmp_path / "redpoll.toml").models
    assert model.inputs == {"age_years": "int", "income": "float"}


def test_an_image_model_is_told_how_it_is_asked(tmp_path: Path) -> None:
    """No row of columns is a picture; the message says what to write and to send."""
    graph(tmp_path / "m.onnx", ["n", 3, 8, 8], ["n", 3, 8, 8])
    with pytest.raises(NoColumns) as caught:
        onnx_file.look(str(tmp_path / "m.onnx"))
    assert "[n, 3, 8, 8]" in str(caught.value)
    assert "by hand" in caught.value.todo


def test_words_are_those_that_its_encoders_know(tmp_path: Path) -> None:
    """A made-up one is refused by an encoder; with two text columns each gets its own."""
    data = PEOPLE.assign(sex=numpy.where(PEOPLE.age > 50, "f", "m"))
    parts = make_column_transformer((OneHotEncoder(), ["sex", "plan"]), (StandardScaler(), ["age"]))
    model = make_pipeline(parts, LogisticRegression()).fit(data, LABELS)
    types = [
        ("age", Int64TensorType([None, 1])), ("plan", StringTensorType([None, 1])),
        ("sex", StringTensorType([None, 1])),
    ]  # fmt: skip
    exported(model, tmp_path / "m.onnx", types)
    found = onnx_file.look(str(tmp_path / "m.onnx"))
    known = dict(zip(found["names"], (one["values"] for one in found["columns"]), strict=True))
    assert set(known["plan"]) == set(models.PLANS)
    assert set(known["sex"]) == {"f", "m"}


def test_classes_are_read_from_the_file(tmp_path: Path) -> None:
    """A regression has none."""
    flat = LogisticRegression().fit(MATRIX, LABELS)
    exported(flat, tmp_path / "c.onnx", [("X", FloatTensorType([None, 2]))])
    found = onnx_file.look(str(tmp_path / "c.onnx"))
    assert (found["classes"], found["probability"], found["count"]) == (["old", "young"], True, 2)
    line = LinearRegression().fit(MATRIX, models.PEOPLE.income)
    (tmp_path / "one").mkdir()
    exported(line, tmp_path / "one" / "r.onnx", [("X", FloatTensorType([None, 2]))])
    found = onnx_file.look(str(tmp_path / "one"))
    assert (found["classes"], found["probability"]) == (None, False)
