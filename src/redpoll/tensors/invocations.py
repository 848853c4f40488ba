"""What MLflow's clients send to ``/invocations``, as plain rows, and the answer that they read.

One of four JSON forms (``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs``), or
CSV with a line of names. Source: "Deploy MLflow Model as a Local Inference Server", MLflow 3.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from redpoll.catalog import Model
from redpoll.errors import RedpollError, closest
from redpoll.tensors.columns import Columns
from redpoll.tensors.oip import document
from redpoll.tensors.rows import to_rows

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV = b"text/csv"
SHAPE = '{"dataframe_records": [{"age": 41}, …]}'
_MISSING = (
    "",
    "nan",
    "null",
    "none",
    "na",
    "n/a",
)  # what pandas reads as missing, in small letters
_TRUTH = {"true": True, "false": False}
_encode = msgspec.json.Encoder().encode


def read(body: bytes, content_type: bytes, model: Model) -> list[dict[str, Any]]:
    """The rows of a body. RP-101 where it is none of the forms, RP-107 where a value is none."""
    if content_type.lower().lstrip().startswith(CSV):
        return _csv(body, model)
    found = document(body, SHAPE)
    if not isinstance(found, dict):
        raise _malformed(f"send an object with one of {', '.join(FORMS)}")
    named = [form for form in FORMS if form in found]
    if len(named) != 1:
        said = f"it has {' and '.join(named)}" if named else "it has none of them"
        key = next((str(key) for key in found), "")
        hint = "" if named else closest(key, FORMS)
        raise _malformed(f"send exactly one of {', '.join(FORMS)}; {said}", hint)
    for key, value in found.items():
        if key == "params" and not value:
            continue
        if key != named[0]:
            raise _malformed(
                f"{key!r} is not passed on to models; send {named[0]} alone", closest(key, FORMS)
            )
    given = found[named[0]]
    if named[0] == "dataframe_split":
        return _split(given)
    if named[0] == "dataframe_records":
        return _records(named[0], given)
    if isinstance(given, dict) and named[0] == "inputs":
        return _columns(given)
    return _instances(named[0], given, model)


def _split(given: Any) -> list[dict[str, Any]]:
    names = given.get("columns") if isinstance(given, dict) else None
    data = given.get("data") if isinstance(given, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _malformed('dataframe_split must be {"columns": ["age", …], "data": [[41, …], …]}')
    if len(set(names)) != len(names):
        raise _malformed("dataframe_split names a column twice")
    if not isinstance(data, list):
        raise _malformed("dataframe_split has no `data` that is a list of rows")
    return [_row("dataframe_split", at, names, values) for at, values in enumerate(data)]


def _row(form: str, at: int, names: Sequence[str], values: Any) -> dict[str, Any]:
    if not isinstance(values, list) or len(values) != len(names):
        count = f"{len(values)} values" if isinstance(values, list) else "no list"
        raise _malformed(f"row {at} of {form} is {count}, and there are {len(names)} columns")
    return dict(zip(names, values, strict=True))


def _records(form: str, given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise _malformed(f"{form} must be a list of objects")
    return given


def _columns(given: dict[str, Any]) -> list[dict[str, Any]]:
    """``inputs`` by column: lists of one length."""
    lengths = {
        name: len(values) if isinstance(values, list) else -1 for name, values in given.items()
    }
    if not lengths or len(set(lengths.values())) != 1 or -1 in lengths.values():
        raise _malformed("`inputs` must have a list for each column, all of one length")
    count = next(iter(lengths.values()))
    return [{name: values[at] for name, values in given.items()} for at in range(count)]


def _instances(form: str, given: Any, model: Model) -> list[dict[str, Any]]:
    """Rows as objects, or as values in the declared order."""
    if not isinstance(given, list):
        raise _malformed(f"{form} must be a list of rows")
    if given and all(isinstance(row, dict) for row in given):
        return given
    names = model.tensor.columns if model.tensor is not None else tuple(model.inputs)
    if not names and given:
        raise _malformed(
            f"{form} has values without names, and {model.name} declares neither `inputs` nor "
            "`tensor` to tell which they are; send dataframe_split or dataframe_records"
        )
    rows = [[row] if len(names) == 1 and not isinstance(row, list) else row for row in given]
    return [_row(form, at, names, values) for at, values in enumerate(rows)]


def _csv(body: bytes, model: Model) -> list[dict[str, Any]]:
    try:
        text = body.decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except UnicodeDecodeError as error:
        raise _malformed(f"the CSV is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise _malformed(f"the CSV could not be read: {error}") from None
    if not lines:
        raise _malformed("the CSV is empty; its first line names the columns")
    names = lines[0]
    if len(set(names)) != len(names):
        raise _malformed("the CSV names a column twice")
    for at, line in enumerate(lines[1:]):
        if len(line) != len(names):
            raise _malformed(f"row {at} of the CSV has {len(line)} values for {len(names)} columns")
    columns = {}
    for index, name in enumerate(names):
        values = [line[index] for line in lines[1:]]
        declared = model.inputs.get(name)
        columns[name] = _declared(name, values, declared) if declared else _seen(values)
    return [{name: columns[name][at] for name in names} for at in range(len(lines) - 1)]


def _declared(name: str, values: list[str], declared: str) -> list[Any]:
    """A column of CSV in its declared type; an empty field is missing."""
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": _float, "bool": _truth}
    convert = kinds.get(declared)
    if convert is None:
        return [value if value else None for value in values]
    made: list[Any] = []
    for at, value in enumerate(values):
        try:
            made.append(None if value.strip().lower() in _MISSING else convert(value))
        except ValueError:
            raise RedpollError(
                "RP-107",
                f"The request was refused: {name!r} in row {at} is {value[:40]!r}, but it is "
                f"declared {declared}.",
            ) from None
    return made


def _seen(values: list[str]) -> list[Any]:
    """A column of CSV that nobody declared, in the narrowest type that all its values have."""
    there = [value for value in values if value.strip().lower() not in _MISSING]
    kinds: tuple[Callable[[str], Any], ...] = (int, _float, _truth)
    for convert in kinds if there else ():
        try:
            made = {value: convert(value) for value in there}
        except ValueError:
            continue
        return [made.get(value) for value in values]
    return [value if value else None for value in values]


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or "_" in text:
        raise ValueError
    return value


def _truth(text: str) -> bool:
    found = _TRUTH.get(text.strip().lower())
    if found is None:
        raise ValueError
    return found


def answer(columns: Columns, count: int) -> bytes:
    """``{"predictions": […]}``: values where the model has one output, else an object a row."""
    if len(columns) == 1:
        return _encode({"predictions": next(iter(columns.values()))})
    return _encode({"predictions": to_rows(columns, count)})


def _malformed(why: str, hint: str = "") -> RedpollError:
    return RedpollError("RP-101", f"The body could not be read: {why}.{hint}")
