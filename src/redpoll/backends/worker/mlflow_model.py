"""An MLflow model folder: its signature says what it is given, its flavor what answers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .answers import BadAnswer
from .frames import column, frame_maker
from .model import LoadError, Model, Output, install
from .sklearn_model import serve
from .tensors import BadRequest, Call, Declared, near

Array = Any
# MLflow's types of columns: ours, and the numpy type that it insists on (None: as it comes).
TYPES: dict[str, tuple[str, str | None]] = {
    "boolean": ("bool", None),
    "integer": ("int", "int32"),
    "long": ("int", None),
    "float": ("float", "float32"),
    "double": ("float", None),
    "string": ("text", None),
    "datetime": ("time", "datetime64[ns]"),
}


def load_mlflow(
    path: str, name: str, version: Mapping[str, Any], declared: Declared, output: Output | None
) -> Model:
    """Load an MLflow model; ``name`` is the folder's in messages. Raises :class:`LoadError`."""
    if not os.path.isfile(os.path.join(path, "MLmodel")):  # noqa: PTH113, PTH118
        raise LoadError(f"{name} is no MLflow model: a folder with a file MLmodel in it")
    os.environ.setdefault("MLFLOW_TRACKING_URI", "file:///dev/null")  # a worker tracks nothing
    try:
        import mlflow
        import mlflow.models
        import mlflow.pyfunc
    except ImportError as error:
        raise LoadError(
            f"mlflow cannot be imported in this Python ({error}); set `python` of the version to "
            f"the environment that the model was made in, or run {install('mlflow-skinny pandas')}"
        ) from None
    described = mlflow.models.Model.load(path)
    if "python_function" not in described.flavors:
        raise LoadError(
            f"{name} has the flavors {', '.join(described.flavors)}, and no python_function: log it "
            "with a flavor that has one"
        )
    if "sklearn" in described.flavors:
        return _estimator(path, name, version, declared, output, described)
    if version.get("method"):
        raise LoadError(f"{name} is no scikit-learn model, so it has no `method`; leave it away")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = _loading(lambda: mlflow.pyfunc.load_model(path), name)
    signature = described.signature
    schema = signature.inputs if signature is not None else None
    declared, table = _table(schema, declared, name)
    label = output.name if output else "prediction"

    def ask(call: Call) -> Mapping[str, Any]:
        return _columns(loaded.predict(table(call)), label, output)

    return Model(declared, output.types if output else {}, ask, output.datatypes if output else {})


def _loading(load: Callable[[], Any], name: str) -> Any:
    try:
        return load()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise LoadError(
            f"{name} needs the module {error.name!r}: install what its requirements.txt lists in "
            f"this Python ({install(package)})"
        ) from None


def _estimator(
    path: str,
    name: str,
    version: Mapping[str, Any],
    declared: Declared,
    output: Output | None,
    described: Any,
) -> Model:
    """A model of scikit-learn as such: with its methods, and one pass for class and probability."""
    import mlflow.sklearn

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = _loading(lambda: mlflow.sklearn.load_model(path), name)
    signature = described.signature
    schema = signature.inputs if signature is not None else None
    if not declared.inputs and schema is not None and not schema.is_tensor_spec():
        declared = declared._replace(inputs=_types(schema, name))
    return serve(estimator, name, version.get("method"), declared, output)


def _types(schema: Any, name: str) -> dict[str, str]:
    """Our types by column name."""
    found = {}
    for one in schema.inputs:
        kind = getattr(one.type, "name", str(one.type))
        if kind not in TYPES:
            raise LoadError(
                f"{name} has a column {one.name!r} of the type {one.type}, which no tensor carries; "
                f"it can be {', '.join(TYPES)}"
            )
        if one.name:
            found[str(one.name)] = TYPES[kind][0]
    return found


def _table(schema: Any, declared: Declared, name: str) -> tuple[Declared, Callable[[Call], Any]]:
    """What the model declares, and the DataFrame or array that it is given."""
    if schema is None:
        if declared.inputs:
            return declared, frame_maker(list(declared.inputs), declared.inputs, name)
        return declared, _any
    if schema.is_tensor_spec():
        return declared, _tensors(schema)
    types = _types(schema, name)
    if not types:
        return declared, _any
    optional = {str(one.name) for one in schema.inputs if not getattr(one, "required", True)}
    if declared.inputs:
        for column_name in types:
            if column_name not in declared.inputs and column_name not in optional:
                raise LoadError(
                    f"{name} takes a column {column_name!r} that `inputs` does not declare."
                    f"{near(column_name, declared.inputs)}"
                )
        names = [one for one in types if one in declared.inputs]
        types = {**types, **declared.inputs}
    else:
        names = [one for one in types if one not in optional]
        declared = declared._replace(inputs={one: types[one] for one in names})
    make = frame_maker(names, types, f"{name} takes its columns by name")
    exact = {
        str(one.name): TYPES[getattr(one.type, "name", str(one.type))][1] for one in schema.inputs
    }

    def frame(call: Call) -> Any:
        data = make(call)
        for title in names:
            kind = exact.get(title)
            if kind and data[title].dtype != kind:
                try:
                    data[title] = data[title].astype(kind)
                except (TypeError, ValueError) as error:
                    raise BadRequest(f"input {title!r} is no {kind}: {error}") from None
        return data

    return declared, frame


def _any(call: Call) -> Any:
    """One tensor as it came, or all of them as a DataFrame."""
    if call.matrix is not None:
        return call.matrix
    if len(call.columns) == 1:
        return next(iter(call.columns.values()))
    import pandas

    return pandas.DataFrame({name: column(call, name) for name in call.columns})


def _tensors(schema: Any) -> Callable[[Call], Any]:
    """Arrays of the signature's types: one without a name, or several by theirs."""
    specs = list(schema.inputs)

    def arrays(call: Call) -> Any:
        found = {}
        for spec in specs:
            name = spec.name
            array = call.matrix if call.matrix is not None else call.columns.get(name or "")
            if array is None and len(specs) == 1 and len(call.columns) == 1:
                array = next(iter(call.columns.values()))
            if array is None:
                raise BadRequest(f"input {name!r} is missing.{near(str(name), call.columns)}")
            kind = np.dtype(spec.type)
            if array.dtype != kind and kind.kind == "f" and array.dtype.kind in "fiu":
                array = array.astype(kind)
            found[name] = array
        return found[None] if list(found) == [None] else found

    return arrays


def _columns(found: Any, label: str, output: Output | None) -> Mapping[str, Any]:
    """What ``predict`` returned, as columns by name."""
    if isinstance(found, Mapping):
        columns = {str(key): np.asarray(value) for key, value in found.items()}
    elif hasattr(found, "columns"):
        columns = {str(key): found[key].to_numpy() for key in found.columns}
    else:
        array = np.asarray(found)
        if output is not None and output.type == "json" and array.ndim > 1:
            rows = np.empty(len(array), dtype=object)
            rows[:] = [row.tolist() for row in array]
            array = rows
        return {label: array}
    if output is not None and output.name not in columns:
        if len(columns) == 1:
            return {label: next(iter(columns.values()))}
        raise BadAnswer(
            f"the model returned {', '.join(map(repr, columns))}, and `output` is declared "
            f"{output.name!r}.{near(output.name, columns)}"
        )
    return columns
