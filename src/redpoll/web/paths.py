"""Addresses of the data plane, and what serves each."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from redpoll.errors import RedpollError, closest
from redpoll.gateway.call import INVOCATIONS, OIP, ROWS

# What serves an address.
INFER, SERVER, LIVE, READY, GATEWAY_READY, MODEL, MODEL_READY, OUTCOMES, METRICS, NOWHERE = range(
    10
)
PREFLIGHT = 10  # a browser asks whether a page may send outcomes
TAP = 11  # events of models that redpoll does not carry

_FIXED = {
    "/v2": (SERVER, "GET", ""),
    "/v2/health/live": (LIVE, "GET", ""),
    "/v2/health/ready": (READY, "GET", ""),
    "/readyz": (GATEWAY_READY, "GET", ""),
    "/ping": (READY, "GET", ""),  # of MLflow's scoring server
    "/v1/outcomes": (OUTCOMES, "POST", "outcomes"),
    "/v1/tap": (TAP, "POST", "predict"),
    "/metrics": (METRICS, "GET", "metrics"),
}
_SHOWN = (
    *_FIXED,
    "/v2/models/{model}/infer",
    "/predict/{model}",
    "/invocations/{model}",
)
_ROWS = {"predict": ROWS, "invocations": INVOCATIONS}
_LATER = {
    "/v1/predictions": "reading predictions (/v1/predictions)",
    "/v2/repository": "the model repository extension; `redpoll apply` adds models",
}


class Endpoint(NamedTuple):
    """What serves an address. ``scope`` is what a token must allow; "" needs none."""

    kind: int
    method: str = "GET"
    scope: str = ""
    model: str = ""
    version: str | None = None
    wire: int = OIP
    error: RedpollError | None = None


def resolve(method: str, path: str) -> Endpoint:
    """The endpoint of a request; NOWHERE carries the error."""
    found = _resolve(path)
    if found.kind == NOWHERE or method == found.method or (method, found.method) == ("HEAD", "GET"):
        return found
    if method == "OPTIONS" and found.kind == OUTCOMES:
        return Endpoint(PREFLIGHT, "OPTIONS")
    error = RedpollError("RP-105", f"{path[:100]} takes {found.method}, not {method}.")
    return Endpoint(NOWHERE, found.method, error=error)


def _resolve(path: str) -> Endpoint:
    trimmed = path.rstrip("/") or "/"
    fixed = _FIXED.get(trimmed)
    if fixed is not None:
        return Endpoint(*fixed)
    if not trimmed.startswith("/"):
        return _nowhere(f"{path[:100]} is no path")  # `*`, or the authority of a CONNECT
    if trimmed == "/invocations":  # of the only model
        return Endpoint(INFER, "POST", "predict", wire=INVOCATIONS)
    parts = [unquote(part) for part in trimmed.split("/")[1:]]
    if parts[0] in _ROWS and len(parts) > 1:
        version, rest = _version(parts[2:])
        if not rest:
            return Endpoint(INFER, "POST", "predict", parts[1], version, _ROWS[parts[0]])
    elif parts[:2] == ["v2", "models"] and len(parts) > 2:
        version, rest = _version(parts[3:])
        if not rest:
            return Endpoint(MODEL, "GET", "predict", parts[2], version)
        if rest == ["ready"]:
            return Endpoint(MODEL_READY, "GET", "", parts[2], version)
        if rest == ["infer"]:
            return Endpoint(INFER, "POST", "predict", parts[2], version)
        if rest in (["generate"], ["generate_stream"], ["stream"]):
            return _nowhere(f"{path[:100]} is not built yet; this redpoll answers whole requests")
    for prefix, what in _LATER.items():
        if trimmed.startswith(prefix):
            return _nowhere(f"Not built yet: {what}")
    hint = closest(trimmed, _SHOWN) or f" It serves {', '.join(_SHOWN)}."
    return _nowhere(f"Nothing is served at {path[:100]}", hint)


def _version(rest: list[str]) -> tuple[str | None, list[str]]:
    if len(rest) > 1 and rest[0] == "versions":
        return rest[1], rest[2:]
    return None, rest


def _nowhere(why: str, hint: str = "") -> Endpoint:
    return Endpoint(NOWHERE, error=RedpollError("RP-104", f"{why}.{hint}"))
