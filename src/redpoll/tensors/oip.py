"""Requests and answers of the Open Inference Protocol (V2), JSON in, checked records out.

The fast way is one typed decode. Only where that fails is the body read a second time, slowly, to
say what is wrong and where, or to accept what is allowed but rare (nested data).
"""

from __future__ import annotations

import math
import re
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw

from redpoll.errors import RedpollError, closest
from redpoll.tensors.datatypes import KINDS, AnyTensor, Tensor
from redpoll.tensors.malformed import reason

ID_CHARACTERS_MAX = 512
DIMENSIONS_MAX = 32
_TOKEN = re.compile(rb"[-+]?\b(?:NaN|Infinity|nan|inf|undefined|None)\b")
_TOKEN_AT = re.compile(r"invalid (?:character|number) \(byte (\d+)\)")
_SHOWN = 40
SHAPE = '{"inputs": [{"name", "shape", "datatype", "data"}, …]}'


class Infer(msgspec.Struct, gc=False):
    """An inference request. ``outputs`` (which outputs are wanted) stays undecoded."""

    inputs: list[AnyTensor]
    id: str | None = None
    parameters: Raw = Raw()
    outputs: Raw = Raw()


_infer = msgspec.json.Decoder(Infer)
_shape_of, _data_of, _name_of = attrgetter("shape"), attrgetter("data"), attrgetter("name")


def read(body: bytes) -> Infer:
    """Read and check a request: datatypes, values, shapes, names.

    Raises ``RedpollError``: RP-101 where it is no inference request, RP-107 where a tensor is wrong.
    """
    try:
        found = _infer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _read_slowly(body)
    _check(found)
    return found


def _check(found: Infer) -> None:
    inputs = found.inputs
    if not inputs:
        raise _malformed("`inputs` is empty; a request has at least one tensor")
    # Columns of as many rows as the first one are the usual case: looked at without a loop of ours.
    count, lengths = len(inputs), [len(inputs[0].data)]
    if (
        list(map(_shape_of, inputs)) != [lengths] * count
        or list(map(len, map(_data_of, inputs))) != lengths * count
    ):
        for one in inputs:
            _check_size(one)
    check_names(found)


def check_names(found: Infer) -> None:
    """See that every tensor has a name of its own, and that the id can be one. RP-101, RP-107."""
    inputs, count, number = found.inputs, len(found.inputs), found.id
    if count != 1 and len(set(map(_name_of, inputs))) != count:
        raise _not_unique([one.name for one in inputs])
    if number is None:
        return
    if not isinstance(number, str):
        raise _malformed(f"`id` must be a string, not {_kind(number)}")
    if len(number) > ID_CHARACTERS_MAX:
        raise _malformed(f"`id` has {len(number)} characters; at most {ID_CHARACTERS_MAX}")


def wanted_outputs(infer: Infer) -> list[str] | None:
    """Names that ``outputs`` asks for; None: all. RP-101 where it is no list of names."""
    raw = bytes(infer.outputs)
    if not raw or raw == b"null":
        return None
    try:
        return [output.name for output in _wanted.decode(raw)] or None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _malformed('`outputs` must be a list such as [{"name": "churn"}]') from None


class _Wanted(msgspec.Struct):
    name: str


_wanted = msgspec.json.Decoder(list[_Wanted])


def document(body: bytes, shape: str = SHAPE) -> Any:
    """A JSON body, decoded. RP-101 says where it breaks; numbers too large for a float are 400.

    ``shape``: what to send, for who sent nothing.
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        place = str(error).partition(" - at ")[2].strip("`")
        raise _wrong(
            f"a number is too large for a float{f' at {place}' if place else ''}; send null for a "
            "missing number, or binary tensors"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        token = _token(body, str(error))
        if token:
            raise _wrong(
                f"the token {token} is not JSON; send null for a missing number, or binary tensors"
            ) from None
        why = reason(body, error)
        raise _malformed(why if body.strip() else f"{why}; send {shape}") from None


def part(raw: bytes, field: str) -> Any:
    """A part of a request that was passed over at first, decoded. RP-101 where it is no JSON.

    What is passed over is not looked at for UTF-8, half surrogates and depth.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(f"`{field}` cannot be read: {reason(raw, error)}") from None


def _token(body: bytes, said: str) -> str:
    """The word for a missing or infinite number at which the decoder stopped, or nothing."""
    place = _TOKEN_AT.search(said)
    if place is None:
        return ""
    at = int(place.group(1))
    found = _TOKEN.search(body, max(0, at - 4), at + 10)
    return found.group().decode() if found is not None else ""


def _read_slowly(body: bytes) -> Infer:
    """What the fast way refused: say why, or accept nested data."""
    found = document(body)
    if not isinstance(found, dict):
        raise _malformed(f"it is {_kind(found)}, not an object with `inputs`")
    inputs = found.get("inputs")
    if "inputs" not in found:
        hint = closest("inputs", [str(key) for key in found])
        raise _malformed(
            f"there is no `inputs`; send {SHAPE}",
            hint and f" There is a key {hint.split(chr(39))[1]!r}.",
        )
    if not isinstance(inputs, list):
        raise _malformed(f"`inputs` must be a list of tensors, not {_kind(inputs)}")
    number = found.get("id")
    if number is not None and not isinstance(number, str):
        raise _malformed(f"`id` must be a string, not {_kind(number)}")
    raw = {
        key: Raw(msgspec.json.encode(found[key]))
        for key in ("parameters", "outputs")
        if key in found
    }
    return Infer([tensor(at, one) for at, one in enumerate(inputs)], number, **raw)


def tensor(at: int, one: Any) -> AnyTensor:
    """Tensor ``at`` of a request, its values in JSON. RP-101 or RP-107 where it is none."""
    if not isinstance(one, dict):
        raise _malformed(f"inputs[{at}] must be an object, not {_kind(one)}")
    name = one.get("name")
    if not isinstance(name, str):
        raise _malformed(f"inputs[{at}] must have a `name` that is a string")
    datatype = one.get("datatype")
    kind = KINDS.get(datatype) if isinstance(datatype, str) else None
    if datatype == "BF16":
        raise _wrong(f"input {_short(name)}: BF16 has no form in JSON; send it as a binary tensor")
    if kind is None:
        hint = closest(datatype.upper(), KINDS) if isinstance(datatype, str) else ""
        raise _wrong(
            f"input {_short(name)}: datatype {_short(datatype)} is not one that redpoll reads"
            f"{'' if hint else '; use FP64, INT64, BOOL or BYTES'}",
            hint,
        )
    shape = one.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n <= 2**40 for n in shape):
        raise _wrong(f"input {_short(name)}: `shape` must be a list of sizes, not {_short(shape)}")
    parameters = one.get("parameters")
    if "data" not in one and isinstance(parameters, dict) and "binary_data_size" in parameters:
        raise RedpollError(
            "RP-120",
            f"The binary tensors could not be read: input {_short(name)} has binary_data_size, but "
            "the request has no header Inference-Header-Content-Length, which says where the JSON "
            "ends.",
        )
    data = one.get("data")
    if not isinstance(data, list):
        raise _wrong(f"input {_short(name)}: `data` must be a list, not {_kind(data)}")
    flat = _flat(name, data, len(shape))
    _check_values(name, kind, flat)
    if kind.kind == "float":
        flat = [value if value is None else float(value) for value in flat]
    raw = Raw(msgspec.json.encode(parameters)) if parameters is not None else Raw()
    return kind(name=name, shape=shape, data=flat, parameters=raw)


def _flat(name: str, data: list[Any], depth: int) -> list[Any]:
    """Row-major and flat; data that is nested like the shape is taken too."""
    while depth > 1 and data and isinstance(data[0], list):
        if not all(isinstance(part, list) for part in data):
            raise _wrong(f"input {_short(name)}: `data` is nested unevenly")
        if len({len(part) for part in data}) > 1:
            raise _wrong(f"input {_short(name)}: `data` has rows of different lengths")
        data = [value for part in data for value in part]
        depth -= 1
    return data


_FIT: dict[str, tuple[tuple[type, ...], str]] = {
    "float": ((float, int, type(None)), "a number or null"),
    "int": ((int,), "a whole number"),
    "bool": ((bool,), "true or false"),
    "bytes": ((str, type(None)), "a string or null"),
}


def _check_values(name: str, kind: type[Tensor], flat: list[Any]) -> None:
    types, want = _FIT[kind.kind]
    for index, value in enumerate(flat):
        if type(value) not in types:
            missing = value is None and " (integers and truth values cannot be missing here)"
            raise _wrong(
                f"input {_short(name)}, index {index}: {_short(value)}, but {kind.datatype} wants "
                f"{want}{missing or ''}"
            )
        if kind.kind == "float" and value is not None and not _finite(value):
            raise _wrong(f"input {_short(name)}, index {index}: too large for a float")
    if kind.kind == "int" and any(not kind.low <= value <= kind.high for value in flat):
        raise _out_of_range(name, flat, kind)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _check_size(tensor: AnyTensor) -> None:
    name, shape = _short(tensor.name), tensor.shape
    if not shape:
        raise _wrong(f"input {name}: `shape` is empty; its first size counts the rows")
    if len(shape) > DIMENSIONS_MAX:
        raise _wrong(f"input {name}: `shape` has {len(shape)} sizes; at most {DIMENSIONS_MAX}")
    size = math.prod(shape)
    if size != len(tensor.data):
        raise _wrong(
            f"input {name}: shape {_short(shape)} wants {size} values, but `data` has "
            f"{len(tensor.data)}"
        )


def _not_unique(names: list[str]) -> RedpollError:
    twice = next(name for at, name in enumerate(names) if name in names[:at])
    return _wrong(f"input {_short(twice)} came twice; every tensor has a name of its own")


def _out_of_range(name: str, data: list[int], kind: type[Tensor]) -> RedpollError:
    index = next(i for i, value in enumerate(data) if not kind.low <= value <= kind.high)
    return _wrong(
        f"input {_short(name)}, index {index}: {_short(data[index])} does not fit {kind.datatype} "
        f"({kind.low} to {kind.high})"
    )


def _malformed(why: str, hint: str = "") -> RedpollError:
    why = f"The body could not be read as an inference request: {why}.{hint}"
    return RedpollError("RP-101", why)


def _wrong(why: str, hint: str = "") -> RedpollError:
    return RedpollError("RP-107", f"The request was refused: {why}.{hint}")


def _short(value: Any) -> str:
    """A value as JSON, cut to be part of a sentence."""
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")
