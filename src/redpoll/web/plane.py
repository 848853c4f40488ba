"""The data plane behind its connections: every address, and who may ask it."""

from __future__ import annotations

import math
import time
import uuid
from pathlib import Path
from typing import Any

from redpoll.catalog import Limits
from redpoll.errors import CATALOG, RedpollError
from redpoll.gateway.call import DONE, OIP, Call, Head, error_body
from redpoll.gateway.choice import starting
from redpoll.gateway.gateway import Gateway
from redpoll.gateway.outcomes import Filed
from redpoll.gateway.outcomes import read as read_outcome
from redpoll.gateway.table import RouteTable
from redpoll.gateway.tap import Tap
from redpoll.host.counters import render
from redpoll.host.tokens import Grant, Tokens, allows
from redpoll.web import cors, heads, oip, outcomes, paths, tapping
from redpoll.web.http import JSON, Connection
from redpoll.web.pace import Pace

TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
BEARER = b"www-authenticate: Bearer\r\n"
GRANTS_MAX = 4096
HEADER_KEPT_BYTES = 128
OUTCOME_NAMES_MAX = 100  # counted by name, of those that no model declares
_NEED_MODELS = (paths.MODEL, paths.MODEL_READY, paths.OUTCOMES, paths.TAP)


class DataPlane:
    """See :class:`redpoll.web.http.Face`."""

    def __init__(
        self,
        gateway: Gateway,
        table: RouteTable,
        limits: Limits,
        metrics: Path,
        tokens: Tokens | None = None,
        origins: tuple[str, ...] = (),
    ) -> None:
        self.limits = limits
        self.closing = False
        self.tick = gateway.tick
        self._gateway = gateway
        self._table = table
        self._metrics = metrics
        self._tokens = tokens
        self._origins = origins
        self._grants: dict[bytes, Grant] = {}
        self._pace = Pace()
        self._tap = Tap(gateway)
        self._generation = -1
        self._outcome_names: set[tuple[str, str]] = set()

    def read_head(self, head: Head) -> None:
        """Fill in what the headers say, and what serves the address."""
        heads.read(head)
        head.endpoint = paths.resolve(head.method, head.target)
        head.serve = self.serve
        if head.endpoint.kind in (paths.OUTCOMES, paths.PREFLIGHT) and head.problem is None:
            try:
                head.also += cors.answer_lines(head.headers, self._origins)
                head.plain = head.plain and not head.also
            except RedpollError as error:
                head.problem = error
        if head.endpoint.kind == paths.INFER:
            _, _, _, head.model, head.version, head.wire, _ = head.endpoint
            if head.problem is None:
                head.problem = _unreadable(head)
            if self._tokens is None:
                head.serve, head.arrivals = self._gateway.take, self._gateway.arrivals

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        """Serve one request."""
        endpoint: paths.Endpoint = head.endpoint
        kind, scope = endpoint.kind, endpoint.scope
        if self._tokens is not None and scope:
            error = self._forbidden(head, scope)
            if error is not None:
                self.refused(error)
                _reply_error(connection, error, BEARER if error.status == 401 else b"")
                return
        if kind == paths.INFER:
            self._gateway.take(connection, head, body)
            return
        try:
            self._serve_other(connection, head, endpoint, body)
        except RedpollError as error:
            _reply_error(connection, error)

    def left(self, call: Call) -> None:
        """The client of a call is gone."""
        self._gateway.leave(call)

    def refused(self, error: RedpollError) -> None:
        """Count it."""
        reason = CATALOG[error.code].name
        self._gateway.counters.inc("redpoll_refused_total", ("_", reason))

    def _serve_other(
        self, connection: Connection, head: Head, endpoint: paths.Endpoint, body: bytes
    ) -> None:
        models, kind = self._gateway.models, endpoint.kind
        if kind in _NEED_MODELS and (error := starting(models)) is not None:
            raise error
        if kind == paths.LIVE:
            connection.reply(200, JSON, b'{"live":true}')
        elif kind == paths.READY:
            self._reply_ready(connection, oip.not_ready(models))
        elif kind == paths.GATEWAY_READY:
            self._reply_ready(connection, [])
        elif kind == paths.SERVER:
            connection.reply(200, JSON, oip.server())
        elif kind == paths.MODEL:
            served, lane = oip.find(endpoint.model, endpoint.version, models)
            connection.reply(200, JSON, oip.metadata(served, lane))
        elif kind == paths.MODEL_READY:
            status, document = oip.model_ready(*oip.find(endpoint.model, endpoint.version, models))
            connection.reply(503 if self.closing else status, JSON, document)
        elif kind in (paths.OUTCOMES, paths.PREFLIGHT) and head.problem is not None:
            raise head.problem
        elif kind == paths.PREFLIGHT:
            connection.reply(200, b"allow: POST\r\n", b"")
        elif kind == paths.OUTCOMES:
            self._take_outcomes(connection, head, body)
        elif kind == paths.TAP:
            tapping.listen(self._tap, self._gateway, connection, head, body)
        elif kind == paths.METRICS:
            connection.reply(200, TEXT, render(self._metrics, self._gateway.counters))
        else:
            error = endpoint.error or RedpollError("RP-104", "Nothing is served at that address.")
            allow = b"allow: %b\r\n" % endpoint.method.encode() if error.code == "RP-105" else b""
            _reply_error(connection, error, allow)

    def _reply_ready(self, connection: Connection, missing: list[str]) -> None:
        error = self._gateway.well()
        if error is not None:
            why = error.message
        elif self._table.table is None:
            why = "The route table was not read yet."
        elif missing:
            why = f"The live version of {', '.join(missing)} does not answer; see `redpoll status`."
        else:
            connection.reply(200, JSON, b'{"ready":true}')
            return
        connection.reply(503, JSON, oip.encode({"ready": False, "error": why}))

    def _take_outcomes(self, connection: Connection, head: Head, body: bytes) -> None:
        gateway = self._gateway
        error = gateway.well()
        if error is not None:
            raise error
        now_us = time.time_ns() // 1000
        grant = self._grant(head)
        source = grant.name if grant is not None else "http"

        def read(said: Any) -> Filed:
            made = str(uuid.uuid4())
            return read_outcome(said, gateway.models, gateway.row_counts, now_us, made, source)

        filed, errors = outcomes.take(body, head.headers.get(b"content-type", b""), read)
        for model, fact in filed:
            if not gateway.recorder.fact(model, fact):
                raise gateway.recorder.error or RedpollError("RP-300", "The journal is full.")
            title = self._counted_as(model, fact.name)
            gateway.counters.inc("redpoll_outcomes_total", (model, title, "accepted"))
        if errors:
            gateway.counters.inc("redpoll_outcomes_total", ("_", "_", "rejected"), len(errors))
        call = Call(connection, head, b"", time.monotonic_ns())
        call.state, call.own_id = DONE, head.request_id
        call.reply_status, call.reply_lines = 202, JSON
        call.reply_body = outcomes.receipt(len(filed), errors)
        connection.call = call
        gateway.recorder.reply(call)

    def _counted_as(self, model: str, name: str) -> str:
        """An outcome's name in metrics: ``_`` where clients have made up very many."""
        known, key = self._outcome_names, (model, name)
        if key in known:
            return name
        declared = self._gateway.models[model].route.model.outcomes
        if not declared and len(known) >= OUTCOME_NAMES_MAX:
            return "_"
        if not declared:
            known.add(key)
        return name

    def _forbidden(self, head: Head, scope: str) -> RedpollError | None:
        grant = self._grant(head)
        if grant is None:
            return RedpollError(
                "RP-500",
                "This server wants a token, and the request carries none that it knows; send "
                f"`Authorization: Bearer TOKEN`; `redpoll token create --scope {scope} --name NAME` "
                "on the server makes one.",
            )
        if not allows(grant.scopes, scope):
            return RedpollError(
                "RP-501",
                f"The token of {grant.name!r} does not allow this; it wants the scope {scope!r}.",
            )
        if grant.per_second is not None:
            wait_s = self._pace.wait_s(grant.name, grant.per_second, time.monotonic())
            if wait_s:
                return RedpollError(
                    "RP-140",
                    f"The token of {grant.name!r} may ask {grant.per_second:g} times a second, and "
                    "asked more often; wait.",
                    retry_after_s=math.ceil(wait_s),
                )
        return None

    def _grant(self, head: Head) -> Grant | None:
        """Whose token it is; each is looked up once, until the file changes."""
        tokens = self._tokens
        if tokens is None:
            return None
        tokens.refresh()
        if tokens.generation != self._generation:
            self._generation = tokens.generation
            self._grants.clear()
        said = head.headers.get(b"authorization", b"")
        known = self._grants.get(said)
        if known is None:
            kind, _, token = said.partition(b" ")
            if kind.lower() != b"bearer":
                return None
            known = tokens.find(token.strip().decode("latin-1"))
            # What is not known, or oddly long, is not kept: anybody can send a lot of that.
            if known is not None and len(said) <= HEADER_KEPT_BYTES:
                if len(self._grants) >= GRANTS_MAX:
                    self._grants.clear()
                self._grants[said] = known
        return known


def _reply_error(connection: Connection, error: RedpollError, lines: bytes = b"") -> None:
    if error.status in (429, 503):
        lines += b"retry-after: %d\r\n" % (error.retry_after_s or 1)
    connection.reply(error.status, JSON + lines, error_body(error))


def _unreadable(head: Head) -> RedpollError | None:
    """What inference does not take yet, told by headers alone."""
    if head.binary >= 0 and head.endpoint.wire != OIP:
        return RedpollError(
            "RP-111",
            "Plain rows are JSON; send binary tensors to /v2/models/{model}/infer.",
        )
    if b"text/event-stream" in head.headers.get(b"accept", b"").lower():
        return RedpollError(
            "RP-111",
            "Streamed answers (text/event-stream) are not built yet; ask for application/json.",
        )
    return None
