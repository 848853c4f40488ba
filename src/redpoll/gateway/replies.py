"""What a backend answered: what the journal keeps of it, and what the client gets."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from redpoll import capture
from redpoll.errors import RedpollError
from redpoll.gateway.call import INVOCATIONS, OIP, Call, binary_line, error_body
from redpoll.gateway.lanes import Lane
from redpoll.gateway.metadata import answered
from redpoll.tensors import binary, columns, invocations, rows
from redpoll.tensors.columns import Columns, OutTensor

JSON = b"content-type: application/json\r\n"
RAW = b"content-type: application/octet-stream\r\n"
HEAD_BYTES = b"inference-header-content-length:"
EXCERPT_BYTES = 4096  # of an answer that could not be read
_encode = msgspec.json.Encoder().encode


class _Quick(msgspec.Struct, gc=False):
    outputs: list[Raw]


class _Coded(msgspec.Struct):
    code: str = ""


UNREADABLE = (ValueError, RecursionError)  # of it are msgspec's errors, and those of UTF-8
# Of an answer that is passed on as it is, that it is one is all that must be known.
skim = msgspec.json.Decoder(_Quick).decode
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
    sent: tuple[bytes, bytes] | None = None  # header lines and body, where not the backend's own


def judge(call: Call, lane: Lane, status: int, body: bytes, lines: bytes = b"") -> Verdict:
    """Whether an answer is one, and what is kept of it."""
    if status != 200 or (call.asked is None and HEAD_BYTES not in lines):
        return _judge(call, lane, status, body)
    try:
        head_bytes = _head_bytes(lines)
        if head_bytes >= 0:
            return _judge_binary(call, body, head_bytes)
        verdict = _judge(call, lane, status, body)
        return verdict if verdict.status != "ok" else _as_asked(call, verdict, body)
    except RedpollError as error:
        return _unreadable(call, error, body)


def _judge_binary(call: Call, body: bytes, head_bytes: int) -> Verdict:
    """The same for an answer with binary tensors."""
    tensors = binary.read_answer(body, head_bytes)
    looked = call.wire != OIP or call.masks is not None or bool(call.served.declared_outputs)
    found = _checked(call, tensors) if looked else None
    sent = None
    if call.asked is None and call.wire == OIP:
        sent = JSON, binary.answer_as_json(body, head_bytes)
    if found is not None:
        found = binary.for_json(found)
        if call.masks is not None:
            kept = columns.encode(call.masks.outputs(found))
            return Verdict("ok", outputs=kept, columns=found, sent=sent)
    raw = binary.framed(body, head_bytes)
    return Verdict("ok", None, raw, capture.OIP_BINARY_ANSWER, columns=found, sent=sent)


def _as_asked(call: Call, verdict: Verdict, body: bytes) -> Verdict:
    """An answer in JSON, with the outputs that are wanted as binary tensors turned into such."""
    if call.asked is None or call.wire != OIP:
        return verdict
    body, head_bytes = binary.answer_as_binary(body, call.asked)
    lines = JSON if head_bytes is None else RAW + binary_line(head_bytes)
    return msgspec.structs.replace(verdict, sent=(lines, body))


def _head_bytes(lines: bytes) -> int:
    """What a backend's header says of where its JSON ends; -1: nothing."""
    _, found, rest = lines.partition(HEAD_BYTES)
    text = rest.partition(b"\r\n")[0].strip()
    if found and not (text.isdigit() and len(text) < 16):
        raise columns.invalid("its Inference-Header-Content-Length is no number")
    return int(text) if found else -1


def _judge(call: Call, lane: Lane, status: int, body: bytes) -> Verdict:
    served = call.served
    if status == 200 and call.wire == OIP and call.masks is None and not served.declared_outputs:
        try:
            skim(body)
            return Verdict("ok", None, body, capture.OIP_ANSWER)
        except UNREADABLE as error:
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
    return _checked(call, columns.read_answer(body))


def _checked(call: Call, tensors: list[OutTensor]) -> Columns:
    served = call.served
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
    if verdict.sent is not None:
        lines, body = verdict.sent
    elif call.wire == INVOCATIONS and verdict.columns is not None:
        lines, body = JSON, invocations.answer(verdict.columns, call.rows)
    elif call.wire != OIP and verdict.columns is not None:
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
        call.pid,
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
    return _as_asked(call, Verdict("ok", None, body, capture.OIP_ANSWER, columns=found), body)


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
