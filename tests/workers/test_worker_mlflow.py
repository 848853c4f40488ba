"""MLflow model folders in a worker: the signature says what they are given."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from redpoll.backends import pickles
from redpoll.backends.worker import answers
from redpoll.backends.worker.models import Call, LoadError, Model, load
from redpoll.backends.worker.tensors import BadRequest
from redpoll.catalog import Version
from redpoll.errors import RedpollError
from tests.workers.serving import serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of its own code when it is imported
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's own, while it saves
RANDOM = np.random.default_rng(5)
FRAME = pd.DataFrame(
    {"age": RANDOM.integers(18, 80, 60).astype(float), "plan": RANDOM.choice(["basic", "pro"], 60)}
)
LABELS = np.where(FRAME["age"] > 40, "yes", "no")
FITTED = make_pipeline(
    make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age"])),
    LogisticRegression(),
).fit(FRAME, LABELS)
OUTPUT = {"name": "churn", "type": "binary", "score": "p", "positive": "yes"}
CODE = """
import mlflow.pyfunc, mlflow.models

class Told(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        kinds = [str(model_input[name].dtype) for name in model_input.columns]
        return {"total": model_input.select_dtypes("number").sum(axis=1), "kinds": [" ".join(kinds)] * len(model_input)}

mlflow.models.set_model(Told())
"""
TENSOR = """
import mlflow.pyfunc, mlflow.models

class Means(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input.mean(axis=(1, 2))

mlflow.models.set_model(Means())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models as mlflow saves them: of scikit-learn, of code, of tensors."""
    top = tmp_path_factory.mktemp("mlflow")
    columns = Schema(
        [
            ColSpec("float", "f32"), ColSpec("integer", "i32"), ColSpec("long", "i64"),
            ColSpec("string", "text"), ColSpec("datetime", "day"),
            ColSpec("double", "maybe", required=False),
        ]
    )  # fmt: skip
    images = Schema([TensorSpec(np.dtype("float32"), (-1, 2, 3))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(FRAME, FITTED.predict(FRAME))
        mlflow.sklearn.save_model(
            FITTED, top / "churn", signature=signature, serialization_format="cloudpickle"
        )
        for name, code, schema in (("told", CODE, columns), ("means", TENSOR, images)):
            (top / f"{name}.py").write_text(code)
            mlflow.pyfunc.save_model(
                top / name,
                python_model=str(top / f"{name}.py"),
                signature=ModelSignature(inputs=schema),
                pip_requirements=[],
            )
    return top


@pytest.fixture
def loaded(folder: Path) -> Callable[..., Model]:
    def make(name: str, method: str | None = None, **model: Any) -> Model:
        version = {
            "name": "v1", "backend": f"mlflow:{name}", "folder": str(folder), "method": method,
        }  # fmt: skip
        return load({"model": {"name": "m", **model}, "version": version})

    return make


def sent(model: Model, call: Call) -> dict[str, Any]:
    raw = answers.encode({}, model.predict(call), call.rows, model.types)
    return {one["name"]: one for one in json.loads(raw)["outputs"]}


def test_a_scikit_learn_model_is_served_from_its_copy(folder: Path, tmp_path: Path) -> None:
    """The whole folder is copied; its signature is what is declared; class and probability come."""
    config = f"""
[models.churn]
output = {{name = "churn", type = "binary", score = "p", positive = "yes"}}
inputs = {{age = "float", plan = "category"}}
[models.churn.versions.v1]
backend = "mlflow:{folder / "churn"}"
"""
    with serving(tmp_path, config, "churn") as server:
        row = server.client.predict("churn", {"age": 70.0, "plan": "pro"}).rows[0]
        one = pd.DataFrame({"age": [70.0], "plan": ["pro"]})
        assert row["churn"] == FITTED.predict(one)[0] == "yes"
        assert row["p"] == pytest.approx(FITTED.predict_proba(one)[0, 1])
    (kept,) = (tmp_path / "data" / "artifacts").iterdir()
    assert (kept / "MLmodel").read_bytes() == (folder / "churn" / "MLmodel").read_bytes()


def test_its_estimator_has_its_methods(loaded: Callable[..., Model]) -> None:
    """Without a word on inputs they are those of the signature."""
    call = Call(60, {"age": FRAME["age"].to_numpy(), "plan": FRAME["plan"].to_numpy(dtype=object)})
    found = sent(loaded("churn", "predict_proba"), call)
    assert found["probability_yes"]["data"] == FITTED.predict_proba(FRAME)[:, 1].tolist()


def test_columns_have_the_types_of_the_signature(loaded: Callable[..., Model]) -> None:
    """MLflow itself refuses an int64 for an integer, and a text for a datetime."""
    model = loaded("told")
    assert model.declared.inputs == {
        "f32": "float", "i32": "int", "i64": "int", "text": "text", "day": "time",
    }  # fmt: skip
    columns = {
        "f32": np.array([0.5, np.nan]),
        "i32": np.array([1, 2]),
        "i64": np.array([2**40, 1]),
        "text": np.array(["a", None], dtype=object),
        "day": np.array(["2026-01-02", "2026-01-03"], dtype=object),
    }
    found = sent(model, Call(2, columns))
    assert found["total"]["data"] == [2**40 + 1.5, 3.0]
    assert found["kinds"]["data"][0].startswith("float32 int32 int64 ")
    assert "datetime64" in found["kinds"]["data"][0]
    with pytest.raises(BadRequest, match="'day' is no datetime64"):
        model.predict(Call(2, {**columns, "day": np.array(["x", "y"], dtype=object)}))


def test_tensors_of_a_signature_keep_their_shape(loaded: Callable[..., Model]) -> None:
    """One without a name takes the tensor, whatever it is called; floats are made its floats."""
    images = RANDOM.normal(size=(4, 2, 3))
    found = sent(loaded("means"), Call(4, {"image": images}))
    assert found["prediction"]["data"] == pytest.approx(images.mean(axis=(1, 2)), abs=1e-6)


def test_what_cannot_work_is_said_when_it_is_loaded(
    loaded: Callable[..., Model], folder: Path
) -> None:
    """No model, a method of none, a column that is not declared, another name than is returned."""
    with pytest.raises(LoadError, match="MLmodel"):
        load(
            {
                "model": {"name": "m"},
                "version": {"name": "v1", "backend": "mlflow:.", "folder": str(folder)},
            }
        )
    with pytest.raises(LoadError, match="no `method`"):
        loaded("told", "predict_proba")
    with pytest.raises(LoadError, match="'i32' that `inputs` does not declare"):
        loaded("told", inputs={"f32": "float", "i_32": "int"})
    model = loaded("means", output={"name": "m", "type": "float"})
    assert list(model.predict(Call(1, {"x": np.ones((1, 2, 3))}))) == ["m"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("sklearn_version: ", "sklearn_version: 0.99.0 # ", "scikit-learn==0.99.0"),
        ("python_version: 3", "python_model: python_model.pkl\n    python_version: 2", "Python 2"),
    ],
    ids=["scikit-learn", "python"],
)
def test_one_that_was_saved_with_other_versions_is_refused(
    folder: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    """When the version is added, as for a pickle."""
    said = (folder / "churn" / "MLmodel").read_text()
    version = Version(name="v1", backend="mlflow:churn", folder=str(tmp_path))
    (tmp_path / "MLmodel").write_text(said)
    pickles.check(version, tmp_path)
    (tmp_path / "MLmodel").write_text(said.replace(old, new))
    with pytest.raises(RedpollError, match=words) as caught:
        pickles.check(version, tmp_path)
    assert caught.value.code == "RP-003"
