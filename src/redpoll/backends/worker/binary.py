"""Binary tensors: raw values behind the JSON of a body, to numpy arrays and back.

Each tensor whose parameters have ``binary_data_size`` has its values there, little-endian and
row-major, in the order of the tensors; elements of BYTES have their length in four bytes before
them. The gateway checked all of this; it is checked here again, for whoever asks a worker directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import answers
from .refusal import RAW, BadRequest, near, short

Array = Any

KINDS = {
    "BOOL": "?",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BF16": "<u2",
}
LENGTH_BYTES = 4
BINARY_TYPES = ("image", "audio")  # declared types whose bytes are handed on as bytes


def split(document: Any, rest: memoryview) -> None:
    """Give each tensor of a request the bytes that are its own, under the key :data:`RAW`."""
    tensors = document.get("inputs") if isinstance(document, dict) else None
    at = 0
    for tensor in tensors if isinstance(tensors, list) else ():
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(rest) - at:
            raise BadRequest(
                f"binary_data_size is {short(size)}, and {len(rest) - at} bytes are left", "RP-120"
            )
        tensor[RAW] = rest[at : at + size]
        at += size
    if at != len(rest):
        raise BadRequest(f"{len(rest) - at} bytes are left behind the last tensor", "RP-120")


def array(name: str, datatype: Any, raw: memoryview, size: int, declared: str | None) -> Array:
    """Flat values of one tensor, bit for bit; BF16, which numpy has not, as float32."""
    if datatype == "BYTES":
        return _texts(name, _elements(name, raw, size), declared)
    kind = KINDS.get(datatype) if isinstance(datatype, str) else None
    if kind is None:
        hint = near(str(datatype).upper(), [*KINDS, "BYTES"])
        raise BadRequest(f"input {name!r}: datatype {short(datatype)} is not known.{hint}")
    width = np.dtype(kind).itemsize
    if len(raw) != size * width:
        raise BadRequest(
            f"input {name!r}: {size} values of {datatype} are {size * width} bytes, not {len(raw)}",
            "RP-120",
        )
    values = np.frombuffer(raw, dtype=kind)
    if datatype == "BF16":
        return (values.astype("<u4") << 16).view("<f4")
    if datatype == "BOOL" and values.size and int(values.view(np.uint8).max()) > 1:
        raise BadRequest(f"input {name!r}: a truth value is the byte 0 or 1", "RP-120")
    return values.copy()  # the model may write into what it gets


def _elements(name: str, raw: memoryview, size: int) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    for index in range(size):
        end = at + LENGTH_BYTES
        length = int.from_bytes(raw[at:end], "little")
        at = end + length
        if at > len(raw):
            raise BadRequest(f"input {name!r}: element {index} ends behind the tensor", "RP-120")
        found.append(bytes(raw[end:at]))
    if at != len(raw):
        raise BadRequest(f"input {name!r}: bytes are left behind its elements", "RP-120")
    return found


def _texts(name: str, elements: list[bytes], declared: str | None) -> Array:
    """Text, as JSON would have brought it; bytes where the tensor is declared so or is no text."""
    values = np.empty(len(elements), dtype=object)
    values[:] = elements
    if declared in BINARY_TYPES:
        return values
    try:
        values[:] = [element.decode() for element in elements]
    except UnicodeDecodeError:
        if declared is not None:
            index = next(i for i, element in enumerate(elements) if not _is_text(element))
            raise BadRequest(
                f"input {name!r}, index {index} is no UTF-8, but it is declared {declared}"
            ) from None
    return values


def _is_text(element: bytes) -> bool:
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


def asked(document: Any) -> tuple[bool, dict[str, bool]] | None:
    """Which outputs a request wants raw: all or none, and which ones otherwise. None: none."""
    parameters = document.get("parameters")
    whole = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    named = {}
    for output in document.get("outputs") or ():
        told = output.get("parameters")
        if isinstance(told, dict) and isinstance(told.get("binary_data"), bool):
            named[str(output.get("name"))] = told["binary_data"]
    return (whole, named) if whole or True in named.values() else None


def encode(
    head: dict[str, Any],
    outputs: Mapping[str, Any],
    rows: int,
    types: Mapping[str, str],
    wanted: tuple[bool, dict[str, bool]],
) -> tuple[bytes, int | None]:
    """Encode an answer with the wanted outputs raw: the body and the length of its JSON.

    None stands for a body that is JSON alone. Raises :class:`.answers.BadAnswer`.
    """
    whole, named = wanted
    tensors, parts = [], []
    for name, value in outputs.items():
        made = None
        if named.get(name, whole):
            made = _raw(name, value, rows, types.get(name))
        if made is None:
            tensors.append(answers.tensor(name, value, rows, types.get(name)))
            continue
        tensors.append(made[0])
        parts.append(made[1])
    if not parts:
        return answers.write({**head, "outputs": tensors}), None
    text = answers.write({**head, "outputs": tensors})
    return text + b"".join(parts), len(text)


def _raw(
    name: Any, value: Any, rows: int, declared: str | None
) -> tuple[dict[str, Any], bytes] | None:
    """A tensor with its values apart; None where they have no place in its datatype."""
    array, shape = answers.shaped(name, value, rows)
    flat = answers.declared_as(name, array.reshape(-1), declared)
    datatype = answers.PLAIN.get(flat.dtype.name)
    if datatype is not None:
        kind = KINDS[datatype]
        raw = (flat.view("<u2") if datatype == "BF16" else flat.astype(kind, copy=False)).tobytes()
    else:
        datatype, data = answers.values(name, flat, declared, keep_bytes=True)
        if datatype == "BYTES":
            raw = b"".join(_element(one) for one in data)
        elif datatype == "FP64":
            raw = np.array([np.nan if one is None else one for one in data], "<f8").tobytes()
        else:
            raw = np.array(data, KINDS[datatype]).tobytes()
    parameters = {"binary_data_size": len(raw)}
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}, raw


def _element(value: Any) -> bytes:
    raw = b"" if value is None else value
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "replace")
    return len(raw).to_bytes(LENGTH_BYTES, "little") + raw


def read_document(body: bytes | bytearray, head_bytes: int, decode: Any) -> Any:
    """The JSON of a body, its tensors' bytes handed out. Raises :class:`BadRequest`."""
    if head_bytes > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length is {head_bytes}, but the body has {len(body)} bytes",
            "RP-120",
        )
    document = decode(str(body[:head_bytes], "utf-8"))
    split(document, memoryview(body)[head_bytes:])
    return document
