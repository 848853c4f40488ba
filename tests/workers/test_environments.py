"""A model's own Python: what is asked of it when a version is added, and what runs in it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.base
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from redpoll.backends import environments, pickles
from redpoll.catalog import Version
from redpoll.cli.main import run
from redpoll.errors import RedpollError
from tests.workers import pythons
from tests.workers.serving import HEAD, serving

SKLEARN = (
    "numpy", "scipy", "scikit-learn", "joblib", "threadpoolctl", "narwhals", "cloudpickle",
)  # fmt: skip
X = np.random.default_rng(1).normal(size=(80, 2))
Y = np.where(X[:, 0] > 0, "yes", "no")
FRAME = pd.DataFrame({"age": X[:, 0], "plan": np.where(X[:, 1] > 0, "basic", "pro")})
CODE = """
import sys
def load():
    def predict(columns):
        try:
            import redpoll
            has = "redpoll"
        except ImportError:
            has = "no redpoll"
        return {"y": columns["x"] * 2, "python": [sys.executable + " " + has] * len(columns["x"])}
    return predict
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with numpy alone."""
    return pythons.make(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with scikit-learn and what it needs; no pandas."""
    return pythons.make(tmp_path_factory.mktemp("learned") / "venv", SKLEARN)


def version(
    folder: Path, python: str | None, backend: str = "sklearn:m.pkl", **more: Any
) -> Version:
    return Version(name="v1", backend=backend, folder=str(folder), python=python, **more)


def refused(one: Version, folder: Path) -> RedpollError:
    with pytest.raises(RedpollError) as caught:
        pickles.check(one, folder / "m.pkl")
    return caught.value


def save(folder: Path, value: Any, name: str = "m.pkl") -> None:
    (folder / name).write_bytes(pickle.dumps(value))


def test_models_run_in_their_own_python_where_redpoll_is_not(
    tmp_path: Path, bare: str, learned: str
) -> None:
    """The path is seen from the folder; two models of one server live in two environments."""
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / ".venv").symlink_to(Path(bare).parent.parent)
    joblib.dump(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), tmp_path / "m.joblib"
    )
    config = f"""
[models.own]
inputs = {{x = "float"}}
[models.own.versions.v1]
backend = "python:own:load"
python = ".venv/bin/python"
[models.churn.versions.v1]
backend = "sklearn:m.joblib"
python = "{learned}"
"""
    with serving(tmp_path, config, "own", "churn") as server:
        row = server.client.predict("own", {"x": 2.0}).rows[0]
        assert row["y"] == 4.0
        assert row["python"] == f"{tmp_path}/.venv/bin/python no redpoll"
        tensor = {"name": "m", "shape": [2, 2], "datatype": "FP64", "data": [3, 0, -3, 0]}
        status, answer = server.send("/v2/models/churn/infer", {"inputs": [tensor]})
        assert (status, answer["outputs"][0]["data"]) == (200, ["yes", "no"])
        assert "pandas" not in server.log()
    done = subprocess.run(
        [
            sys.executable, "-m", "redpoll", "log", "query", "--json",
            "SELECT DISTINCT model, environment FROM deploy WHERE event = 'ready' ORDER BY model",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert f'\\"sklearn\\": \\"{sklearn.__version__}' in done.stdout, done.stderr
    assert learned in done.stdout


def test_a_pickle_of_another_scikit_learn_than_that_pythons_is_refused(
    tmp_path: Path, learned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that environment which counts, not ours: what to install there is said."""
    save(tmp_path, LogisticRegression().fit(X, Y))
    pickles.check(version(tmp_path, learned), tmp_path / "m.pkl")
    monkeypatch.setattr(sklearn.base, "__version__", "0.99.0")
    save(tmp_path, LogisticRegression().fit(X, Y))
    error = refused(version(tmp_path, learned), tmp_path)
    assert error.code == "RP-003"
    assert f"{learned} -m pip install scikit-learn==0.99.0" in error.message


def test_what_an_environment_lacks_is_named_with_the_command_that_installs_it(
    tmp_path: Path, bare: str
) -> None:
    """A missing interpreter, one that is none, one without numpy, one without scikit-learn."""
    save(tmp_path, LogisticRegression().fit(X, Y))
    error = refused(version(tmp_path, bare), tmp_path)
    assert error.code == "RP-210"
    assert f"{bare} -m pip install scikit-learn" in error.message
    assert "there is no " in refused(version(tmp_path, "nowhere/bin/python"), tmp_path).message
    assert "no Python" in refused(version(tmp_path, "/bin/false"), tmp_path).message
    empty = pythons.make(tmp_path / "empty", ())
    error = refused(version(tmp_path, empty, "python:own:load"), tmp_path)
    assert f"{empty} -m pip install numpy" in error.message


def test_installing_what_was_missing_is_noticed(tmp_path: Path) -> None:
    """Answers of an environment are kept, but not beyond a change of it."""
    python = pythons.make(tmp_path / "venv", ())
    one = version(tmp_path, python, "python:own:load")
    refused(one, tmp_path)
    pythons.make(tmp_path / "venv", ("numpy",))
    pickles.check(one, tmp_path)
    assert environments.ask(one) is environments.ask(one)


def test_modules_that_a_pickle_needs_are_looked_for_there_and_in_the_folder(
    tmp_path: Path, learned: str
) -> None:
    """Classes of the user's own modules: found in the folder, or named when they are nowhere."""
    save(tmp_path, make_pipeline(Ratio(), LogisticRegression()))
    error = refused(version(tmp_path, learned), tmp_path)
    assert error.code == "RP-210"
    top = Ratio.__module__.partition(".")[0]
    assert f"needs the module {top!r}" in error.message
    (tmp_path / top).mkdir()
    (tmp_path / top / "__init__.py").write_text("")
    pickles.check(version(tmp_path, learned), tmp_path / "m.pkl")


def test_a_dataframe_pipeline_without_pandas_there_says_so_when_it_loads(
    tmp_path: Path, learned: str
) -> None:
    """It picks its columns by name: no array will do."""
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough")
    save(tmp_path, make_pipeline(columns, LogisticRegression()).fit(FRAME, Y))
    config = f"""
[models.churn.versions.v1]
backend = "sklearn:m.pkl"
python = "{learned}"
"""
    with serving(tmp_path, config) as server:
        detail = server.until(lambda: server.workers().get("churn/v1", {}).get("detail"))
        assert f"{learned} -m pip install pandas" in detail


def test_apply_refuses_the_whole_file_and_says_what_to_do(
    tmp_path: Path, bare: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At `apply`, not at the first request; nothing is added."""
    save(tmp_path, LogisticRegression().fit(X, Y))
    config = f'[models.c.versions.v1]\nbackend = "sklearn:m.pkl"\npython = "{bare}"\n'
    (tmp_path / "redpoll.toml").write_text(HEAD + config)
    assert run(["apply", "-c", str(tmp_path / "redpoll.toml")]) == 1
    assert f"{bare} -m pip install scikit-learn" in capsys.readouterr().err
    assert run(["status", "--json", "-c", str(tmp_path / "redpoll.toml")]) in (0, 1)
    assert '"c"' not in capsys.readouterr().out


def test_a_worker_without_numpy_says_so_with_nothing_but_the_standard_library(
    tmp_path: Path,
) -> None:
    """On stderr and to the supervisor: it may have been taken away since the version was added."""
    python = pythons.make(tmp_path / "venv", ())
    read, write = os.pipe()
    program = Path(pickles.__file__).parent / "worker" / "__main__.py"
    done = subprocess.run(
        [python, str(program), "--spec", "-", "--socket", "s", "--report", str(write)],
        capture_output=True, text=True, input="{}", timeout=30, pass_fds=(write,),
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as report:
        told = report.read()
    assert done.returncode == 3
    assert f"{python} -m pip install numpy" in done.stderr
    assert '"event": "failed"' in told


class Ratio(sklearn.base.TransformerMixin, sklearn.base.BaseEstimator):
    """A step of the user's own."""

    def fit(self, data: Any, labels: Any = None) -> Ratio:
        return self

    def transform(self, data: Any) -> Any:
        return data
