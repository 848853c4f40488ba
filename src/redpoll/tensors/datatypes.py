"""The datatypes of OIP tensors, each a record that checks its values while they are decoded.

``data`` is row-major and flat. A record per datatype lets the decoder check values in C, in the one
pass that reads them: it costs half a microsecond more than not looking at them at all.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Raw

from redpoll.catalog import Output

Size = Annotated[int, Meta(ge=0, le=2**40)]


class Tensor(msgspec.Struct, gc=False, kw_only=True):
    """Base: a named tensor. ``shape[0]`` counts rows."""

    datatype: ClassVar[str] = ""
    low: ClassVar[int] = 0
    high: ClassVar[int] = 0
    kind: ClassVar[str] = ""  # float | int | bool | bytes

    name: str
    shape: list[Size]
    parameters: Raw = Raw()


class Floats(Tensor, gc=False, kw_only=True):
    """Base of the floats: null is a missing number, which reaches the model as NaN."""

    kind: ClassVar[str] = "float"
    data: list[float | None]


class Fp16(Floats, gc=False, kw_only=True, tag_field="datatype", tag="FP16"):
    """Half precision."""

    datatype: ClassVar[str] = "FP16"


class Fp32(Floats, gc=False, kw_only=True, tag_field="datatype", tag="FP32"):
    """Single precision."""

    datatype: ClassVar[str] = "FP32"


class Fp64(Floats, gc=False, kw_only=True, tag_field="datatype", tag="FP64"):
    """Double precision: what a declared ``float`` is."""

    datatype: ClassVar[str] = "FP64"


class Int8(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="INT8"):
    """8 bits, signed."""

    datatype: ClassVar[str] = "INT8"
    kind: ClassVar[str] = "int"
    low: ClassVar[int] = -(2**7)
    high: ClassVar[int] = 2**7 - 1
    data: list[Annotated[int, Meta(ge=-(2**7), le=2**7 - 1)]]


class Int16(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="INT16"):
    """16 bits, signed."""

    datatype: ClassVar[str] = "INT16"
    kind: ClassVar[str] = "int"
    low: ClassVar[int] = -(2**15)
    high: ClassVar[int] = 2**15 - 1
    data: list[Annotated[int, Meta(ge=-(2**15), le=2**15 - 1)]]


class Int32(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="INT32"):
    """32 bits, signed."""

    datatype: ClassVar[str] = "INT32"
    kind: ClassVar[str] = "int"
    low: ClassVar[int] = -(2**31)
    high: ClassVar[int] = 2**31 - 1
    data: list[Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]]


class Int64(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="INT64"):
    """64 bits, signed, exact: what a declared ``int`` is."""

    datatype: ClassVar[str] = "INT64"
    kind: ClassVar[str] = "int"
    low: ClassVar[int] = -(2**63)
    high: ClassVar[int] = 2**63 - 1
    data: list[Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]]


class Uint8(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="UINT8"):
    """8 bits, unsigned."""

    datatype: ClassVar[str] = "UINT8"
    kind: ClassVar[str] = "int"
    high: ClassVar[int] = 2**8 - 1
    data: list[Annotated[int, Meta(ge=0, le=2**8 - 1)]]


class Uint16(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="UINT16"):
    """16 bits, unsigned."""

    datatype: ClassVar[str] = "UINT16"
    kind: ClassVar[str] = "int"
    high: ClassVar[int] = 2**16 - 1
    data: list[Annotated[int, Meta(ge=0, le=2**16 - 1)]]


class Uint32(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="UINT32"):
    """32 bits, unsigned."""

    datatype: ClassVar[str] = "UINT32"
    kind: ClassVar[str] = "int"
    high: ClassVar[int] = 2**32 - 1
    data: list[Annotated[int, Meta(ge=0, le=2**32 - 1)]]


class Uint64(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="UINT64"):
    """64 bits, unsigned. Its bound is beyond what the decoder checks: it is read the slow way."""

    datatype: ClassVar[str] = "UINT64"
    kind: ClassVar[str] = "int"
    high: ClassVar[int] = 2**64 - 1
    data: list[int]


class Bool(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="BOOL"):
    """Truth values: what a declared ``bool`` is."""

    datatype: ClassVar[str] = "BOOL"
    kind: ClassVar[str] = "bool"
    data: list[bool]


class Bytes(Tensor, gc=False, kw_only=True, tag_field="datatype", tag="BYTES"):
    """Text (UTF-8): what every other declared type is. null is a missing text."""

    datatype: ClassVar[str] = "BYTES"
    kind: ClassVar[str] = "bytes"
    data: list[str | None]


AnyTensor = (
    Fp64 | Int64 | Bytes | Bool | Fp32 | Fp16 | Int8 | Int16 | Int32 | Uint8 | Uint16 | Uint32
)  # what the decoder checks by itself
_ALL = (Fp64, Int64, Bytes, Bool, Fp32, Fp16, Int8, Int16, Int32, Uint8, Uint16, Uint32, Uint64)
KINDS: dict[str, type[AnyTensor]] = {kind.datatype: kind for kind in _ALL}  # type: ignore[misc]

# What a declared input is on the wire; every other type is BYTES.
_WIRE = {"float": "FP64", "int": "INT64", "bool": "BOOL"}
# What is taken for a declared type: the kinds of datatype that lose nothing.
_TAKEN = {"float": ("float", "int"), "int": ("int",), "bool": ("bool",)}


def datatype_of(declared: str) -> str:
    """The datatype of a declared type: ``int`` -> ``INT64``, ``category`` -> ``BYTES``."""
    return _WIRE.get(declared, "BYTES")


def datatypes_of(output: Output) -> dict[str, str]:
    """The datatypes of a declared output and its score, by name.

    ``binary`` is what its ``positive`` class is (``positive = 1``: INT64); without one, BYTES.
    """
    kind = datatype_of(output.type)
    if output.type == "binary" and output.positive is not None:
        positive = type(output.positive)
        kind = {bool: "BOOL", int: "INT64", float: "FP64"}.get(positive, "BYTES")
    score = {output.score: "FP64"} if output.score else {}
    return {output.name: kind, **score}


def taken_for(declared: str) -> tuple[str, ...]:
    """The kinds of datatype (``float``, ``int``, ``bool``, ``bytes``) that a declared type takes."""
    return _TAKEN.get(declared, ("bytes",))
