"""An estimator of scikit-learn from a file: what it is given, and which of its methods answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import pickled
from .answers import BadAnswer, datatype
from .frames import frame_maker, matrix_maker, special_maker
from .model import LoadError, Model, Output
from .tensors import Declared, near

Array = Any
Ask = Callable[[Any], Mapping[str, Any]]

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
# What a method's answer is called where `output` does not say.
_NAMES = {
    "predict": "prediction",
    "predict_proba": "probability",
    "predict_log_proba": "log_probability",
    "decision_function": "decision",
    "score_samples": "score",
    "transform": "feature",
}
_BY_CLASS = ("predict_proba", "predict_log_proba", "decision_function")


def load_sklearn(
    path: str,
    name: str,
    version: Mapping[str, Any],
    declared: Declared,
    output: Output | None,
) -> Model:
    """Load an estimator from a pickle or joblib file; ``name`` is the file's in messages."""
    try:
        estimator = pickled.load_estimator(
            path, name, version["folder"], version.get("files") or ()
        )
    except pickled.Missing as error:
        raise LoadError(str(error)) from None
    return serve(estimator, name, version.get("method"), declared, output)


def serve(
    estimator: Any, name: str, method: str | None, declared: Declared, output: Output | None
) -> Model:
    """Make a model of an estimator. Raises :class:`LoadError` where what is declared cannot be."""
    wanted = method or "predict"
    if not hasattr(estimator, wanted):
        known = [one for one in _NAMES if hasattr(estimator, one)]
        hint = f" It has {', '.join(known)}: set `method`." if known else ""
        raise LoadError(
            f"{name} holds a {type(estimator).__name__}, which has no {wanted}().{hint}"
        )
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
    if columns:
        by_name = f"{name} picks its columns by name" if _picks_by_name(estimator) else ""
        table = frame_maker(columns, declared.inputs, by_name)
    else:
        table = special_maker(_kind_of_input(estimator), name, declared) or matrix_maker(
            declared, count
        )
    ask = _answers(estimator, output, name, method)
    types = output.types if output else {}
    datatypes = _datatypes(estimator, output, method)
    return Model(declared, types, lambda call: ask(table(call)), datatypes)


def _picks_by_name(estimator: Any) -> bool:
    """Whether a step of it takes columns of a DataFrame by their names, or by a function."""
    for entry in getattr(estimator, "transformers", None) or ():
        chosen = entry[2]
        if isinstance(chosen, str) or callable(chosen):
            return True
        if isinstance(chosen, (list, tuple)) and any(isinstance(one, str) for one in chosen):
            return True
    inner = [step[1] for step in getattr(estimator, "steps", None) or ()]
    inner += [getattr(estimator, at, None) for at in ("estimator", "best_estimator_")]
    return any(_picks_by_name(one) for one in inner if one is not None)


def _kind_of_input(estimator: Any) -> str:
    """``text`` or ``dict`` where the first step wants a sequence of those, else "" (a matrix)."""
    first = estimator
    while True:
        steps = getattr(first, "steps", None) or getattr(first, "transformer_list", None)
        inner = steps[0][1] if steps else getattr(first, "best_estimator_", None)
        if inner is None:
            inner = getattr(first, "estimator_", None)
        if inner is None or isinstance(inner, str):
            break
        first = inner
    try:  # scikit-learn 1.6 on, and before
        tags = first.__sklearn_tags__().input_tags
        kinds = (
            [] if tags.two_d_array else [one for one in ("string", "dict") if getattr(tags, one)]
        )
    except AttributeError:
        more: dict[str, Any] = getattr(first, "_more_tags", dict)()
        kinds = [one for one in more.get("X_types", ()) if one in ("string", "dict")]
    return {"string": "text", "dict": "dict"}[kinds[0]] if kinds else ""


def _answers(estimator: Any, output: Output | None, name: str, method: str | None) -> Ask:
    """How outputs are made: the class or number, and the probability where it is wanted."""
    classes: Any = getattr(estimator, "classes_", None)
    has_proba = hasattr(estimator, "predict_proba") and classes is not None
    is_class = output is not None and output.type in ("binary", "category")
    if _several(estimator):
        if is_class or (output is not None and output.score):
            raise LoadError(
                f"{name} holds a {type(estimator).__name__} that answers several labels a row, and "
                '`output` is one class or has a score: declare its type "json", without `score`, '
                "or leave `output` away"
            )
        return _by_method(estimator, method or "predict", output, name)
    if method is not None and not (method == "predict_proba" and is_class and has_proba):
        return _by_method(estimator, method, output, name)
    label = output.name if output else "prediction"
    score = output.score if output else None
    if output is None and has_proba and len(classes) == 2:
        score = "probability"
    if score is None:
        if method is None:
            return lambda data: {label: estimator.predict(data)}
        return lambda data: {label: _likeliest(classes, estimator.predict_proba(data))}
    if not has_proba:
        raise LoadError(
            f"{name} holds a {type(estimator).__name__} without predict_proba(), but `output` "
            f"declares the score {score!r}: leave `score` away, or set method = "
            '"decision_function" where it has one'
        )
    positive = _positive(list(classes), output)
    final = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    one_pass = type(final).__name__ in _ARGMAX and type(final).__module__.startswith("sklearn.")
    one_pass = one_pass or method == "predict_proba"

    def ask(data: Any) -> dict[str, Any]:
        proba = estimator.predict_proba(data)
        found = _likeliest(classes, proba) if one_pass else estimator.predict(data)
        share = proba.max(axis=1) if positive is None else proba[:, positive]
        return {label: found, score: share}

    return ask


def _several(estimator: Any) -> bool:
    """Whether a classifier answers several labels a row."""
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list) and any(isinstance(one, np.ndarray) for one in classes):
        return True
    final = estimator
    while getattr(final, "steps", None) or getattr(final, "best_estimator_", None) is not None:
        final = final.steps[-1][1] if getattr(final, "steps", None) else final.best_estimator_
    binarizer = getattr(final, "_label_binarizer", getattr(final, "label_binarizer_", None))
    kind = getattr(binarizer, "y_type_", "")
    return isinstance(kind, str) and kind.startswith("multilabel")


def _likeliest(classes: Array, proba: Array) -> Array:
    return classes.take(np.argmax(proba, axis=1))


def _by_method(estimator: Any, method: str, output: Output | None, name: str) -> Ask:
    """The answer of a method that was named, under the names that it has or that are declared."""
    if output is not None and output.score:
        if method != "decision_function":
            raise LoadError(
                f"{name}: `output` declares the score {output.score!r}, and {method}() gives none: "
                'leave `score` away, or `method`; "decision_function" gives a score, too'
            )
        return _decision(estimator, output)
    if output is not None and method != "predict" and output.type in ("binary", "category"):
        raise LoadError(
            f"{name}: {method}() gives numbers, and `output` is declared {output.type}: declare "
            'it "float" (one number a row) or "json" (several), or leave `method` away'
        )
    call = getattr(estimator, method)
    label = output.name if output else _NAMES.get(method, method)
    by_class = method in _BY_CLASS
    classes = getattr(estimator, "classes_", None) if by_class else None
    names = getattr(estimator, "get_feature_names_out", None) if method == "transform" else None

    def ask(data: Any) -> Mapping[str, Any]:
        found = call(data)
        if isinstance(found, list) and by_class:
            return _by_label(found, classes, label, output)
        columns = [str(column) for column in getattr(found, "columns", ())]
        array = _dense(found)
        if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
            return {label: array.reshape(-1)}
        if array.ndim != 2:
            return {label: array}
        if output is None:
            if method == "predict":
                return {label: array}
            titles = columns or _titles(label, array.shape[1], classes, names)
            return {title: array[:, at] for at, title in enumerate(titles)}
        if output.type == "json":
            titles = columns or _titles("", array.shape[1], classes, None)
            return {label: _objects(array, titles, bool(columns) or classes is not None)}
        by_probability = by_class and method != "decision_function"
        if output.type == "float" and by_probability and array.shape[1] == 2:
            return {label: array[:, 1]}
        raise BadAnswer(
            f"{method}() gave {array.shape[1]} numbers a row, and `output` is declared "
            f'{output.type}: declare it "json", or leave `output` away for a column each'
        )

    return ask


def _by_label(
    found: list[Any], classes: Any, label: str, output: Output | None
) -> Mapping[str, Any]:
    """Numbers by class for each of several labels: a column each, or one object a row."""
    columns = {}
    for at, (array, known) in enumerate(zip(found, classes)):
        for number, one in enumerate(known):
            columns[f"{at}_{one}"] = np.asarray(array)[:, number]
    if output is None:
        return {f"{label}_{title}": column for title, column in columns.items()}
    if output.type == "json":
        return {label: _objects(np.column_stack([*columns.values()]), [*columns], True)}
    raise BadAnswer(
        f"the model gave {len(columns)} numbers a row, and `output` is declared {output.type}: "
        'declare it "json", or leave `output` away for a column each'
    )


def _dense(found: Any) -> Array:
    if hasattr(found, "toarray"):
        found = found.toarray()
    return np.asarray(found)


def _titles(label: str, count: int, classes: Any, names: Callable[[], Any] | None) -> list[str]:
    """A name for each of ``count`` columns: by class, by the transformer's own, by number."""
    start = f"{label}_" if label else ""
    if classes is not None and len(classes) == count:
        return [f"{start}{one}" for one in classes]
    if names is not None:
        try:
            found = [str(one) for one in names()]
        except Exception:  # a step that does not know its names
            found = []
        if len(found) == count:
            return found
    return [f"{start}{at}" for at in range(count)]


def _objects(array: Array, titles: list[str], named: bool) -> Array:
    rows = np.empty(len(array), dtype=object)
    rows[:] = [dict(zip(titles, row)) if named else row for row in array.tolist()] or []
    return rows


def _decision(estimator: Any, output: Output) -> Ask:
    """The class, and how far it is from the border: positive on the side of the positive class."""
    classes = list(getattr(estimator, "classes_", ()))
    positive = _positive(classes, output)
    label, score = output.name, output.score or ""

    def ask(data: Any) -> Mapping[str, Any]:
        decision = np.asarray(estimator.decision_function(data))
        found = estimator.predict(data)
        if decision.ndim == 2:  # one number a class
            share = decision.max(axis=1) if positive is None else decision[:, positive]
        elif positive is None:
            share = np.abs(decision)
        else:
            share = decision if positive == 1 else -decision
        return {label: found, score: share}

    return ask


def _datatypes(estimator: Any, output: Output | None, method: str | None) -> dict[str, str]:
    """The datatypes of the answers: a classifier gives back the labels that it was fitted on."""
    known: dict[str, str] = dict(output.datatypes) if output else {}
    if _several(estimator):
        return known
    if method not in (None, "predict") and (output is None or output.type == "float"):
        return known
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        return known  # no classifier, or one of several labels at once
    if output is not None and output.type not in ("binary", "category"):
        return known
    label = output.name if output else "prediction"
    try:
        known = {**known, label: datatype(label, classes, output.types[label] if output else None)}
    except BadAnswer:
        return known  # its answers will say what is wrong with them
    has_proba = method is None and hasattr(estimator, "predict_proba")
    if output is None and has_proba and len(classes) == 2:
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
