"""One job: load a file and say what is in it."""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

LIBRARIES = (
    "numpy", "pandas", "scipy", "sklearn", "joblib", "skops", "lightgbm", "xgboost", "catboost",
    "torch", "onnxruntime", "mlflow",
)  # fmt: skip
LINE_MAX = 400


def main() -> None:
    """Read the job, do it, answer: what was found, or ``error`` (and ``missing``, a module)."""
    job = json.load(sys.stdin)
    out = os.dup(1)
    os.dup2(2, 1)  # a model that prints must not speak into the answer
    os.chdir(job["folder"])
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = LOOKERS[job["kind"]](job["path"])
    except BaseException as error:  # also SystemExit: whatever a pickle does
        traceback.print_exc()
        found = failed(error)
    found["python"] = platform.python_version()
    found["libraries"] = libraries()
    answer = json.dumps(found, default=str).encode()
    while answer:
        answer = answer[os.write(out, answer) :]
    sys.stderr.flush()
    os._exit(0)  # threads and exit handlers of a library could keep us


def failed(error: BaseException) -> dict[str, Any]:
    """What went wrong, in a line.

    ``missing``: the module that cannot be imported; ``lost``: a class that was pickled in a script
    and is not to be found.
    """
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    said: dict[str, Any] = {"error": f"{type(error).__name__}: {line}"[:LINE_MAX]}
    todo = getattr(error, "todo", None)
    if isinstance(todo, str):
        return {"error": line[:LINE_MAX], "todo": todo}
    if isinstance(error, ImportError) and error.name:
        said["missing"] = error.name
    elif isinstance(error, AttributeError) and "__main__" in line:
        found = re.search(r"attribute '(\w+)'", line)
        said["lost"] = found[1] if found else line
    return said


def libraries() -> dict[str, str]:
    """The versions of the libraries that the model brought in."""
    found = {}
    for name in LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


def look_at_pickle(path: str) -> dict[str, Any]:
    """A pickle or joblib file."""
    estimators = importlib.import_module("redpoll_probe.estimators")
    found: dict[str, Any] = estimators.describe(unpickle(path))
    return found


def unpickle(path: str) -> Any:
    """The object in a file. joblib reads plain pickles as well."""
    try:
        joblib = importlib.import_module("joblib")
    except ImportError:
        pickle = importlib.import_module("pickle")
        with open(path, "rb") as file:  # noqa: PTH123
            return pickle.load(file)
    return joblib.load(path)


def look_at_onnx(path: str) -> dict[str, Any]:
    """An ONNX file."""
    found: dict[str, Any] = importlib.import_module("redpoll_probe.onnx_file").look(path)
    return found


def look_at_mlflow(path: str) -> dict[str, Any]:
    """An MLflow folder."""
    found: dict[str, Any] = importlib.import_module("redpoll_probe.mlflow_folder").look(path)
    return found


LOOKERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "sklearn": look_at_pickle,
    "onnx": look_at_onnx,
    "mlflow": look_at_mlflow,
}
