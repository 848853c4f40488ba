"""Plain rows ↔ tensors: what ``POST /predict/{model}`` takes and answers.

A column is sent in the datatype that is declared for it, else in the one that its values have. A
missing ``int`` or ``bool`` has no place in OIP: redpoll's own workers get it as null in a tensor
with ``parameters: {"nullable": true}``, other servers as null in an FP64 tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from redpoll.catalog import Model, Output
from redpoll.errors import RedpollError, closest
from redpoll.tensors import columns as cols
from redpoll.tensors.columns import Columns, OutTensor
from redpoll.tensors.datatypes import datatype_of
from redpoll.tensors.oip import ID_CHARACTERS_MAX, document

INT64_LOW, INT64_HIGH = -(2**63), 2**63 - 1
SHAPE = 'one row {"age": 41} or {"rows": [{"age": 41}, …]}'


class Rows(msgspec.Struct):
    """Plain rows, read. ``id`` is the request's id where the body has one beside ``rows``."""

    rows: list[dict[str, Any]]
    id: str | None = None


def read(body: bytes, declared: Mapping[str, str]) -> Rows:
    """Read a body: RP-101 where it is neither a row nor rows, RP-107 where a number is too large."""
    found = document(body, SHAPE)
    if not isinstance(found, dict):
        raise _malformed(f"send {SHAPE}, not {'a list' if isinstance(found, list) else 'a value'}")
    number = None
    if "rows" in found and "rows" not in declared:
        number = found.get("id")
        extra = sorted(key for key in found if key not in ("rows", "id"))
        if extra:
            raise _malformed(f"beside `rows` there is {extra[0]!r}; send {SHAPE}")
        if number is not None and not (
            isinstance(number, str) and len(number) <= ID_CHARACTERS_MAX
        ):
            raise _malformed(f"`id` must be a string of at most {ID_CHARACTERS_MAX} characters")
        rows = found["rows"]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _malformed("`rows` must be a list of objects")
    else:
        rows = [found]
    if rows and not any(rows):
        raise _malformed(f"there are no inputs; send {SHAPE}")
    return Rows(rows, number)


def to_columns(rows: Sequence[dict[str, Any]], model: Model, also: frozenset[str]) -> Columns:
    """Checked columns in the declared order; without a declaration in order of first sight.

    ``also`` names columns that are no inputs of the model but wanted by the gateway (unit, groups).
    """
    declared = model.inputs
    if not declared:
        return cols.of_rows(rows)
    known = declared.keys() | also
    for index, row in enumerate(rows):
        for name in row:
            if name not in known:
                hint = closest(name, declared) or f" It takes {', '.join(declared)}."
                raise _wrong(f"row {index} has {name!r}, which the model does not take", hint)
    return {name: [row.get(name) for row in rows] for name in declared}


def to_tensors(columns: Columns, model: Model, *, nullable: bool) -> list[dict[str, Any]]:
    """OIP tensors, ready for JSON. ``nullable``: the receiver is one of redpoll's own workers."""
    matrix = model.tensor
    inside: tuple[str, ...] = ()
    tensors = []
    if matrix is not None and not nullable and all(name in columns for name in matrix.columns):
        inside = matrix.columns
        width, count = len(inside), len(columns[inside[0]])
        parts = [_floats(name, columns[name]) for name in inside]
        data = [parts[at][row] for row in range(count) for at in range(width)]
        tensors.append(
            {"name": matrix.name, "shape": [count, width], "datatype": "FP64", "data": data}
        )
    for name, values in columns.items():
        if name not in inside:
            tensors.append(_tensor(name, values, model.inputs.get(name), nullable))
    return tensors


def _tensor(name: str, values: list[Any], declared: str | None, nullable: bool) -> dict[str, Any]:
    datatype = datatype_of(declared) if declared else _datatype_seen(name, values)
    tensor: dict[str, Any] = {"name": name, "shape": [len(values)], "datatype": datatype}
    if datatype == "FP64":
        return tensor | {"data": _floats(name, values)}
    want = {"INT64": int, "BOOL": bool}.get(datatype, str)
    if want is str and declared == "embedding":
        values = [_as_text(value) for value in values]
    for index, value in enumerate(values):
        if value is not None and type(value) is not want:
            raise _unfit(name, index, value, declared or datatype)
        if isinstance(value, int) and not INT64_LOW <= value <= INT64_HIGH:
            raise _wrong(f"{name!r} in row {index} is {value}, which does not fit in 64 bits")
    tensor["data"] = values
    if want is not str and None in values:
        if nullable:
            tensor["parameters"] = {"nullable": True}
        else:
            numbers = [None if value is None else float(value) for value in values]
            tensor |= {"datatype": "FP64", "data": numbers}
    return tensor


def _datatype_seen(name: str, values: list[Any]) -> str:
    """The datatype of a column that nobody declared, by its values."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    if kinds <= {int, float}:
        return "FP64"  # and a column of nothing but null: missing numbers
    if kinds == {str}:
        return "BYTES"
    index = (
        next(i for i, value in enumerate(values) if isinstance(value, dict | list))
        if (kinds & {dict, list})
        else 0
    )
    if kinds & {dict, list}:
        raise _wrong(f"{name!r} in row {index} is nested; a value is a number, a text or null")
    raise _wrong(f"{name!r} mixes {', '.join(sorted(kind.__name__ for kind in kinds))}")


def _floats(name: str, values: list[Any]) -> list[float | None]:
    for index, value in enumerate(values):
        if value is not None and type(value) not in (float, int):
            raise _unfit(name, index, value, "float")
    try:
        numbers = [value if value is None else float(value) for value in values]
    except OverflowError:
        raise _wrong(f"{name!r} has a number that is too large for a float") from None
    if any(value is not None and not math.isfinite(value) for value in numbers):
        raise _wrong(f"{name!r} has a number that is too large for a float")
    return numbers


def _as_text(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, list) else value


def _unfit(name: str, index: int, value: Any, declared: str) -> RedpollError:
    text = msgspec.json.encode(value).decode("utf-8", "replace")[:40]
    why = {
        "int": "send a whole number or null",
        "INT64": "send a whole number or null",
        "bool": "send true, false or null",
        "BOOL": "send true, false or null",
        "float": "send a number or null",
    }.get(declared, "send a string or null")
    return _wrong(f"{name!r} in row {index} is {text}, but it is {declared}: {why}")


def from_tensors(outputs: Sequence[OutTensor], count: int, output: Output | None) -> Columns:
    """Columns of an answer to ``count`` rows. RP-201 where an output has another number of rows."""
    columns: Columns = {}
    for tensor in outputs:
        if tensor.shape[0] != count:
            raise cols.invalid(
                f"output {tensor.name!r} has {tensor.shape[0]} rows for {count} that were sent"
            )
        columns[tensor.name] = cols.column(tensor.shape, tensor.data)
    if output is not None and output.type == "json" and output.name in columns:
        columns[output.name] = [_json(output.name, value) for value in columns[output.name]]
    return columns


def _json(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise cols.invalid(f"output {name!r} is declared json, but holds other text") from None


def to_rows(columns: Columns, count: int) -> list[dict[str, Any]]:
    """One dict of outputs for each row."""
    return [{name: values[at] for name, values in columns.items()} for at in range(count)]


def _malformed(why: str) -> RedpollError:
    return RedpollError("RP-101", f"The body could not be read: {why}.")


def _wrong(why: str, hint: str = "") -> RedpollError:
    return RedpollError("RP-107", f"The request was refused: {why}.{hint}")
