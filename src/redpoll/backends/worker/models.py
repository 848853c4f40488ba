"""Loading a model and asking it: a Python callable, or a scikit-learn estimator from a file."""

from __future__ import annotations

import importlib
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .answers import BadAnswer, datatype
from .tensors import BadRequest, Call, Declared, near

Array = Any


class LoadError(Exception):
    """The model cannot be loaded; the message says why and what to do."""


# Of a declared type, in requests and answers; BYTES of every other.
DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL"}


class Output(NamedTuple):
    """The declared output: the class's (or number's) name and type, and the probability's name."""

    name: str
    type: str
    score: str | None = None
    positive: Any = None

    @property
    def types(self) -> dict[str, str]:
        """Type by output name; ``binary`` is ``int`` or ``bool`` where ``positive`` is one."""
        kind = self.type
        if kind == "binary" and isinstance(self.positive, int):
            kind = "bool" if isinstance(self.positive, bool) else "int"
        score = {self.score: "float"} if self.score else {}
        return {self.name: kind, **score}

    @property
    def datatypes(self) -> dict[str, str]:
        """Datatype by output name."""
        known = {name: DATATYPES.get(kind, "BYTES") for name, kind in self.types.items()}
        if self.type == "binary" and isinstance(self.positive, float):
            known[self.name] = "FP64"
        return known


class Model:
    """A loaded model: what it declares, and :meth:`predict`."""

    def __init__(
        self,
        declared: Declared,
        types: dict[str, str],
        ask: Callable[[Call], Mapping[str, Any]],
        datatypes: dict[str, str] | None = None,
    ) -> None:
        self.declared = declared
        self.types = types  # type by output name; {} where nothing is declared
        self.datatypes = datatypes or {}  # of outputs, by name, as far as it is known beforehand
        self._ask = ask

    def predict(self, call: Call) -> Mapping[str, Any]:
        """Return the outputs that the client asked for, by name; raises whatever the model raises."""
        outputs = self._ask(call)
        if not isinstance(outputs, Mapping):
            raise BadAnswer(
                f"the model returned {type(outputs).__name__}; it must return a dict of columns"
            )
        for name in self.types:
            if name not in outputs:
                raise BadAnswer(f"output {name!r} is declared, but the model did not return it")
        if call.outputs is None:
            return outputs
        for name in call.outputs:
            if name not in outputs:
                raise BadRequest(f"the model has no output {name!r}.{near(name, outputs)}")
        return {name: outputs[name] for name in call.outputs}


def load(spec: Mapping[str, Any]) -> Model:
    """Load what a spec (see :mod:`.spec`) describes; raises what the model's own code raises."""
    declared, output = declarations(spec["model"])
    scheme, _, rest = spec["version"]["backend"].partition(":")
    if scheme == "python":
        return _load_python(rest, declared, output)
    if scheme == "sklearn":
        path = spec.get("artifact") or os.path.join(spec["version"]["folder"], rest)  # noqa: PTH118
        return _load_sklearn(path, rest, declared, output)
    raise LoadError(f"a worker runs python: and sklearn: backends, not {scheme}:")


def declarations(model: Mapping[str, Any]) -> tuple[Declared, Output | None]:
    """Read what the catalog's model declares."""
    tensor = model.get("tensor") or {}
    declared = Declared(
        dict(model.get("inputs") or {}), tensor.get("name"), tuple(tensor.get("columns") or ())
    )
    found = model.get("output")
    if not found:
        return declared, None
    return declared, Output(found["name"], found["type"], found.get("score"), found.get("positive"))


def _load_python(target: str, declared: Declared, output: Output | None) -> Model:
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
    if output is None:
        return Model(declared, {}, lambda call: predict(call.columns))
    return Model(declared, output.types, lambda call: predict(call.columns), output.datatypes)


def _load_sklearn(path: str, name: str, declared: Declared, output: Output | None) -> Model:
    estimator = _unpickle(path, name)
    if not hasattr(estimator, "predict"):
        raise LoadError(f"{name} holds a {type(estimator).__name__}, which has no predict()")
    columns = [str(column) for column in getattr(estimator, "feature_names_in_", ())]
    count = getattr(estimator, "n_features_in_", None)
    if columns and declared.inputs:
        for column in columns:
            if column not in declared.inputs:
                raise LoadError(
                    f"{name} was fitted on a column {column!r} that `inputs` does not declare."
                    f"{near(column, declared.inputs)}"
                )
    elif columns:
        declared = declared._replace(inputs={})
    elif declared.inputs and count not in (None, len(declared.inputs)):
        raise LoadError(
            f"{name} was fitted on {count} columns without names, but `inputs` declares "
            f"{len(declared.inputs)}: declare them all, in the order of fitting"
        )
    frame = _frame_maker(columns, declared.inputs) if columns else _matrix_maker(declared, count)
    ask = _answers(estimator, output, name)
    types = output.types if output else {}
    known = _datatypes(estimator, output)
    return Model(declared, types, lambda call: ask(frame(call)), known)


def _unpickle(path: str, name: str) -> Any:
    """Load a pickle or joblib file; one of another scikit-learn is refused, it may answer wrongly."""
    try:
        from sklearn.exceptions import InconsistentVersionWarning
    except ImportError as error:
        raise LoadError(
            f"scikit-learn cannot be imported in this Python ({error}); set `python` of the "
            "version to the environment that the model was made in"
        ) from None
    try:
        from joblib import load as read
    except ImportError:
        read = _plain_pickle
    with warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            return read(path)
        except InconsistentVersionWarning as error:
            raise LoadError(
                f"{name} was written with scikit-learn {error.original_sklearn_version}, this "
                f"Python has {error.current_sklearn_version}: a pickle is good for the version "
                "that wrote it only. Install that one, or fit and save again."
            ) from None


def _plain_pickle(path: str) -> Any:
    with open(path, "rb") as file:  # noqa: PTH123
        return pickle.load(file)  # noqa: S301


def _frame_maker(columns: list[str], types: Mapping[str, str]) -> Callable[[Call], Any]:
    """Make a DataFrame in the order of fitting; whole numbers that miss some become nullable."""
    try:
        import pandas
    except ImportError:
        # Without pandas an array in the right order does, unless columns are picked by name.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return lambda call: np.column_stack([_column(call, name) for name in columns])
    nullable = {"int": "Int64", "bool": "boolean"}

    def frame(call: Call) -> Any:
        data = {}
        for name in columns:
            array = _column(call, name)
            kind = types.get(name)
            if array.dtype.kind == "O":
                data[name] = pandas.Series(array, dtype=object)
            elif kind in nullable and array.dtype.kind == "f":
                exact = call.holes.get(name)
                data[name] = pandas.Series(array if exact is None else exact, dtype=nullable[kind])
            else:
                data[name] = array
        return pandas.DataFrame(data)

    return frame


def _column(call: Call, name: str) -> Array:
    array = call.columns.get(name)
    if array is None:
        hint = near(name, call.columns) or ""
        raise BadRequest(f"input {name!r} is missing.{hint}")
    if array.ndim != 1:
        raise BadRequest(f"input {name!r} has shape {list(array.shape)}; a column has [n]")
    return array


def _matrix_maker(declared: Declared, count: int | None) -> Callable[[Call], Array]:
    """Make the 2-D array that an estimator wants which was fitted on one."""
    names = list(declared.inputs)

    def matrix(call: Call) -> Array:
        if call.matrix is not None:
            return call.matrix
        if names:
            return np.column_stack([call.columns[name] for name in names])
        if len(call.columns) != 1:
            raise BadRequest(
                f"the model takes one matrix of {count} columns, not {len(call.columns)} tensors; "
                "declare its `inputs` to send them one by one"
            )
        (name, array) = next(iter(call.columns.items()))
        if array.ndim == 1:
            array = array.reshape(-1, 1)
        if array.ndim != 2 or count not in (None, array.shape[1]):
            raise BadRequest(
                f"input {name!r} has shape {list(array.shape)}; the model takes [n, {count}]"
            )
        return array

    return matrix


# predict() of these is the class of the largest probability by definition: one pass does for both.
_ARGMAX = (
    "DecisionTreeClassifier",
    "ExtraTreesClassifier",
    "GaussianNB",
    "GradientBoostingClassifier",
    "HistGradientBoostingClassifier",
    "LogisticRegression",
    "MLPClassifier",
    "RandomForestClassifier",
)


def _answers(estimator: Any, output: Output | None, name: str) -> Callable[[Any], dict[str, Any]]:
    """How outputs are made: the class or number, and the probability where it is wanted."""
    classes: Any = getattr(estimator, "classes_", None)
    has_proba = hasattr(estimator, "predict_proba") and classes is not None
    label = output.name if output else "prediction"
    score = output.score if output else None
    if output is None and has_proba and len(classes) == 2:
        score = "probability"
    if score is None:
        return lambda data: {label: estimator.predict(data)}
    if not has_proba:
        raise LoadError(
            f"{name} holds a {type(estimator).__name__} without predict_proba(), but `output` "
            f"declares the score {score!r}: leave `score` away"
        )
    positive = _positive(list(classes), output)
    final = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    one_pass = type(final).__name__ in _ARGMAX and type(final).__module__.startswith("sklearn.")

    def ask(data: Any) -> dict[str, Any]:
        proba = estimator.predict_proba(data)
        found = classes.take(np.argmax(proba, axis=1)) if one_pass else estimator.predict(data)
        share = proba.max(axis=1) if positive is None else proba[:, positive]
        return {label: found, score: share}

    return ask


def _datatypes(estimator: Any, output: Output | None) -> dict[str, str]:
    """The datatypes of the answers: a classifier gives back the labels that it was fitted on."""
    known = output.datatypes if output else {}
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        return known  # no classifier, or one of several labels at once
    label = output.name if output else "prediction"
    try:
        known = {**known, label: datatype(label, classes, output.types[label] if output else None)}
    except BadAnswer:
        return known  # its answers will say what is wrong with them
    if output is None and hasattr(estimator, "predict_proba") and len(classes) == 2:
        known["probability"] = "FP64"
    return known


def _positive(classes: list[Any], output: Output | None) -> int | None:
    """Find the probability's column: of the positive class; None: of whichever class is answered."""
    if output is not None and output.type != "binary":
        return None
    if len(classes) != 2:
        raise LoadError(f"`output` is binary, but the model knows {len(classes)} classes")
    if output is None or output.positive is None:
        return 1
    for at, found in enumerate(classes):
        if found == output.positive or str(found) == str(output.positive):
            return at
    raise LoadError(
        f"`positive = {output.positive!r}` is none of the model's classes: "
        f"{', '.join(repr(str(found)) for found in classes)}"
    )
