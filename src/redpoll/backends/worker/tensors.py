"""Tensors of the Open Inference Protocol, as JSON, to numpy columns.

One tensor is one column, shape ``[n]`` (``[n, 1]`` is taken), unless a matrix is declared. Whatever
does not fit is a :class:`BadRequest` that names the tensor and the index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from . import binary
from .refusal import RAW
from .refusal import BadRequest as BadRequest
from .refusal import near as near
from .refusal import short as short

FLOATS = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
INTS = {
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
}
NONE = type(None)
Array = Any  # np.ndarray: its type parameters differ between the numpys that models have


class Declared(NamedTuple):
    """What the model declares: its inputs' types by name, and the matrix that may carry them."""

    inputs: dict[str, str]
    matrix: str | None = None  # the tensor that stands for several columns
    matrix_columns: tuple[str, ...] = ()


_NONE_MISSING: Mapping[str, list[Any]] = MappingProxyType({})


class Call(NamedTuple):
    """A request, read: columns by name (or, undeclared, whatever tensors came)."""

    rows: int
    columns: dict[str, Array]
    matrix: Array | None = None  # [rows, k], where the declared matrix is all there is
    id: str | None = None
    outputs: list[str] | None = None  # names that the client wants; None: all
    holes: Mapping[str, list[Any]] = (
        _NONE_MISSING  # columns that miss whole numbers, exactly as they came
    )
    raw: tuple[bool, dict[str, bool]] | None = None  # outputs wanted raw: see binary.asked


def _constant(token: str) -> Any:
    raise BadRequest(f"the body has the token {token}; send null for a missing number", "RP-101")


_decoder = json.JSONDecoder(parse_constant=_constant)
_INFINITE = float("inf")


def read(body: bytes | bytearray, declared: Declared, head_bytes: int | None = None) -> Call:
    """Read an inference request; :class:`BadRequest` says what is wrong with it and where.

    ``head_bytes``: the bytes of its JSON, where binary tensors follow.
    """
    try:
        if head_bytes is None:
            document = _decoder.decode(str(body, "utf-8"))
        else:
            document = binary.read_document(body, head_bytes, _decoder.decode)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}", "RP-101") from None
    tensors = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(tensors, list) or not tensors:
        raise BadRequest(
            'the body must be {"inputs": [{"name", "shape", "datatype", "data"}, …]}', "RP-101"
        )
    found: dict[str, Array] = {}
    holes: dict[str, list[Any]] = {}
    for tensor in tensors:
        name, array = _tensor(tensor, declared, holes)
        if name in found:
            raise BadRequest(f"input {name!r} came twice")
        found[name] = array
    names = None
    if document.get("outputs"):
        try:
            names = [str(output["name"]) for output in document["outputs"]]
        except (TypeError, KeyError):
            raise BadRequest('"outputs" must be a list of {"name": …}', "RP-101") from None
    try:
        raw = binary.asked(document) if head_bytes is not None or b"binary_data" in body else None
    except (TypeError, AttributeError):
        raw = None
    number = document.get("id")
    columns, matrix = _arrange(found, declared)
    rows = _rows(columns)
    known = number if isinstance(number, str) else None
    return Call(rows, columns, matrix, known, names, holes, raw)


def with_nulls(call: Call) -> list[str]:
    """Names of the columns that miss a value in some row."""
    return [name for name, array in call.columns.items() if name in call.holes or _has_null(array)]


def _has_null(array: Any) -> bool:
    if not isinstance(array, np.ndarray):
        return False  # the model had the columns, and may have put anything in their place
    if array.dtype.kind == "f":
        return bool(np.isnan(array).any())
    return array.dtype.kind == "O" and any(value is None for value in array.reshape(-1))


def _arrange(found: dict[str, Array], declared: Declared) -> tuple[dict[str, Array], Array | None]:
    """Take the declared matrix apart and pick the declared columns, in their order."""
    matrix = None
    if declared.matrix is not None and declared.matrix in found:
        matrix = found.pop(declared.matrix)
        count = len(declared.matrix_columns)
        if matrix.ndim != 2 or matrix.shape[1] != count:
            raise BadRequest(
                f"input {declared.matrix!r} has shape {list(matrix.shape)}; it must be "
                f"[n, {count}]: {', '.join(declared.matrix_columns)}"
            )
        for at, name in enumerate(declared.matrix_columns):
            column = matrix[:, at]
            kind = declared.inputs.get(name)
            found[name] = _typed(name, kind, column, True) if kind else column
    if not declared.inputs:
        return found, matrix
    for name in declared.inputs:
        if name not in found:
            hint = near(name, found) or f" The model takes {', '.join(declared.inputs)}."
            raise BadRequest(f"input {name!r} is missing.{hint}")
    whole = matrix is not None and len(declared.inputs) == matrix.shape[1]
    return {name: found[name] for name in declared.inputs}, matrix if whole else None


def _rows(columns: dict[str, Array]) -> int:
    rows = -1
    first = ""
    for name, array in columns.items():
        if rows < 0:
            rows, first = len(array), name
        elif len(array) != rows:
            raise BadRequest(f"input {name!r} has {len(array)} rows, but {first!r} has {rows}")
    return rows


def _tensor(tensor: Any, declared: Declared, holes: dict[str, list[Any]]) -> tuple[str, Array]:
    """Check one tensor: its name, and its array in the shape that it claims."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise BadRequest('every input must be {"name", "shape", "datatype", "data"}', "RP-101")
    name = tensor["name"]
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not shape or not all(map(_is_size, shape)):
        raise BadRequest(f"input {name!r}: shape must be a list of sizes, not {short(shape)}")
    size = 1
    for part in shape:
        size *= part
    if RAW in tensor:
        kind = declared.inputs.get(name)
        array = binary.array(name, tensor.get("datatype"), tensor[RAW], size, kind)
        return name, _placed(name, shape, array, declared)
    data = _flat(name, tensor.get("data"), len(shape))
    if len(data) != size:
        raise BadRequest(f"input {name!r}: shape {shape} wants {size} values, data has {len(data)}")
    parameters = tensor.get("parameters")
    if isinstance(parameters, dict) and parameters.get("nullable") is True and None in data:
        holes[name] = data
        data = _filled(tensor.get("datatype"), data)
    array = _array(name, tensor.get("datatype"), data)
    array = _placed(name, shape, array, declared)
    if name in holes and array.dtype.kind in "iub":
        array = array.astype(np.float64)
        array[np.reshape([value is None for value in holes[name]], array.shape)] = np.nan
    return name, array


def _placed(name: str, shape: list[int], array: Array, declared: Declared) -> Array:
    """Flat values as the column that is declared, or in the shape that they came with."""
    flat = len(shape) == 1 or (shape[1:] == [1] and name != declared.matrix)
    if name in declared.inputs:
        if not flat:
            raise BadRequest(f"input {name!r}: shape {shape}; a column has [n] or [n, 1]")
        return _typed(name, declared.inputs[name], array, False)
    return array if flat else array.reshape(shape)


def _filled(datatype: Any, data: list[Any]) -> list[Any]:
    """Whole numbers and truth values that are missing, filled in until they are checked."""
    if datatype == "BOOL":
        return [False if value is None else value for value in data]
    return [0 if value is None else value for value in data] if datatype in INTS else data


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _flat(name: str, data: Any, depth: int) -> list[Any]:
    """List the values in row-major order; data that is nested like the shape is taken too."""
    if not isinstance(data, list):
        raise BadRequest(f"input {name!r}: data must be a list")
    flat: list[Any] = data
    while depth > 1 and flat and isinstance(flat[0], list):
        if not all(isinstance(part, list) for part in flat):
            raise BadRequest(f"input {name!r}: data is nested unevenly")
        flat = [value for part in flat for value in part]
        depth -= 1
    return flat


def _array(name: str, datatype: Any, data: list[Any]) -> Array:
    """Flat values to an array of the datatype; nothing is silently converted."""
    kinds = set(map(type, data))
    if not isinstance(datatype, str):
        raise BadRequest(f"input {name!r}: datatype must be a string, not {short(datatype)}")
    if datatype in FLOATS:
        if not kinds <= {float, int, NONE}:
            _refuse(name, datatype, data, (float, int, NONE), "a number or null")
        if NONE in kinds:
            data = [float("nan") if value is None else value for value in data]
        if _INFINITE in data or -_INFINITE in data:  # JSON has no infinity: it was written 1e999
            at = next(i for i, value in enumerate(data) if value in (_INFINITE, -_INFINITE))
            raise BadRequest(f"input {name!r}, index {at}: too large for a float; send null")
        array = _convert(name, datatype, data, np.float64)
        return array if datatype == "FP64" else _narrow(name, datatype, array)
    if datatype in INTS or datatype == "BOOL":
        want = bool if datatype == "BOOL" else int
        if not kinds <= {want}:
            name_it = "true or false" if want is bool else "a whole number"
            _refuse(name, datatype, data, (want,), name_it)
        return _convert(name, datatype, data, INTS.get(datatype, np.bool_))
    if datatype == "BYTES":
        if not kinds <= {str, NONE}:
            _refuse(name, datatype, data, (str, NONE), "a string or null")
        array = np.empty(len(data), dtype=object)
        array[:] = data
        return array
    known = [*FLOATS, *INTS, "BOOL", "BYTES"]
    hint = near(datatype.upper(), known) or " Use FP64, INT64, BOOL or BYTES."
    raise BadRequest(f"input {name!r}: datatype {short(datatype)} is not known.{hint}")


def _convert(name: str, datatype: str, data: list[Any], kind: Any) -> Array:
    try:
        return np.array(data, dtype=kind)
    except (OverflowError, ValueError):
        low, high = -(10**308), 10**308
        if datatype in INTS:
            low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
        at = next((i for i, value in enumerate(data) if not low <= value <= high), 0)
        raise BadRequest(
            f"input {name!r}, index {at}: {short(data[at])} does not fit {datatype}"
        ) from None


def _narrow(name: str, datatype: str, array: Array) -> Array:
    with np.errstate(over="ignore"):
        narrow = array.astype(FLOATS[datatype])
    if np.isinf(narrow).any():
        at = int(np.flatnonzero(np.isinf(narrow))[0])
        value = short(float(array[at]))
        raise BadRequest(f"input {name!r}, index {at}: {value} does not fit {datatype}")
    return narrow


def _refuse(name: str, datatype: str, data: list[Any], kinds: tuple[Any, ...], want: str) -> None:
    at = next(i for i, value in enumerate(data) if type(value) not in kinds)
    why = " (integers and booleans cannot be missing)" if data[at] is None else ""
    raise BadRequest(
        f"input {name!r}, index {at}: {short(data[at])}, but {datatype} wants {want}{why}"
    )


def _typed(name: str, declared: str, array: Array, floats: bool) -> Array:
    """Check a column and give it the type that is declared for it.

    ``floats``: whole numbers and truth values may come as floats (a matrix has one datatype).
    """
    kind = array.dtype.kind
    if declared == "float" and kind in "fiu":
        return array.astype(np.float64, copy=False)
    if declared == "int" and (kind in "iu" or (kind == "f" and floats)):
        return _whole(name, array)
    if declared == "bool" and (kind == "b" or (kind == "f" and floats)):
        return _truth(name, array)
    if declared not in ("float", "int", "bool") and kind == "O":
        return array
    want = {"float": "FP64", "int": "INT64", "bool": "BOOL"}.get(declared, "BYTES")
    got = {"O": "BYTES", "b": "BOOL", "f": "FP", "i": "INT", "u": "UINT"}[kind]
    size = "" if kind in "Ob" else str(array.dtype.itemsize * 8)
    raise BadRequest(f"input {name!r} is declared {declared}: send {want}, not {got}{size}")


def _whole(name: str, array: Array) -> Array:
    """Whole numbers as int64; with missing ones among them a float column with NaN."""
    if array.dtype.kind == "u" and len(array) and int(array.max()) > 2**63 - 1:
        at = int(array.argmax())
        raise BadRequest(f"input {name!r}, index {at}: {int(array[at])} does not fit INT64")
    if array.dtype.kind != "f":
        return array.astype(np.int64, copy=False)
    missing = np.isnan(array)
    odd = ~missing & ((array != np.floor(array)) | (np.abs(array) > 2.0**53))
    if odd.any():
        at = int(np.flatnonzero(odd)[0])
        raise BadRequest(
            f"input {name!r}, index {at}: {short(float(array[at]))} is no whole number, "
            "and the column is declared int"
        )
    return array.astype(np.float64) if missing.any() else array.astype(np.int64)


def _truth(name: str, array: Array) -> Array:
    if array.dtype.kind == "b":
        return array
    missing = np.isnan(array)
    odd = ~missing & (array != 0.0) & (array != 1.0)
    if odd.any():
        at = int(np.flatnonzero(odd)[0])
        raise BadRequest(f"input {name!r}, index {at}: {short(float(array[at]))} is no truth value")
    return array.astype(np.float64) if missing.any() else array.astype(np.bool_)
