"""CloudEvents over HTTP as KServe's logger sends them: binary, structured, and batches.

KServe tells a request and its answer by two events of one id (``pkg/logger/worker.go``): type, and
in extensions the service, the endpoint (``default`` or ``canary``) and, where it is told to pass
them on, headers of the request as JSON (``metadata``).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from redpoll.errors import RedpollError, closest
from redpoll.gateway.tap import REQUEST, RESPONSE, Event

KINDS = {
    "org.kubeflow.serving.inference.request": REQUEST,
    "org.kubeflow.serving.inference.response": RESPONSE,
}
EVENTS_MAX = 1000
ID_MAX = 512
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_decode = msgspec.json.Decoder().decode


def read(headers: Mapping[bytes, bytes], body: bytes) -> list[Event | RedpollError]:
    """The events of one request to ``/v1/tap``, each or what is wrong with it.

    Raises ``RedpollError`` RP-101 where it holds no events at all, RP-111 for another content.
    """
    content = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if b"ce-type" in headers or b"ce-id" in headers:
        attributes = {
            name[3:].decode("latin-1"): unquote(value.decode("utf-8", "replace"))
            for name, value in headers.items()
            if name.startswith(b"ce-")
        }
        return [_event(attributes, body, headers)]
    if content == "application/cloudevents+json":
        return [_structured(_document(body), headers)]
    if content == "application/cloudevents-batch+json":
        found = _document(body)
        if not isinstance(found, list) or not 0 < len(found) <= EVENTS_MAX:
            raise RedpollError("RP-101", f"A batch is a list of 1 to {EVENTS_MAX} events.")
        return [_structured(one, headers) for one in found]
    raise RedpollError(
        "RP-111",
        f"/v1/tap takes CloudEvents: headers such as ce-id and ce-type beside the body, or "
        f"application/cloudevents+json; this came as {content[:60] or 'nothing'}.",
    )


def _structured(found: Any, headers: Mapping[bytes, bytes]) -> Event | RedpollError:
    if not isinstance(found, dict):
        return RedpollError("RP-101", "An event is a JSON object with id, type, source and data.")
    if isinstance(found.get("data_base64"), str):
        try:
            data = base64.b64decode(found["data_base64"], validate=True)
        except (binascii.Error, ValueError):
            return RedpollError("RP-101", "data_base64 of the event is no base64.")
    else:
        said = found.get("data")
        data = said.encode() if isinstance(said, str) else msgspec.json.encode(said)
    attributes = {name: one for name, one in found.items() if isinstance(one, str)}
    return _checked(attributes, data, headers)


def _checked(
    attributes: Mapping[str, str], data: bytes, headers: Mapping[bytes, bytes]
) -> Event | RedpollError:
    try:
        return _event(attributes, data, headers)
    except RedpollError as error:
        return error


def _event(attributes: Mapping[str, str], data: bytes, headers: Mapping[bytes, bytes]) -> Event:
    said = attributes.get("type", "")
    if said not in KINDS:
        raise RedpollError(
            "RP-101",
            f"The event's type is {said[:100]!r}; taken are {' and '.join(KINDS)}."
            + closest(said, KINDS),
        )
    model, number = attributes.get("inferenceservicename", ""), attributes.get("id", "")
    for name, value in (("id", number), ("inferenceservicename", model)):
        if not value or len(value) > ID_MAX:
            raise RedpollError(
                "RP-101", f"The event wants {name}, a text of 1 to {ID_MAX} characters."
            )
    original = _metadata(attributes.get("metadata", ""))
    traceparent = (
        original.get("traceparent")
        or attributes.get("traceparent")
        or headers.get(b"traceparent", b"").decode("latin-1")
    )
    trace = _TRACEPARENT.fullmatch(traceparent or "")
    return Event(
        kind=KINDS[said],
        id=number,
        model=model,
        endpoint=attributes.get("endpoint", ""),
        time_us=_time_us(attributes.get("time", "")),
        headers=original,
        trace_id=trace.group(1) if trace else None,
        data=data,
    )


def _metadata(text: str) -> dict[str, str]:
    """Headers of the original request: ``{"Redpoll-Unit": ["u-1"]}``; what is no such is left out."""
    try:
        found = _decode(text) if text else {}
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {}
    if not isinstance(found, dict):
        return {}
    first = {k: v[0] if isinstance(v, list) and v else v for k, v in found.items()}
    return {str(k).lower(): v[:ID_MAX] for k, v in first.items() if isinstance(v, str)}


def _time_us(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        return round(moment.timestamp() * 1e6) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _document(body: bytes) -> Any:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RedpollError("RP-101", f"The events are no JSON: {error}.") from None
