"""What the journal keeps of a model's bodies: a share of them, and none beyond a size.

The facts themselves are all kept, so evidence and counts are whole. What is left out is counted, and
a Request says with which probability its body is there.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING

from msgspec import structs

from redpoll.capture import CUT, NONE, TEXT
from redpoll.catalog import Model
from redpoll.facts import Request
from redpoll.host.counters import Counters

if TYPE_CHECKING:
    from redpoll.gateway.call import Call
    from redpoll.gateway.replies import Verdict


class Keeping:
    """One model's `capture`, and what it has left out. ``draw``: uniform in [0, 1)."""

    def __init__(
        self, model: Model, counters: Counters, draw: Callable[[], float] = random
    ) -> None:
        self._draw = draw
        self._share = model.capture.share
        self._bytes_max = model.capture.max_body_bytes
        self._cells = {
            (part, reason): counters.cell(
                "redpoll_capture_left_out_total", (model.name, part, reason)
            )
            for part in ("request", "answer")
            for reason in ("share", "size")
        }

    def request(
        self, call: Call, fact: Request, body: bytes, raw_format: int
    ) -> tuple[Request, bytes, int]:
        """What is journalled of a request. Draws, once, whether its bodies are kept."""
        if self._share < 1.0 and self._draw() >= self._share:
            call.kept = False
            self._cells["request", "share"].value += 1
            return structs.replace(fact, inputs=None, capture="none"), b"", NONE
        most = self._bytes_max
        if most is None or (len(body) <= most and fact.inputs is None):
            return fact, body, raw_format
        # Where columns are redacted, what was sent is not to be kept: its other columns are.
        body = body if fact.inputs is None else fact.inputs.encode()
        if len(body) <= most:
            return fact, b"", NONE
        self._cells["request", "size"].value += 1
        return structs.replace(fact, inputs=None, capture="cut"), body[:most], CUT

    def answer(self, call: Call, verdict: Verdict) -> Verdict:
        """What is journalled of an answer. An error's text is kept, cut to the bound."""
        most = self._bytes_max
        size = len(verdict.raw) if verdict.outputs is None else len(verdict.outputs)
        if not size:
            return verdict
        if verdict.status == "ok" and not call.kept:
            self._cells["answer", "share"].value += 1
        elif most is not None and size > most:
            self._cells["answer", "size"].value += 1
            if verdict.raw_format == TEXT and verdict.outputs is None:
                return structs.replace(verdict, raw=verdict.raw[:most])
        else:
            return verdict
        return structs.replace(verdict, raw=b"", raw_format=NONE, outputs=None)


def keeping_of(model: Model, counters: Counters) -> Keeping | None:
    """None where everything is kept: then nothing need be asked on the way of a request."""
    capture = model.capture
    plain = capture.share >= 1.0 and capture.max_body_bytes is None
    return None if plain else Keeping(model, counters)
