"""Columns of a request as the table that a model wants: a DataFrame, or a matrix."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .model import LoadError, install
from .tensors import BadRequest, Call, Declared, near

Array = Any


def frame_maker(
    columns: list[str], types: Mapping[str, str], needs_pandas: str = ""
) -> Callable[[Call], Any]:
    """Make a DataFrame with these columns; whole numbers that miss some become nullable.

    Without pandas an array in the right order does, unless ``needs_pandas`` says why not: then a
    :class:`LoadError`.
    """
    try:
        import pandas
    except ImportError as error:
        if needs_pandas:
            raise LoadError(
                f"{needs_pandas}, so it wants a DataFrame, and pandas cannot be imported in this "
                f"Python ({error}): {install('pandas')}"
            ) from None
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return lambda call: np.column_stack([column(call, name) for name in columns])
    nullable = {"int": "Int64", "bool": "boolean"}

    def frame(call: Call) -> Any:
        data = {}
        for name in columns:
            array = column(call, name)
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


def column(call: Call, name: str) -> Array:
    """One column of a request, shape ``[n]``. Raises :class:`BadRequest`."""
    array = call.columns.get(name)
    if array is None:
        hint = near(name, call.columns) or ""
        raise BadRequest(f"input {name!r} is missing.{hint}")
    if array.ndim != 1:
        raise BadRequest(f"input {name!r} has shape {list(array.shape)}; a column has [n]")
    return array


def matrix_maker(declared: Declared, count: int | None) -> Callable[[Call], Array]:
    """Make the array ``[n, count]`` that a model wants which was fitted on one."""
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


def special_maker(kind: str, name: str, declared: Declared) -> Callable[[Call], Any] | None:
    """Make what a model wants that takes no matrix: ``text`` a column, ``dict`` an object a row.

    None for any other kind. Raises :class:`LoadError` where one text is wanted and more are declared.
    """
    if kind == "dict":
        return _records
    if kind != "text":
        return None
    if len(declared.inputs) > 1:
        raise LoadError(
            f"{name} begins with a vectorizer, which takes one text a row, but `inputs` declares "
            f"{len(declared.inputs)}: declare that text alone"
        )
    for one, type_ in declared.inputs.items():
        if type_ in ("int", "float", "bool"):
            raise LoadError(
                f"{name} begins with a vectorizer, which takes a text, but `inputs` declares "
                f'{one} as {type_}: declare it "text"'
            )

    def texts(call: Call) -> Array:
        if len(call.columns) != 1:
            raise BadRequest(f"the model takes one text a row, not {len(call.columns)} tensors")
        one = column(call, next(iter(call.columns)))
        if one.dtype.kind not in "OUS":
            raise BadRequest(
                f"input {next(iter(call.columns))!r} holds {one.dtype}; the model takes BYTES [n]"
            )
        return one

    return texts


def _records(call: Call) -> list[dict[str, Any]]:
    """The rows as dicts, without what is missing in them."""
    columns = {name: column(call, name).tolist() for name in call.columns}
    return [
        {name: value for name, value in zip(columns, row) if value is not None and value == value}
        for row in zip(*columns.values())
    ]
