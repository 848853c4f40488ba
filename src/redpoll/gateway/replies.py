"""What a backend answered: what the journal keeps of it, and what the client gets."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from redpoll import capture
from redpoll.errors import RedpollError
from redpoll.gateway.call import OIP, Call, error_body
from redpoll.gateway.lanes import Lane
from redpoll.gateway.metadata import answered
from redpoll.tensors import columns, rows
from redpoll.tensors.columns import Columns

JSON = b"content-type: application/json\r\n"
EXCERPT_BYTES = 4096  # of an answer that could not be read
_encode = msgspec.json.Encoder().encode


class _Quick(msgspec.Struct, gc=False):
    outputs: list[Raw]


class _Coded(msgspec.Struct):
    code: str = ""


_quick = msgspec.json.Decoder(_Quick)
_coded = msgspec.json.Decoder(_Coded)


class Verdict(msgspec.Struct, frozen=True):
    """An answer as the journal has it. ``outputs`` stands instead of ``raw`` where it was masked."""

    status: str
    code: str | None = None
    raw: bytes = b""
    raw_format: int = capture.NONE
    outputs: str | None = None
    error: RedpollError | None = None  # what the client gets instead of the answer
    columns: Columns | None = None  # where the answer had to be read whole


def judge(call: Call, lane: Lane, status: int, body: bytes) -> Verdict:
    """Whether an answer is one, and what is kept of it."""
    served = call.served
    if status == 200 and call.wire == OIP and call.masks is None and not served.declared_outputs:
        try:  # passed on as it is: that it is an answer is all that must be known
            _quick.decode(body)
            return Verdict("ok", None, body, capture.OIP_ANSWER)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _unreadable(call, columns.invalid(str(error)), body)
    if not 200 <= status < 300:
        code = "RP-200"
        if lane.worker and status == 500 and _code(body) == "RP-201":
            return _text(call, "invalid", "RP-201", body)
        return _text(call, "error", code, body)
    try:
        found = _columns(call, body)
    except RedpollError as error:
        return _unreadable(call, error, body)
    if call.masks is None:
        return Verdict("ok", None, body, capture.OIP_ANSWER, columns=found)
    return Verdict("ok", outputs=columns.encode(call.masks.outputs(found)), columns=found)


def _columns(call: Call, body: bytes) -> Columns:
    served = call.served
    tensors = columns.read_answer(body)
    names = {tensor.name for tensor in tensors}
    needed = served.declared_outputs
    if call.wanted is not None:
        needed = needed & set(call.wanted)
    if not needed <= names:
        raise columns.invalid(
            f"it lacks the declared output {min(needed - names)!r} (it has {sorted(names)})"
        )
    return rows.from_tensors(tensors, call.rows, served.route.model.output)


def reply(call: Call, lane: Lane, status: int, lines: bytes, body: bytes, verdict: Verdict) -> None:
    """Fill in the reply: the backend's answer as it is, or as plain rows, or an error."""
    if verdict.error is not None:
        call.refuse(verdict.error)
        call.reply_lines += lane.version_lines
        return
    if lane.worker and status == 500:
        status = 502  # our own worker speaks of a failure of the model, not of the gateway
    call.reply_status = status
    head = lane.model_lines
    if call.wire != OIP and verdict.columns is not None:
        lines = JSON
        body = _encode(
            {
                "prediction_id": call.prediction_id,
                "version": lane.version,
                "rows": rows.to_rows(verdict.columns, call.rows),
            }
        )
    call.reply_body = body
    call.reply_lines = b"%b%bredpoll-prediction-id: %b\r\nx-request-id: %b\r\n" % (
        lines,
        head,
        call.prediction_id.encode(),
        call.encoded_id,
    )


def empty(call: Call, lane: Lane) -> Verdict:
    """The answer to zero rows, without asking anybody: the declared outputs with nothing in them."""
    output = call.served.route.model.output
    document: dict[str, Any] = {"model_name": call.model, "model_version": lane.version}
    if call.has_id:
        document["id"] = call.request_id
    tensors = []
    if output is not None:
        tensors = [
            {"name": name, "shape": [0], "datatype": kind, "data": []}
            for name, kind in answered(output, lane).items()
            if call.wanted is None or name in call.wanted
        ]
    body = _encode(document | {"outputs": tensors})
    found: Columns = {str(tensor["name"]): [] for tensor in tensors}
    return Verdict("ok", None, body, capture.OIP_ANSWER, columns=found)


def _text(call: Call, status: str, code: str, body: bytes) -> Verdict:
    kept = body[: capture.TEXT_BYTES_MAX]
    if call.masks is not None:
        kept = call.masks.text(kept.decode("utf-8", "replace")).encode()
    return Verdict(status, code, kept, capture.TEXT)


def _unreadable(call: Call, error: RedpollError, body: bytes) -> Verdict:
    text = error.message.encode() + b" The answer began: " + body[:EXCERPT_BYTES]
    return msgspec.structs.replace(_text(call, "invalid", "RP-201", text), error=error)


def _code(body: bytes) -> str:
    try:
        return _coded.decode(body).code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def refusal_text(call: Call, error: RedpollError) -> tuple[bytes, int]:
    """What the journal keeps of a refusal: its text, unless it may quote a redacted value."""
    if call.served.route.model.redact:
        return b"", capture.NONE
    return error_body(error), capture.TEXT


def as_json(text: str) -> bytes:
    """A text as JSON."""
    return _encode(text)
