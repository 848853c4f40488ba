"""Bodies of the binary tensor data extension: a JSON head, then the values of its tensors, raw.

``Inference-Header-Content-Length`` counts the bytes of the head. A tensor of the head that has
``parameters.binary_data_size`` has its values behind it, in the order of the tensors, with nothing
between them and nothing left over. What is said here about a request is checked to the byte; what
JSON can carry and what it cannot is said in :mod:`redpoll.tensors.raw`.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from msgspec import Raw

from redpoll.errors import RedpollError, closest
from redpoll.tensors import oip, raw
from redpoll.tensors.columns import OutTensor, invalid
from redpoll.tensors.columns import read_answer as read_json
from redpoll.tensors.datatypes import KINDS, AnyTensor

SIZE_MAX = 2**40
_KINDS = {name: kind.kind for name, kind in KINDS.items()} | {"BF16": "float"}
_FRAME = struct.Struct("<I")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class BinaryTensor:
    """A tensor whose values came raw. ``data`` is decoded when it is first wanted."""

    __slots__ = ("_data", "datatype", "kind", "name", "raw", "shape")

    def __init__(self, name: str, datatype: str, shape: list[int], values: memoryview) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self.kind = _KINDS[datatype]  # float | int | bool | bytes
        self.raw = values
        self._data: list[Any] | None = None

    @property
    def data(self) -> list[Any]:
        """The values, flat; an element of BYTES that is no UTF-8 is ``bytes``."""
        if self._data is None:
            self._data = raw.decode(self.datatype, self.raw, math.prod(self.shape))
        return self._data


class Asked(msgspec.Struct, frozen=True):
    """Which outputs are wanted raw: all (``binary_data_output``), but for those named otherwise."""

    all: bool
    named: dict[str, bool]

    def wants(self, name: str) -> bool:
        """Whether this output is wanted raw."""
        return self.named.get(name, self.all)


def read(body: bytes, head_bytes: int) -> oip.Infer:
    """Read and check a request whose JSON head has ``head_bytes`` bytes.

    Raises ``RedpollError``: RP-120 where a length lies, else as :func:`redpoll.tensors.oip.read`.
    """
    if head_bytes > len(body):
        raise _lies(
            f"Inference-Header-Content-Length is {head_bytes}, but the body has {len(body)} bytes"
        )
    if head_bytes == len(body) and b"binary_data_size" not in body:
        return oip.read(body)
    head = oip.document(body[:head_bytes])
    if not isinstance(head, dict) or not isinstance(head.get("inputs"), list) or not head["inputs"]:
        oip.read(body[:head_bytes])  # says what is wrong with it
        raise _lies("`inputs` has no binary tensor, but bytes follow the JSON")
    rest, at = memoryview(body)[head_bytes:], 0
    tensors: list[Any] = []
    for index, one in enumerate(head["inputs"]):
        size = _size_of(one)
        if size is None:
            tensors.append(oip.tensor(index, one))
            continue
        if size > len(rest) - at:
            raise _lies(
                f"{_title(index, one)} says that it has {size} bytes (binary_data_size), but "
                f"{len(rest) - at} are left of the body"
            )
        tensors.append(_input(index, one, rest[at : at + size]))
        at += size
    if at != len(rest):
        raise _lies(
            f"{len(rest) - at} bytes are left behind the last tensor; the sizes of the inputs "
            f"(binary_data_size) add up to {at}, and {len(rest)} bytes follow the JSON"
        )
    return _whole(head, tensors)


def _whole(head: dict[str, Any], tensors: list[Any]) -> oip.Infer:
    """The request, with what a request of plain JSON is checked for, too."""
    more = {
        key: Raw(_encode(head[key]))
        for key in ("parameters", "outputs")
        if head.get(key) is not None
    }
    # A BinaryTensor has what readers of a tensor look at: name, shape, kind, datatype, data.
    found = oip.Infer(cast("list[AnyTensor]", tensors), head.get("id"), **more)
    oip.check_names(found)
    return found


def _input(index: int, one: dict[str, Any], values: memoryview) -> BinaryTensor:
    name, datatype, shape = one.get("name"), one.get("datatype"), one.get("shape")
    if not isinstance(name, str):
        raise RedpollError("RP-101", f"inputs[{index}] must have a `name` that is a string.")
    if not isinstance(datatype, str) or datatype not in _KINDS:
        said = datatype if isinstance(datatype, str) else _encode(datatype).decode()[:40]
        hint = closest(said.upper(), raw.DATATYPES) or f" It is one of {', '.join(raw.DATATYPES)}."
        raise _wrong(f"input {name!r}: datatype {said[:40]!r} is not one that redpoll reads", hint)
    if not isinstance(shape, list) or not all(
        type(size) is int and 0 <= size <= SIZE_MAX for size in shape
    ):
        raise _wrong(f"input {name!r}: `shape` must be a list of sizes")
    if not shape:
        raise _wrong(f"input {name!r}: `shape` is empty; its first size counts the rows")
    if len(shape) > oip.DIMENSIONS_MAX:
        raise _wrong(
            f"input {name!r}: `shape` has {len(shape)} sizes; at most {oip.DIMENSIONS_MAX}"
        )
    if "data" in one:
        raise _lies(f"input {name!r} has both `data` and `binary_data_size`; send one of them")
    tensor = BinaryTensor(name, datatype, shape, values)
    try:
        raw.check(datatype, values, math.prod(shape))
    except raw.Unfit as error:
        raise _lies(f"input {name!r} of shape {shape}: {error}") from None
    return tensor


def _size_of(one: Any) -> int | None:
    """A tensor's ``binary_data_size``; None: its values are JSON."""
    parameters = one.get("parameters") if isinstance(one, dict) else None
    if not isinstance(parameters, dict) or "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if type(size) is not int or not 0 <= size <= SIZE_MAX:
        raise _lies(f"binary_data_size is {_encode(size).decode()[:40]}, which is no size in bytes")
    return size


def asked(infer: oip.Infer) -> Asked | None:
    """What a request says about raw outputs; None: nothing, so it is answered in JSON."""
    listed: Any = _plain(infer.outputs, "outputs")
    given: Any = _plain(infer.parameters, "parameters")
    named = {}
    for output in listed if isinstance(listed, list) else ():
        told = output.get("parameters") if isinstance(output, dict) else None
        if isinstance(told, dict) and isinstance(told.get("binary_data"), bool):
            named[str(output.get("name"))] = told["binary_data"]
    whole = isinstance(given, dict) and given.get("binary_data_output") is True
    return Asked(whole, named) if whole or any(named.values()) else None


def _plain(given: Raw, field: str) -> Any:
    text = bytes(given)
    return oip.part(text, field) if b"binary_data" in text else None


def request_as_json(infer: oip.Infer, number: str) -> bytes:
    """A request in JSON alone, with the id ``number``, for a server that reads nothing else.

    RP-121 where JSON cannot carry a value: an infinity, bytes that are no UTF-8.
    """
    document: dict[str, Any] = {"id": number, "inputs": []}
    for tensor in infer.inputs:
        data: list[Any] = list(tensor.data)
        index = next((i for i, value in enumerate(data) if not _json_has(value)), None)
        if index is not None:
            what = "bytes that are no UTF-8" if isinstance(data[index], bytes) else "an infinity"
            raise RedpollError(
                "RP-121",
                f"The version that answers reads JSON alone, which cannot carry {what} (input "
                f"{tensor.name!r}, index {index}); send another value, or ask a version that reads "
                "binary tensors.",
            )
        datatype = "FP32" if tensor.datatype == "BF16" else tensor.datatype
        document["inputs"].append(
            {"name": tensor.name, "shape": tensor.shape, "datatype": datatype, "data": data}
        )
    if outputs := _without_binary(infer.outputs):
        document["outputs"] = outputs
    return _encode(document)


def _without_binary(given: Raw) -> Any:
    text = bytes(given)
    listed = oip.part(text, "outputs") if text else None
    for output in listed if isinstance(listed, list) else ():
        if isinstance(output, dict) and isinstance(output.get("parameters"), dict):
            output["parameters"].pop("binary_data", None)
    return listed


def _json_has(value: Any) -> bool:
    return not isinstance(value, bytes) and not (isinstance(value, float) and math.isinf(value))


def _outputs(body: bytes, head_bytes: int) -> Iterator[tuple[dict[str, Any], dict[str, Any], Any]]:
    """The head of an answer, and of each output its description and its raw values (or None)."""
    try:
        head = _decode(body[:head_bytes])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from None
    listed = head.get("outputs") if isinstance(head, dict) else None
    if not isinstance(listed, list) or head_bytes > len(body):
        raise invalid("it is no answer with binary tensors")
    rest, at = memoryview(body)[head_bytes:], 0
    for one in listed:
        try:
            size = _size_of(one)
        except RedpollError as error:
            raise invalid(error.message.rstrip(".")) from None
        if size is None:
            yield head, one, None
            continue
        if size > len(rest) - at:
            raise invalid(f"an output has {size} bytes, and {len(rest) - at} are left")
        yield head, one, rest[at : at + size]
        at += size
    if at != len(rest):
        raise invalid(f"{len(rest) - at} bytes are left behind its last output")


def answer_as_json(body: bytes, head_bytes: int) -> bytes:
    """An answer with binary tensors in JSON alone; a NaN or an infinity becomes null.

    RP-201 where it is no answer, or has bytes that are no UTF-8.
    """
    document: dict[str, Any] = {}
    for head, one, values in _outputs(body, head_bytes):
        document = head
        if values is None:
            continue
        tensor = _output(one, values)
        if any(isinstance(value, bytes) for value in tensor.data):
            raise invalid(
                f"output {tensor.name!r} holds bytes that are no UTF-8, which JSON cannot carry "
                "(ask for it with binary_data)"
            )
        del one["parameters"]["binary_data_size"]
        if not one["parameters"]:
            del one["parameters"]
        one["data"] = tensor.data
    return _encode(document)


def read_answer(body: bytes, head_bytes: int) -> list[OutTensor]:
    """The outputs of an answer, values and all. RP-201 where it is none of the protocol."""
    found = []
    for _, one, values in _outputs(body, head_bytes):
        if values is not None:
            found.append(_output(one, values))
            continue
        found.extend(read_json(_encode({"outputs": [one]})))
    return found


def _output(one: dict[str, Any], values: memoryview) -> OutTensor:
    name, datatype, shape = one.get("name"), one.get("datatype"), one.get("shape")
    if not isinstance(name, str) or not isinstance(datatype, str) or datatype not in _KINDS:
        raise invalid(f"an output has the name {name!r} and the datatype {datatype!r}")
    if not isinstance(shape, list) or not 0 < len(shape) <= oip.DIMENSIONS_MAX:
        raise invalid(f"output {name!r} has the shape {shape}")
    if not all(type(size) is int and 0 <= size <= SIZE_MAX for size in shape):
        raise invalid(f"output {name!r} has the shape {shape}")
    try:
        data = raw.decode(datatype, values, math.prod(shape))
    except raw.Unfit as error:
        raise invalid(f"output {name!r}: {error}") from None
    return OutTensor(name, shape, data, datatype)


def answer_as_binary(body: bytes, wanted: Asked) -> tuple[bytes, int | None]:
    """An answer in JSON with the outputs that are wanted raw as such; the bytes of its head.

    None: nothing became raw, and the body is as it was. What does not fit its datatype (a missing
    whole number) stays JSON, which the protocol allows.
    """
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from None
    outputs = read_json(body)
    parts = []
    for one, tensor in zip(document["outputs"], outputs, strict=True):
        if not wanted.wants(tensor.name):
            continue
        try:
            part = raw.encode(tensor.datatype, tensor.data)
        except raw.Unfit:
            continue
        del one["data"]
        told = one.get("parameters")
        kept = told if isinstance(told, dict) else {}
        one["parameters"] = {**kept, "binary_data_size": len(part)}
        parts.append(part)
    if not parts:
        return body, None
    head = _encode(document)
    return head + b"".join(parts), len(head)


def framed(body: bytes, head_bytes: int) -> bytes:
    """A body as the journal keeps it: four bytes for the length of its head, then as it came."""
    return _FRAME.pack(head_bytes) + body


def unframed(kept: bytes) -> tuple[bytes, int]:
    """The body and the length of its head. ``ValueError`` where it is too short for one."""
    if len(kept) < _FRAME.size:
        raise ValueError("there is no length")
    return kept[_FRAME.size :], _FRAME.unpack_from(kept)[0]


def exact(infer: oip.Infer) -> bool:
    """Whether the columns of a request, as JSON, hold all that its bytes said."""
    return all(
        raw.exact_in_json(tensor.datatype, tensor.raw, tensor.data)
        for tensor in cast("list[Any]", infer.inputs)
        if isinstance(tensor, BinaryTensor)
    )


def for_json(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns as the journal writes them: bytes that are no UTF-8 as ``{"base64": …}``."""
    return {name: [_shown(value) for value in values] for name, values in columns.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return [_shown(one) for one in value] if isinstance(value, list) else value


def _title(index: int, one: dict[str, Any]) -> str:
    name = one.get("name")
    return f"input {name!r}" if isinstance(name, str) else f"inputs[{index}]"


def _lies(why: str) -> RedpollError:
    return RedpollError("RP-120", f"The binary tensors could not be read: {why}.")


def _wrong(why: str, hint: str = "") -> RedpollError:
    return RedpollError("RP-107", f"The request was refused: {why}.{hint}")
