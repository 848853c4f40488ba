"""What an ONNX model returned, as columns: class names and probabilities, or its own tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .answers import BadAnswer
from .model import LoadError, Output

Array = Any
MAPS = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")  # of ZipMap
FLOATS = {"tensor(float)": "FP32", "tensor(double)": "FP64"}
LABELS = {"tensor(int64)": "INT64", "tensor(string)": "BYTES"}


class Answer(NamedTuple):
    """``needs``: the names of outputs that are asked for; ``make`` turns them into columns."""

    needs: set[str]
    make: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    datatypes: dict[str, str]


def answer_maker(outputs: Any, classes: list[Any], name: str, declared: Output | None) -> Answer:
    """How outputs become columns. Raises :class:`LoadError` where what is declared cannot be.

    ``classes``: as the file lists them, if it does.
    """
    if declared is None:
        return _as_they_are(outputs, classes)
    if declared.type in ("binary", "category"):
        return _class(outputs, classes, name, declared)
    if declared.score:
        raise LoadError(
            f"{name}: only a `binary` or `category` output has a `score`; leave it away"
        )
    chosen = next((one for one in outputs if one.name == declared.name), None)
    if chosen is None:
        chosen = next((one for one in outputs if _is_number(one)), outputs[0])
    label = declared.name

    def make(found: Mapping[str, Any]) -> Mapping[str, Any]:
        value = found[chosen.name]
        if isinstance(value, list):
            return {label: _objects([_plain(one) for one in value])}
        array = np.asarray(value)
        if declared.type == "json" and array.ndim > 1 and array.shape[1:] != (1,):
            return {label: _objects(array.tolist())}
        if array.ndim > 1 and array.shape[1:] != (1,):
            raise BadAnswer(
                f"the model gave {list(array.shape)} numbers, and `output` is declared "
                f'{declared.type}: declare it "json", or leave `output` away for the tensor'
            )
        return {label: array.reshape(-1)}

    return Answer({chosen.name}, make, declared.datatypes)


def _is_number(one: Any) -> bool:
    return one.type in FLOATS or one.type in MAPS


def _as_they_are(outputs: Any, classes: list[Any]) -> Answer:
    """Every output under its own name; probabilities of classes that are known, a column each."""
    has_label = any(one.type in LABELS for one in outputs)

    def make(found: Mapping[str, Any]) -> Mapping[str, Any]:
        columns: dict[str, Any] = {}
        for name, value in found.items():
            if isinstance(value, list) and value and isinstance(value[0], Mapping):
                for key in value[0]:
                    columns[f"{name}_{key}"] = np.array([row[key] for row in value])
                continue
            array = np.asarray(value)
            if has_label and array.ndim == 2 and array.shape[1] == len(classes) > 1:
                for at, key in enumerate(classes):
                    columns[f"{name}_{key}"] = array[:, at]
            else:
                columns[name] = array
        return columns

    known = {one.name: LABELS[one.type] for one in outputs if one.type in LABELS}
    return Answer({one.name for one in outputs}, make, known)


def _class(outputs: Any, classes: list[Any], name: str, declared: Output) -> Answer:
    """The class under ``name``, and its probability under ``score``."""
    label = next((one for one in outputs if one.type in LABELS), None)
    if label is None:
        raise LoadError(
            f"{name} has no output that is a class (INT64 or texts), and `output` is declared "
            f'{declared.type}: declare it "float" (one number a row) or "json" (several)'
        )
    datatypes = {**declared.datatypes}
    if label.type == "tensor(string)":
        datatypes[declared.name] = "BYTES"
    elif declared.name not in datatypes or datatypes[declared.name] == "BYTES":
        datatypes[declared.name] = "INT64"
    score = declared.score
    if score is None:
        return Answer(
            {label.name}, lambda found: {declared.name: _flat(found[label.name])}, datatypes
        )
    shares = next((one for one in outputs if _is_number(one)), None)
    if shares is None:
        raise LoadError(
            f"{name} has no output of probabilities, but `output` declares the score "
            f"{score!r}: leave `score` away"
        )
    pick = _picker(shares, classes, name, declared)

    def make(found: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = _flat(found[label.name])
        return {declared.name: answer, score: pick(found[shares.name], answer)}

    return Answer({label.name, shares.name}, make, datatypes)


def _picker(
    shares: Any, classes: list[Any], name: str, declared: Output
) -> Callable[[Any, Array], Array]:
    """The probability that is wanted out of those of all classes."""
    if declared.type == "category":
        return lambda value, answer: _largest(value)
    if classes:
        at = _index(classes, declared, name)
    if shares.type in MAPS:
        return lambda value, answer: _of_maps(value, declared)
    if classes:
        return lambda value, answer: _two(value)[:, at]
    if declared.positive not in (None, 0, 1):
        raise LoadError(
            f"{name} does not say which of its probabilities is that of {declared.positive!r}: "
            "export it with class names (skl2onnx: zipmap), or leave `score` away"
        )
    number = 1 if declared.positive is None else int(declared.positive)

    def by_number(value: Any, answer: Array) -> Array:
        array = _two(value)
        odd = (array.argmax(axis=1) != answer) & (array[:, 0] != array[:, 1])
        if odd.any():
            raise BadAnswer(
                "the class that the model answers is not the number of its largest probability, "
                "and its file does not name the classes: `score` cannot be told"
            )
        return array[:, number]

    return by_number


def _index(classes: list[Any], declared: Output, name: str) -> int:
    if len(classes) != 2:
        raise LoadError(f"`output` is binary, but {name} knows {len(classes)} classes")
    if declared.positive is None:
        return 1
    for at, one in enumerate(classes):
        if one == declared.positive or str(one) == str(declared.positive):
            return at
    raise LoadError(
        f"`positive = {declared.positive!r}` is none of the model's classes: "
        f"{', '.join(repr(str(one)) for one in classes)}"
    )


def _of_maps(rows: Any, declared: Output) -> Array:
    keys = list(rows[0]) if rows else []
    if len(keys) != 2:
        raise BadAnswer(f"`output` is binary, but the model knows {len(keys)} classes")
    wanted = keys[1] if declared.positive is None else declared.positive
    for key in keys:
        if key == wanted or str(key) == str(wanted):
            return np.array([row[key] for row in rows], dtype=np.float64)
    raise BadAnswer(
        f"`positive = {wanted!r}` is none of the model's classes: {', '.join(map(repr, keys))}"
    )


def _largest(value: Any) -> Array:
    if isinstance(value, list):
        return np.array([max(row.values()) for row in value], dtype=np.float64)
    array = np.asarray(value)
    return array.max(axis=1) if array.ndim == 2 else array


def _two(value: Any) -> Array:
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[1] != 2:
        raise BadAnswer(
            f"the model gave probabilities of shape {list(array.shape)}; of two classes it is [n, 2]"
        )
    return array


def _flat(value: Any) -> Array:
    return np.asarray(value).reshape(-1)


def _plain(one: Any) -> Any:
    return {str(key): value for key, value in one.items()} if isinstance(one, Mapping) else one


def _objects(rows: list[Any]) -> Array:
    array = np.empty(len(rows), dtype=object)
    for at, row in enumerate(rows):
        array[at] = row
    return array
