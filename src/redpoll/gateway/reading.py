"""Reading a request's body as far as the way needs it: rows, id, unit, groups, what is wrong."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from redpoll.capture.redact import Masks
from redpoll.errors import RedpollError, closest
from redpoll.gateway.call import INVOCATIONS, OIP, TEXT_CHARACTERS_MAX, Call
from redpoll.gateway.lanes import Served
from redpoll.tensors import binary, columns, invocations, oip, rows
from redpoll.tensors.columns import Columns
from redpoll.tensors.datatypes import AnyTensor, datatype_of
from redpoll.tensors.oip import Infer

TRY_LATER_S = 1
_encode = msgspec.json.Encoder().encode


def read(call: Call, served: Served) -> None:
    """Read and check the body. Raises ``RedpollError`` for what the client did wrong."""
    head = call.head
    if head.problem is not None:
        raise head.problem
    if call.wire == OIP:
        read_oip(call, served)
    else:
        _read_rows(call, served)
    if served.unit_header:
        call.unit = head.text(served.unit_header)


def read_oip(call: Call, served: Served) -> None:
    """An inference request: rows, id, and what a declaration wants to be looked at."""
    forms, body, head_bytes = served.forms, call.body, call.head.binary
    if head_bytes < 0:
        known = forms.find(body)
        if known is not None:
            form, found = known
            call.rows, call.wanted = form.rows, form.wanted
            name(call, found[1].decode() if form.has_id else None)
            return
        infer = oip.read(body)
    else:
        infer = binary.read(call.payload, head_bytes)
        call.body = binary.framed(call.payload, head_bytes)  # as the journal keeps it
    if infer.parameters or infer.outputs:
        call.asked = binary.asked(infer)
    call.rows = infer.inputs[0].shape[0]
    name(call, infer.id)
    if served.looks_inside:
        _look_inside(call, served, infer)
    if served.head_decides and head_bytes < 0 and call.asked is None:
        forms.missed(body, infer, call.wanted)


def name(call: Call, request_id: str | None) -> None:
    """Settle the request's id: the body's, else the header's, else the prediction's own."""
    if request_id:
        call.has_id = True
        call.own_id = request_id
    elif call.head.request_id:
        call.own_id = call.head.request_id


def _look_inside(call: Call, served: Served, infer: Infer) -> None:
    """What a declaration wants to be checked, and what is drawn from values."""
    route = served.route.model
    if served.taken_kinds:
        _check_declared(infer, served)
    if served.declared_outputs:
        call.wanted = oip.wanted_outputs(infer)
    if served.also or route.redact:
        tensors = ((t.name, t.shape, t.data) for t in infer.inputs)
        found = columns.of_tensors(tensors, route.tensor)
        if call.head.binary >= 0:
            found = binary.for_json(found)
        _from_columns(call, served, found)


def _check_declared(infer: Infer, served: Served) -> None:
    """Names, datatypes and rows against what the model declares."""
    kinds, matrix = served.taken_kinds, served.route.model.tensor
    rows_first = infer.inputs[0].shape[0]
    seen: set[str] = set()
    for tensor in infer.inputs:
        title, shape = tensor.name, tensor.shape
        if shape[0] != rows_first:
            raise _wrong(
                f"input {title!r} has {shape[0]} rows, but {infer.inputs[0].name!r} has {rows_first}"
            )
        if matrix is not None and title == matrix.name:
            if len(shape) != 2 or shape[1] != len(matrix.columns):
                raise _wrong(
                    f"input {title!r} has the shape {shape}; it must be [n, {len(matrix.columns)}]: "
                    f"{', '.join(matrix.columns)}"
                )
            seen.update(matrix.columns)
            continue
        taken = kinds.get(title)
        if taken is None:
            if title in served.also:
                continue
            hint = closest(title, kinds) or f" It takes {', '.join(kinds)}."
            raise _wrong(f"the model takes no input {title!r}", hint)
        if tensor.kind not in taken:
            declared = served.route.model.inputs[title]
            raise _wrong(
                f"input {title!r} is {tensor.datatype}, but it is declared {declared!r}: send "
                f"{datatype_of(declared)}"
            )
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
            raise _wrong(f"input {title!r} has the shape {shape}; a column has [n] or [n, 1]")
        if tensor.kind == "bytes":
            _check_text(tensor, served.route.model.inputs[title])
        seen.add(title)
    if len(seen) < len(kinds):
        missing = next(title for title in kinds if title not in seen)
        raise _wrong(f"input {missing!r} is missing; the model takes {', '.join(kinds)}")


def _check_text(tensor: AnyTensor, declared: str) -> None:
    """Only binary tensors can hold bytes that are no UTF-8; images and audio may be such."""
    if isinstance(tensor, binary.BinaryTensor) and declared not in ("image", "audio"):
        index = next((i for i, one in enumerate(tensor.data) if isinstance(one, bytes)), None)
        if index is not None:
            raise _wrong(
                f"input {tensor.name!r}, index {index} is no UTF-8, but it is declared {declared!r}"
            )


def _read_rows(call: Call, served: Served) -> None:
    model = served.route.model
    if call.wire == INVOCATIONS:
        kind = call.head.headers.get(b"content-type", b"")
        found = rows.Rows(invocations.read(call.payload, kind, model))
        call.body = _encode({"rows": found.rows})  # as the journal keeps rows
    else:
        found = rows.read(call.body, model.inputs)
    name(call, found.id)
    call.rows = len(found.rows)
    checked = rows.to_columns(found.rows, model, served.also)
    call.columns = checked
    if served.also or model.redact:
        _from_columns(call, served, columns.of_rows(found.rows))


def encode_rows(call: Call, served: Served, worker: bool) -> bytes:
    """Plain rows as the OIP request that the backend gets."""
    tensors = rows.to_tensors(call.columns, served.route.model, nullable=worker)
    return _encode({"id": call.request_id, "inputs": tensors})


def _from_columns(call: Call, served: Served, found: Columns) -> None:
    """Unit, groups and redaction: what wants to see values."""
    redact = served.route.model.redact
    if served.unit_input:
        call.unit = _one_value(found.get(served.unit_input))
        if call.unit is not None and served.unit_input in redact:
            # It must route, and may not be kept: what is kept and drawn by is its hash.
            call.unit = blake2b(call.unit.encode(), digest_size=16).hexdigest()
    if served.group_inputs:
        groups = dict(call.head.groups)
        for group, source in served.group_inputs.items():
            value = _one_value(found.get(source))
            if value is not None and source not in redact:
                groups[group] = value
        call.groups = groups
    if redact:
        call.masks = Masks({title: found[title] for title in redact if title in found})
        call.inputs = columns.encode({k: v for k, v in found.items() if k not in redact})


def overload(model: str) -> RedpollError:
    """RP-108: as many as there may be."""
    return RedpollError(
        "RP-108",
        f"{model} has as many requests as it may (`limits`), so this one was refused at once; "
        "send it again after the seconds in Retry-After.",
        retry_after_s=TRY_LATER_S,
    )


def _one_value(values: list[object] | None) -> str | None:
    """The one value that all rows share, as text; None where there is none, or several."""
    if not values:
        return None
    first = values[0]
    if first is None or first == "" or isinstance(first, list | dict):
        return None
    if any(value != first for value in values):
        return None
    text = first if isinstance(first, str) else _encode(first).decode()
    return text[:TEXT_CHARACTERS_MAX]


def _wrong(why: str, hint: str = "") -> RedpollError:
    return RedpollError("RP-107", f"The request was refused: {why}.{hint}")
