"""What an MLflow model folder says of itself: its signature, its example, its estimator."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

from . import estimators
from .said import EXAMPLES, NoColumns, columns_of

TYPES = {
    "boolean": "bool",
    "integer": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "string": "category",
    "datetime": "time",
}


def look(path: str) -> dict[str, Any]:
    """The description of a folder. The signature's types count for more than an estimator's."""
    os.environ.setdefault("MLFLOW_TRACKING_URI", "file:///dev/null")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        described = importlib.import_module("mlflow.models").Model.load(path)
        schema = described.signature.inputs if described.signature is not None else None
        if "sklearn" in described.flavors:
            model = importlib.import_module("mlflow.sklearn").load_model(path)
            found: dict[str, Any] = estimators.describe(model)
        else:
            found = _described(described, schema)
    if schema is not None and not schema.is_tensor_spec():
        _typed(found, schema)
    found["example"] = _example(described, path, found["names"])
    return found


def _described(described: Any, schema: Any) -> dict[str, Any]:
    flavors = [name for name in described.flavors if name != "python_function"]
    if schema is None:
        raise NoColumns(
            "its MLmodel has no signature, so nobody knows its columns",
            "log it again with a signature (mlflow.models.infer_signature), or write redpoll.toml by "
            "hand with its `inputs`",
        )
    if schema.is_tensor_spec():
        raise NoColumns(
            f"it takes tensors ({schema.inputs[0]}), and no rows of columns",
            "write the version into redpoll.toml by hand, with no `inputs`, and send tensors to "
            "POST /v2/models/NAME/infer (docs/workers.md)",
        )
    names = [str(one.name) for one in schema.inputs]
    return {
        "class": f"MLflow model ({', '.join(flavors) or 'python_function'})",
        "parts": [],
        "predicts": True,
        "names": names,
        "count": len(names),
        "columns": columns_of(["" for _ in names]),
        "classes": None,
        "probability": False,
    }


def _typed(found: dict[str, Any], schema: Any) -> None:
    """Fill in the signature's types; values that the estimator remembers are kept where they fit."""
    types = {}
    for one in schema.inputs:
        kind = getattr(one.type, "name", str(one.type))
        if one.name and kind in TYPES:
            types[str(one.name)] = TYPES[kind]
    for name, column in zip(found["names"], found["columns"]):
        kind = types.get(name, "")
        texts = kind == "category" and column["type"] in ("category", "text")
        if kind and not texts and column["type"] != kind:
            numbers = kind in ("int", "float") and column["type"] in ("int", "float")
            values = column["values"] if numbers else []
            if kind == "int":
                values = [round(value) for value in values]
            column["type"], column["values"] = kind, values or EXAMPLES[kind]


def _example(described: Any, path: str, names: list[str]) -> dict[str, Any] | None:
    """The first row that was saved with the model; None where there is none of that form."""
    try:
        data = described.load_input_example(path)
        row = data.iloc[0].to_dict()
    except Exception:  # of any kind: an example is a help, not a need
        return None
    return {
        str(name): estimators.plain(value) for name, value in row.items() if str(name) in names
    } or None
