"""Tensors ↔ columns: what the journal keeps, and what plain rows are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal

import msgspec
from msgspec import Raw

from redpoll.catalog import Tensor as Matrix
from redpoll.errors import RedpollError

Columns = dict[str, list[Any]]
Found = Mapping[str, Sequence[Any]]  # columns that are only looked at


class OutTensor(msgspec.Struct, gc=False):
    """A tensor of a backend's answer, as far as it can be trusted."""

    name: str
    shape: list[int]
    data: list[Any]
    datatype: str = ""


class Answer(msgspec.Struct, gc=False):
    """A backend's answer."""

    outputs: list[OutTensor]
    id: Any = None
    model_version: Any = None
    parameters: Raw = Raw()


class _Read(msgspec.Struct, gc=False):
    """A tensor that a request carried, as its columns need it. Its values were checked before."""

    name: str
    shape: list[int]
    data: list[Any]


class _Request(msgspec.Struct, gc=False):
    inputs: list[_Read]
    id: str | None = None


class _One(msgspec.Struct, gc=False):
    """A column of one row: the decoder itself sees to it that shape and data are as they must be."""

    name: str
    shape: tuple[Literal[1]]
    data: tuple[Any]


class _OneRequest(msgspec.Struct, gc=False):
    inputs: list[_One]
    id: str | None = None


class _OneAnswer(msgspec.Struct, gc=False):
    outputs: list[_One]
    parameters: Raw = Raw()


_answer = msgspec.json.Decoder(Answer).decode
_request = msgspec.json.Decoder(_Request).decode
_one_request = msgspec.json.Decoder(_OneRequest).decode
_one_answer = msgspec.json.Decoder(_OneAnswer).decode
_name_of, _shape_of, _data_of = attrgetter("name"), attrgetter("shape"), attrgetter("data")
_UNREAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_answer(body: bytes) -> list[OutTensor]:
    """The outputs of an answer. ``RedpollError`` RP-201 where it is no answer of the protocol."""
    return read_document(body).outputs


def read_document(body: bytes) -> Answer:
    """An answer with flat, counted data. ``RedpollError`` RP-201 as for :func:`read_answer`."""
    try:
        found = _answer(body)
    except _UNREAD as error:
        raise invalid(str(error)) from None
    if not _plain(found.outputs):
        for tensor in found.outputs:
            tensor.data = _flat(tensor)
    return found


def of_one_request(body: bytes) -> tuple[dict[str, Sequence[Any]], str | None]:
    """Columns and id of a request of one row of plain columns. ``ValueError`` where it is none."""
    try:
        one = _one_request(body)
    except _UNREAD as error:
        raise ValueError(str(error)) from None
    row: dict[str, Sequence[Any]] = {tensor.name: tensor.data for tensor in one.inputs}
    if not row or len(row) < len(one.inputs):
        raise ValueError("no inputs, or one that came twice")
    return row, one.id


def of_one_answer(body: bytes) -> tuple[dict[str, Sequence[Any]], Raw]:
    """Columns and parameters of an answer of one row. ``ValueError`` where it is none."""
    try:
        one = _one_answer(body)
    except _UNREAD as error:
        raise ValueError(str(error)) from None
    return {tensor.name: tensor.data for tensor in one.outputs}, one.parameters


def of_request(body: bytes, matrix: Matrix | None) -> tuple[Found, int, str | None]:
    """Columns, rows and id of an inference request whose values were checked when it came.

    Raises ``RedpollError`` (any code) or ``ValueError`` where it is none.
    """
    if _one_row(body):
        try:
            row, number = of_one_request(body)
            return row, 1, number
        except ValueError:
            pass  # another shape among them, or no request at all
    try:
        found = _request(body)
    except _UNREAD as error:
        raise ValueError(str(error)) from None
    tensors = found.inputs
    if not tensors:
        raise ValueError("no inputs")
    columns = _named(tensors, matrix)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise ValueError("a tensor came twice")
    return columns, tensors[0].shape[0], found.id


def of_answer(body: bytes) -> tuple[Found, Raw]:
    """Columns and parameters of an answer. ``RedpollError`` RP-201 as for :func:`read_answer`."""
    if _one_row(body):
        try:
            return of_one_answer(body)
        except ValueError:
            pass
    found = read_document(body)
    return _named(found.outputs, None), found.parameters


def _one_row(body: bytes) -> bool:
    """Whether it may be worth while to read a body as one row of plain columns: most are."""
    return b'"shape":[1]' in body or b'"shape": [1]' in body


def _named(tensors: list[Any], matrix: Matrix | None) -> Columns:
    if _plain(tensors):
        return dict(zip(map(_name_of, tensors), map(_data_of, tensors), strict=True))
    return of_tensors(((t.name, t.shape, _flat(t)) for t in tensors), matrix)


def _plain(tensors: list[Any]) -> bool:
    """Whether all are ``[n]`` with ``n`` values, and the same n. Looked at without a loop of ours."""
    if not tensors:
        return True
    lengths = [len(tensors[0].data)]
    count = len(tensors)
    shapes = list(map(_shape_of, tensors))
    return shapes == [lengths] * count and list(map(len, map(_data_of, tensors))) == lengths * count


def _flat(tensor: OutTensor | _Read) -> list[Any]:
    """Row-major and flat data, of as many values as the shape says, or RP-201."""
    shape, data = tensor.shape, tensor.data
    if not shape or min(shape) < 0:
        raise invalid(f"output {tensor.name!r} has the shape {shape}")
    size = 1
    for length in shape:
        size *= length
    depth = len(shape)
    while depth > 1 and data and isinstance(data[0], list):
        if not all(isinstance(part, list) for part in data):
            raise invalid(f"output {tensor.name!r} is nested unevenly")
        data = [value for part in data for value in part]
        depth -= 1
    if len(data) != size:
        raise invalid(f"output {tensor.name!r} has {len(data)} values for the shape {shape}")
    return data


def invalid(why: str) -> RedpollError:
    """RP-201: the backend's answer cannot be used."""
    return RedpollError(
        "RP-201",
        f"The model's answer could not be used: {why}. Nothing is wrong with the request; see the "
        "backend.",
    )


def column(shape: Sequence[int], data: list[Any]) -> list[Any]:
    """Flat data as one value a row: scalars for ``[n]`` and ``[n, 1]``, else (nested) lists."""
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return data
    return _nest(list(shape), data)


def _nest(shape: list[int], data: list[Any]) -> list[Any]:
    for length in reversed(shape[1:]):
        if length == 0:
            return [[] for _ in range(shape[0])]
        data = [data[at : at + length] for at in range(0, len(data), length)]
    return data


def of_tensors(
    tensors: Iterable[tuple[str, Sequence[int], list[Any]]], matrix: Matrix | None = None
) -> Columns:
    """Columns by name. The declared matrix is taken apart into the columns that it stands for."""
    columns: Columns = {}
    for name, shape, data in tensors:
        if matrix is not None and name == matrix.name and len(shape) == 2:
            width = shape[1]
            if width == len(matrix.columns):
                for at, one in enumerate(matrix.columns):
                    columns[one] = data[at::width]
                continue
        columns[name] = column(shape, data)
    return columns


def of_rows(rows: Sequence[dict[str, Any]]) -> Columns:
    """Columns of plain rows, in order of first sight; what a row lacks is None."""
    columns: Columns = {}
    for row in rows:
        for name in row:
            if name not in columns:
                columns[name] = []
    for name, values in columns.items():
        values.extend(row.get(name) for row in rows)
    return columns


def encode(columns: Columns) -> str:
    """Columns as the JSON that a sealed fact holds: ``{"age": [41, 42], "plan": ["a", null]}``."""
    return msgspec.json.encode(columns).decode()
