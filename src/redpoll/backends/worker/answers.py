"""What a model returned, as tensors of the Open Inference Protocol in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = Any
_INFINITE = float("inf")
# The datatype of a numpy type, for those that have one of their own.
PLAIN = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",  # not numpy's own: some frameworks bring it
}
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class BadAnswer(Exception):
    """The model returned what cannot be sent: 500, RP-201."""


def encode(
    head: dict[str, Any],
    outputs: Mapping[str, Any],
    rows: int,
    types: Mapping[str, str],
) -> bytes:
    """Encode an answer. ``types``: type by name, for the outputs that have one.

    ``float`` and ``json`` as declared; ``int`` or ``bool`` for a class that has such labels. A NaN
    or infinity becomes null. Raises :class:`BadAnswer` where an output has not ``rows`` rows or
    holds what no tensor can.
    """
    tensors = [tensor(name, value, rows, types.get(name)) for name, value in outputs.items()]
    return write({**head, "outputs": tensors})


def write(document: dict[str, Any]) -> bytes:
    """Write an answer; values of its tensors that JSON has no number for become null."""
    try:
        text = _encoder.encode(document)
    except ValueError:  # a NaN or an infinity; to look for them beforehand would cost every answer
        for one in document["outputs"]:
            if one["datatype"] in ("FP16", "FP32", "FP64") and "data" in one:
                one["data"] = [_finite(value) for value in one["data"]]
        text = _encoder.encode(document)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: only an escape can carry it
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def empty(head: dict[str, Any], datatypes: Mapping[str, str]) -> bytes:
    """Encode the answer to no rows: the outputs that are known, with nothing in them."""
    tensors = [
        {"name": name, "shape": [0], "datatype": kind, "data": []}
        for name, kind in datatypes.items()
    ]
    return json.dumps({**head, "outputs": tensors}).encode()


def tensor(name: Any, value: Any, rows: int, declared: str | None) -> dict[str, Any]:
    """Write one output, its values in a list. Raises :class:`BadAnswer`."""
    array, shape = shaped(name, value, rows)
    kind, data = values(name, declared_as(name, array.reshape(-1), declared), declared)
    return {"name": name, "shape": shape, "datatype": kind, "data": data}


def shaped(name: Any, value: Any, rows: int) -> tuple[Array, list[int]]:
    """Return an output as an array, and the shape that it is sent with (``[n]`` for ``[n, 1]``)."""
    if not isinstance(name, str):
        raise BadAnswer(f"the model named an output {name!r}; names are strings")
    try:
        array = np.asarray(value)
    except Exception as error:
        raise BadAnswer(f"output {name!r} is no array: {error}") from None
    if array.ndim == 0 or len(array) != rows:
        raise BadAnswer(
            f"output {name!r} has shape {list(array.shape)}; the request had {rows} rows"
        )
    shape = list(array.shape)
    return array, shape[:1] if shape[1:] == [1] else shape


def datatype(name: str, array: Array, declared: str | None) -> str:
    """The datatype that such values are sent in. Raises :class:`BadAnswer` where in none."""
    return values(name, declared_as(name, array.reshape(-1), declared), declared)[0]


def declared_as(name: str, flat: Array, declared: str | None) -> Array:
    """Give values the type that is declared for them, where that loses nothing."""
    kind = flat.dtype.kind
    if declared == "float":
        return _floats(name, flat)
    if declared == "int" and (kind in "bi" or (kind == "f" and _all_whole(flat)) or _small(flat)):
        return flat.astype(np.int64)
    if declared == "bool" and kind in "iuf" and bool(((flat == 0) | (flat == 1)).all()):
        return flat.astype(np.bool_)
    return flat


def _all_whole(flat: Array) -> bool:
    return bool(((flat == np.floor(flat)) & (np.abs(flat) <= 2.0**53)).all())


def _small(flat: Array) -> bool:
    """Whether these are unsigned numbers that INT64 holds, too."""
    return flat.dtype.kind == "u" and (not len(flat) or int(flat.max()) < 2**63)


def _floats(name: str, flat: Array) -> Array:
    try:
        return flat.astype(np.float64)
    except (TypeError, ValueError):
        raise BadAnswer(f"output {name!r} is declared float, but holds {flat.dtype}") from None


def values(
    name: str, flat: Array, declared: str | None, keep_bytes: bool = False
) -> tuple[str, list[Any]]:
    """Return the datatype of flat values, and they as JSON takes them. Raises :class:`BadAnswer`.

    ``keep_bytes``: elements of BYTES that are ``bytes`` stay so, rather than become text.
    """
    kind = flat.dtype.kind
    plain = PLAIN.get(flat.dtype.name)
    if plain == "BF16":
        return "FP32", flat.astype(np.float32).tolist()
    if plain is not None:
        return plain, flat.tolist()
    if kind == "f":
        return "FP64", flat.astype(np.float64).tolist()
    if kind == "U":
        return "BYTES", flat.tolist()
    if kind == "S" and keep_bytes:
        return "BYTES", flat.tolist()
    if kind == "S":
        return "BYTES", [value.decode("utf-8", "replace") for value in flat.tolist()]
    if kind in "mM":
        return "BYTES", [None if value == "NaT" else value for value in flat.astype(str).tolist()]
    if kind == "O":
        return _objects(name, flat.tolist(), declared, keep_bytes)
    raise BadAnswer(f"output {name!r} holds {flat.dtype}, which no tensor can carry")


def _objects(
    name: str, given: list[Any], declared: str | None, keep_bytes: bool
) -> tuple[str, list[Any]]:
    """Look at an object array's elements to find the datatype; None and NaN are null."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in given]
    plain = [None if _missing(value) else value for value in plain]
    if declared == "json":
        try:
            return "BYTES", [
                value if value is None or isinstance(value, str) else json.dumps(value)
                for value in plain
            ]
        except (TypeError, ValueError) as error:
            raise BadAnswer(f"output {name!r} is declared json, but: {error}") from None
    kinds = {type(value) for value in plain} - {type(None)}
    if kinds <= {str, bytes} and keep_bytes:
        return "BYTES", plain
    if kinds <= {str, bytes}:
        return "BYTES", [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for value in plain
        ]
    if kinds == {bool} and None not in plain:
        return "BOOL", plain
    if kinds == {int} and None not in plain and all(-(2**63) <= v < 2**63 for v in plain):
        return "INT64", plain
    if kinds <= {int, float}:
        return "FP64", [None if value is None else float(value) for value in plain]
    if kinds == {bool}:
        raise BadAnswer(f"output {name!r} misses a truth value, and BOOL has no null")
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise BadAnswer(f"output {name!r} mixes {names}; return one type, or declare it json")


def _missing(value: Any) -> bool:
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _finite(value: float | None) -> float | None:
    return value if value is not None and -_INFINITE < value < _INFINITE else None
