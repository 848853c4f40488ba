"""``Client``: predictions, outcomes and rollouts over HTTP."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from redpoll.client import outcomes as _outcomes
from redpoll.client.errors import ClientError
from redpoll.client.outcomes import Receipt
from redpoll.client.rollouts import RolloutHandle, rollout_of
from redpoll.client.transport import Transport

DATA_URL = "http://127.0.0.1:8080"
CONTROL_URL = "http://127.0.0.1:8081"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer. ``rows`` has one dict of outputs for each row asked, in their order.

    ``decided_by`` is ``model``, ``human``, ``fallback`` or ``pending`` (then ``rows`` is empty).
    """

    id: str
    version: str
    decided_by: str
    rows: tuple[dict[str, Any], ...]
    model: str = ""


class Client:
    """A client of one redpoll server; threads may share it. ``timeout_s`` bounds each wait.

    ``url`` and ``token`` default to ``REDPOLL_URL`` and ``REDPOLL_TOKEN``, ``control_url`` (needed
    for rollouts only) to ``REDPOLL_SERVER``. ``unit_header`` is what the model's ``unit_from``
    names. ``cert`` is a file with the server's certificate, where no authority that this machine
    knows has signed it (``SSL_CERT_FILE`` does for a private authority). Every call may raise :class:`ClientError`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        control_url: str | None = None,
        token: str | None = None,
        timeout_s: float = 10.0,
        unit_header: str = "redpoll-unit",
        cert: str | None = None,
    ) -> None:
        token = token or os.environ.get("REDPOLL_TOKEN") or None
        url = url or os.environ.get("REDPOLL_URL") or DATA_URL
        control_url = control_url or os.environ.get("REDPOLL_SERVER") or CONTROL_URL
        self._data = Transport(url, token=token, timeout_s=timeout_s, cert=cert)
        self._control = Transport(control_url, token=token, timeout_s=timeout_s, cert=cert)
        self._unit_header = unit_header

    def predict(
        self,
        model: str,
        rows: Row | Sequence[Row],
        *,
        version: str | None = None,
        unit: str | None = None,
        subject: str | None = None,
        groups: Mapping[str, str] | None = None,
        request_id: str | None = None,
        deadline_ms: int | None = None,
    ) -> Prediction:
        """Ask a model about one row or several.

        ``unit`` decides the arm while a rollout runs (the same unit, the same arm). ``version``
        asks that version by name: such an answer is never evidence. ``deadline_ms`` counts from
        the request's arrival.

        A value that is missing is None. A float NaN is sent as null too, for JSON has no NaN: the
        model gets NaN back in a float column, None in one of categories or texts. Infinities are
        refused (``ClientError``).
        """
        path = f"/predict/{quote(model, safe='')}"
        if version is not None:
            path += f"/versions/{quote(version, safe='')}"
        headers: dict[str, str | bytes] = {"content-type": "application/json"}
        named = {
            self._unit_header: unit,
            "redpoll-subject": subject,
            "x-request-id": request_id,
            "redpoll-deadline-ms": None if deadline_ms is None else str(deadline_ms),
        }
        for group, value in (groups or {}).items():
            named[f"redpoll-group-{group.replace('_', '-')}"] = value
        headers |= {name: _header(name, v) for name, v in named.items() if v is not None}
        reply = self._data.call("POST", path, _body(rows), headers)
        said = reply.json() or {}
        return Prediction(
            id=said.get("prediction_id") or reply.headers.get("redpoll-prediction-id", ""),
            version=said.get("version") or reply.headers.get("redpoll-version", ""),
            decided_by=reply.headers.get("redpoll-decided-by", "model"),
            rows=tuple(said.get("rows") or ()),
            model=model,
        )

    def outcome(
        self,
        name: str,
        prediction: Prediction | None = None,
        *,
        prediction_id: str | None = None,
        model: str | None = None,
        request_id: str | None = None,
        row: int | None = None,
        value: bool | float | str | None = None,
        happened: datetime | str | None = None,
        retracts: str | None = None,
    ) -> Receipt:
        """Say what happened after a prediction. Its id is made once and kept when sent again.

        The prediction is named by itself, by ``prediction_id``, or by ``model`` and
        ``request_id``. ``happened`` needs an offset; without it, it happened now. Raises
        ``ClientError`` where the server does not take it.
        """
        if prediction is not None:
            prediction_id = prediction.id
        if prediction_id is None and (model is None or request_id is None):
            raise ClientError(
                "RP-101", "an outcome needs a prediction, or `model` and `request_id`"
            )
        said = {
            "name": name,
            "prediction_id": prediction_id,
            "model": model if prediction_id is None else None,
            "request_id": request_id if prediction_id is None else None,
            "row": row,
            "value": value,
            "happened": happened,
            "retracts": retracts,
            "outcome_id": str(uuid.uuid4()),
        }
        receipt = _outcomes.send(self._data, _outcomes.read([said]))
        if receipt.errors:
            first = receipt.errors[0]
            raise ClientError(first.code, first.message, status=400)
        return receipt

    def outcomes(
        self,
        source: str | os.PathLike[str] | Iterable[Row],
        *,
        columns: Mapping[str, str] | None = None,
        fixed: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Send a file of outcomes (NDJSON, CSV, Parquet) or an iterable of mappings.

        Ids are made once and kept on retry; those of a file's lines depend on the file alone, so
        the same file may be sent again after a crash. Lines that the server refused are in the
        receipt. ``columns`` maps fields to a file's own columns; ``fixed`` are fields of each line.
        """
        return _outcomes.send(self._data, _outcomes.read(source, columns, fixed))

    def rollout(
        self, model: str, version: str, *, reason: str, plan: Mapping[str, Any] | None = None
    ) -> RolloutHandle:
        """Start moving a model to a version, by the model's plan or the one given."""
        asked: dict[str, Any] = {"version": version, "reason": reason}
        if plan is not None:
            asked["plan"] = dict(plan)
        path = f"/api/v1/models/{quote(model, safe='')}/rollouts"
        headers = {"content-type": "application/json"}
        reply = self._control.call("POST", path, json.dumps(asked).encode(), headers)
        return RolloutHandle(self._control, rollout_of(reply.json()))

    def close(self) -> None:
        """Close idle connections."""
        self._data.close()
        self._control.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _body(rows: Row | Sequence[Row]) -> bytes:
    one = isinstance(rows, Mapping)
    try:
        if one:
            return json.dumps(_row(rows), allow_nan=False).encode()
        return json.dumps({"rows": [_row(r) for r in rows]}, allow_nan=False).encode()
    except (TypeError, ValueError, AttributeError) as error:
        raise ClientError(
            "RP-101", f"the rows cannot be written as JSON: {error}; send null for a missing number"
        ) from None


def _row(row: Any) -> dict[str, Any]:
    return {str(name): _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    """Plain JSON for numpy scalars and times; NaN, which JSON lacks, is null."""
    if hasattr(value, "item") and not isinstance(value, str | bytes | int | float):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def _header(name: str, value: str) -> bytes:
    if any(c < " " or c == "\x7f" for c in str(value)):
        raise ClientError("RP-101", f"a control character in {name}: {value!r}")
    return str(value).encode("utf-8")
