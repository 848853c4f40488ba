"""Tensors ↔ columns: what the journal keeps, and what plain rows are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from redpoll.catalog import Tensor as Matrix
from redpoll.errors import RedpollError

Columns = dict[str, list[Any]]


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


_answer = msgspec.json.Decoder(Answer)


def read_answer(body: bytes) -> list[OutTensor]:
    """The outputs of an answer. ``RedpollError`` RP-201 where it is no answer of the protocol."""
    try:
        outputs = _answer.decode(body).outputs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(str(error)) from None
    for tensor in outputs:
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
        tensor.data = data
    return outputs


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
