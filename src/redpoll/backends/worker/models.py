"""Loading a model: a Python callable, or a file of scikit-learn, ONNX or MLflow."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from .model import DATATYPES, LoadError, Model, Output, declarations
from .sklearn_model import load_sklearn
from .tensors import Call, Declared, near

__all__ = ["DATATYPES", "Call", "LoadError", "Model", "Output", "declarations", "load"]


def load(spec: Mapping[str, Any]) -> Model:
    """Load what a spec (``redpoll.backends.start.specification``) describes.

    Raises :class:`LoadError`, or what the model's own code raises.
    """
    declared, output = declarations(spec["model"])
    version = spec["version"]
    scheme, _, rest = version["backend"].partition(":")
    if scheme == "python":
        return _load_python(rest, declared, output)
    if scheme == "in-process":
        return _load_python(rest, declared, output, _lists)
    path = spec.get("artifact") or os.path.join(version["folder"], rest)  # noqa: PTH118
    if scheme == "sklearn":
        return load_sklearn(path, rest, version, declared, output)
    if scheme == "onnx":
        from .onnx_model import load_onnx

        return load_onnx(path, rest, version, declared, output)
    if scheme == "mlflow":
        from .mlflow_model import load_mlflow

        return load_mlflow(path, rest, version, declared, output)
    raise LoadError(f"this worker runs no {scheme}: backends")


def _lists(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as the gateway's own process hands them to a light model: lists, None where missing."""
    found = {}
    for name, array in columns.items():
        values = array.tolist()
        if array.dtype.kind == "f" and array.ndim == 1:
            values = [None if value != value else value for value in values]
        found[name] = values
    return found


def _load_python(
    target: str,
    declared: Declared,
    output: Output | None,
    given: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Model:
    module_name, _, function_name = target.partition(":")
    module = importlib.import_module(module_name)
    function = getattr(module, function_name or "load", None)
    if function is None:
        names = [name for name in vars(module) if callable(getattr(module, name))]
        raise LoadError(
            f"module {module_name} has no function {function_name!r}.{near(function_name, names)}"
        )
    predict = function()
    if not callable(predict):
        raise LoadError(
            f"{target}() returned {type(predict).__name__}; it must return a function "
            "predict(columns: dict[str, ndarray]) -> dict[str, ndarray]"
        )
    types, datatypes = (output.types, output.datatypes) if output else ({}, {})
    return Model(declared, types, lambda call: predict(given(call.columns)), datatypes)
