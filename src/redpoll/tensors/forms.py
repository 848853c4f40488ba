"""The forms of bodies: what was checked once need not be read again to be known as right.

Programs send the same bytes again and again, but for the values: a body's *form* is its bytes with
every value of its tensors (and its ``id``) left open, each for values of the same kind. A body that
fits the form of a checked one has the same names, shapes, datatypes and numbers of values, and only
values that its datatypes allow. So one match in C stands for decoding and checking. A form is narrow:
what does not fit (escapes in a string, say) is not wrong, but has to be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Raw

from redpoll.tensors.datatypes import AnyTensor
from redpoll.tensors.oip import Infer

BODY_BYTES_MAX = 4096  # of a body whose form is kept; matching is for many small requests
VALUES_MAX = 256
FORMS_MAX = 8
_TEXT = rb"[ !#-\[\]-~]"  # what a JSON string may hold and mean itself
_NUMBER = rb"-?(?>0|[1-9][0-9]{0,17}+)(?>\.[0-9]{1,32}+)?+(?>[eE][-+]?[0-9]{1,2}+)?+"
_KINDS = {
    "float": b"(?>" + _NUMBER + b"|null)",
    "bytes": b'(?>"' + _TEXT + b'*+"|null)',
    "bool": b"(?>true|false)",
}
_ID = re.compile(rb'"id"\s*:\s*(".*?")', re.DOTALL)
_OPEN_ID = b'"(' + _TEXT + b'{1,128}+)"'
_VALUE = re.compile(rb'"(?>[^"\\]|\\.)*+"|[^\s,\[\]"]++', re.DOTALL)


class Form(NamedTuple):
    """A form: ``match`` says whether a body has it; group 1 is the body's id where it has one."""

    match: Callable[[bytes], re.Match[bytes] | None]
    rows: int
    wanted: list[str] | None  # the outputs that are asked for; None: all
    has_id: bool = False
    plain: bool = False  # an object from its first byte on, with no `"id"` anywhere


_NONE = Form(re.compile(b"(?!)").fullmatch, 0, None)


class _Body(msgspec.Struct):
    inputs: Raw


class _Tensor(msgspec.Struct):
    data: Raw


_body = msgspec.json.Decoder(_Body).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_tensor = msgspec.json.Decoder(_Tensor).decode


class Forms:
    """The forms that one model's requests had lately, the last that fitted first.

    ``first`` is that form where it has no ``"id"`` and is one object without space around: such a
    body can get an id by its front. Else it is one that nothing fits.

    Learning takes a millisecond, so it is done less and less often where it does not help.
    """

    def __init__(self) -> None:
        self.first = _NONE
        self._forms: list[Form] = []
        self._missed = 0
        self._due = 2

    def find(self, body: bytes) -> tuple[Form, re.Match[bytes]] | None:
        """The form that a body has, where it is known."""
        for at, form in enumerate(self._forms):
            found = form.match(body)
            if found is not None:
                if at:
                    self._put(self._forms.pop(at))
                return form, found
        return None

    def missed(self, body: bytes, infer: Infer, wanted: list[str] | None) -> None:
        """A body without a known form was read and is right: perhaps learn its form."""
        self._missed += 1
        if self._missed < self._due:
            return
        self._missed, self._due = 0, min(2 * self._due, 1 << 16)
        form = form_of(body, infer, wanted)
        if form is not None:
            self._put(form)

    def _put(self, form: Form) -> None:
        self._forms.insert(0, form)
        del self._forms[FORMS_MAX:]
        self.first = form if form.plain else _NONE


def form_of(body: bytes, infer: Infer, wanted: list[str] | None = None) -> Form | None:
    """The form of a body that was read and is right; None where it has none that is worth keeping."""
    if len(body) > BODY_BYTES_MAX or sum(len(t.data) for t in infer.inputs) > VALUES_MAX:
        return None
    pattern = _pattern(body, infer)
    if pattern is None:
        return None
    match = re.compile(pattern).fullmatch
    plain = b'"id"' not in body and body.startswith(b"{") and infer.inputs[0].shape[0] > 0
    return Form(match, infer.inputs[0].shape[0], wanted, infer.id is not None, plain)


def _pattern(body: bytes, infer: Infer) -> bytes | None:
    inputs = bytes(_body(body).inputs)
    before, _, behind = body.partition(inputs)
    if body.count(inputs) != 1:
        return None
    made = [_outside(before, infer.id)]
    at = 0
    for raw, tensor in zip(map(bytes, _list(inputs)), infer.inputs, strict=True):
        begin = inputs.index(raw, at)
        if inputs[at:begin].strip(b" \t\r\n,[") or raw.count(b'"data"') != 1:
            return None
        data = bytes(_tensor(raw).data)
        start = raw.index(data, raw.index(b'"data"'))
        if raw[raw.index(b'"data"') + 6 : start].strip(b" \t\r\n:"):
            return None
        values = _values(data, tensor)
        if values is None:
            return None
        made += [re.escape(inputs[at:begin] + raw[:start]), values]
        made.append(re.escape(raw[start + len(data) :]))
        at = begin + len(raw)
    made += [re.escape(inputs[at:]), _outside(behind, infer.id)]
    pattern = b"".join(made)
    groups = re.compile(pattern).groups
    return pattern if groups == (infer.id is not None) else None


def _outside(text: bytes, number: str | None) -> bytes:
    """What stands before or behind the tensors, the id left open."""
    found = _ID.search(text) if number is not None else None
    if found is None or text.count(b'"id"') != 1 or b"\\" in text:
        return re.escape(text)
    if found.group(1) != msgspec.json.encode(number):
        return re.escape(text)
    return re.escape(text[: found.start(1)]) + _OPEN_ID + re.escape(text[found.end(1) :])


def _values(data: bytes, tensor: AnyTensor) -> bytes | None:
    """A tensor's values, each left open for others of its kind; None where they are not so many."""
    value = _KINDS.get(tensor.kind)
    if value is None:  # whole numbers: of one digit less than the datatype has
        sign = b"-?" if tensor.low < 0 else b""
        value = sign + b"(?>0|[1-9][0-9]{0,%d}+)" % (len(str(tensor.high)) - 2)
    made, at, count = [], 0, 0
    for found in _VALUE.finditer(data):
        made += [re.escape(data[at : found.start()]), value]
        at = found.end()
        count += 1
    if count != len(tensor.data):
        return None
    return b"".join(made) + re.escape(data[at:])
