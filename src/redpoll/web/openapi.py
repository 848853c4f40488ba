"""The OpenAPI 3.1 document of ``/api/v1``: hand-written paths, schemas from the records' types.

A test compares it with the routes, in both directions.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

import redpoll
from redpoll.errors import CATALOG
from redpoll.routes import Route
from redpoll.views import (
    ApplyLine,
    DecisionView,
    EvidencePoint,
    FailureView,
    ModelView,
    Overview,
    RequestLine,
    RequestView,
    RolloutView,
)

_RECORDS = (
    ApplyLine,
    DecisionView,
    EvidencePoint,
    FailureView,
    ModelView,
    Overview,
    RequestLine,
    RequestView,
    RolloutView,
    Route,
)
_REASON = {"type": "string", "minLength": 3, "description": "Why; kept with the decision."}
_ACTOR = {
    "type": "string",
    "maxLength": 100,
    "description": "Who; only where no tokens are configured, else it is the token's name.",
}
_PLAN = {
    "type": "object",
    "description": 'Keys of [models.….rollout] over the model\'s plan, e.g. {"steps": '
    '[{"weight": "10%", "pause": "5m"}]}.',
}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(key: str, name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"type": "array", "items": _ref(name)}},
    }


def _body(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    if required:
        schema["required"] = list(required)
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, where: str, about: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": about,
        "schema": schema or {"type": "string"},
    }


_MODEL = _parameter("model", "path", "A model's name.")
_ID = _parameter("id", "path", "A rollout's id, such as churn-17, or a model's name: its newest.")
_LIMIT = _parameter("limit", "query", "At most so many.", type="integer", minimum=1, maximum=1000)
_IF_MATCH = _parameter(
    "If-Match", "header", "The route generation that this is based on; another one gives 409."
)
_LAST = _parameter("Last-Event-ID", "header", "The last decision id that was received.")
_OF = _parameter("of", "query", "A model's name or a rollout's id.")

_SEARCH = [
    _parameter("id", "query", "A prediction's or a request's id."),
    _parameter("unit", "query", "Only of this unit."),
    _parameter("model", "query", "Only of this model."),
    _parameter("status", "query", "Of the live answer; failed: any but ok; none: none yet."),
    _parameter("from", "query", "RFC 3339; UTC without an offset."),
    _parameter("until", "query", "The same; exclusive."),
    _parameter("after", "query", "`more` of the page before."),
    _parameter("limit", "query", "At most so many.", type="integer", minimum=1, maximum=500),
]

_ANY = {"type": "object"}
_HEALTH = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"const": "ok"},
        "as_of_us": {"type": "integer"},
        "age_s": {"type": "number"},
    },
}
_VERSIONS = {
    "type": "object",
    "required": ["versions"],
    "properties": {"versions": {"type": "array", "items": _ANY}},
}

# method, path, name, scope, parameters, body, status, answer
_START = _body(
    ("version",),
    version={"type": "string"},
    strategy={"enum": ["canary"]},
    plan=_PLAN,
    reason=_REASON,
    actor=_ACTOR,
)
_ROLLBACK = _body(("reason",), to={"type": "string"}, reason=_REASON, actor=_ACTOR)
_ACT = _body(
    ("reason",),
    reason=_REASON,
    actor=_ACTOR,
    full={"type": "boolean", "description": "promote: all the way at once."},
)
_APPLY = _body(
    ("path",),
    path={"type": "string", "description": "Absolute, on the server's machine."},
    dry_run={"type": "boolean"},
    actor=_ACTOR,
)
_ADD = _body(
    ("name", "backend"),
    name={"type": "string"},
    backend={"type": "string", "description": "sklearn:FILE, python:MODULE:CALLABLE or a URL."},
    options={"type": "object", "description": "Further settings of a version, as in the file."},
    folder={"type": "string", "description": "Absolute; where files and modules are looked for."},
    actor=_ACTOR,
)
_RETIRE = _body(
    ("reason",),
    reason=_REASON,
    now={"type": "boolean", "description": "Also where a rollback would go back to it."},
    actor=_ACTOR,
)
_VERSION = _parameter("version", "path", "The version's name.")
_PATHS: tuple[tuple[str, str, str, str, list[Any], Any, int, Any], ...] = (
    ("get", "/overview", "All models at a glance", "read", [], None, 200, _ref("Overview")),
    ("get", "/models", "All models", "read", [], None, 200, _list("models", "ModelView")),
    ("get", "/models/{model}", "One model", "read", [_MODEL], None, 200, _ref("ModelView")),
    ("get", "/models/{model}/versions", "Its versions", "read", [_MODEL], None, 200, _VERSIONS),
    ("get", "/models/{model}/route", "Its route", "read", [_MODEL], None, 200, _ref("Route")),
    (
        "post", "/models/{model}/versions", "Add a version", "admin", [_MODEL], _ADD, 201,
        _list("lines", "ApplyLine"),
    ),
    (
        "post", "/models/{model}/versions/{version}/retire", "Retire a version", "operate",
        [_MODEL, _VERSION, _IF_MATCH], _RETIRE, 200, _list("lines", "ApplyLine"),
    ),
    (
        "get", "/models/{model}/rollouts", "Its rollouts, newest first", "read", [_MODEL, _LIMIT],
        None, 200, _list("rollouts", "RolloutView"),
    ),
    (
        "post", "/models/{model}/rollouts", "Start a rollout", "operate", [_MODEL, _IF_MATCH],
        _START, 201, _ref("RolloutView"),
    ),
    (
        "post", "/models/{model}/rollback", "Back to what was live before", "operate",
        [_MODEL, _IF_MATCH], _ROLLBACK, 200, _ref("ModelView"),
    ),
    ("get", "/rollouts/{id}", "One rollout", "read", [_ID], None, 200, _ref("RolloutView")),
    (
        "post", "/rollouts/{id}/{action}", "Pause, resume, promote, abort or retry", "operate",
        [_ID, _parameter("action", "path", "What to do.",
                         enum=["pause", "resume", "promote", "abort", "retry"]), _IF_MATCH],
        _ACT, 200, _ref("RolloutView"),
    ),
    (
        "get", "/rollouts/{id}/decisions", "Its decisions, newest first", "read", [_ID, _LIMIT],
        None, 200, _list("decisions", "DecisionView"),
    ),
    (
        "get", "/rollouts/{id}/curve", "Evidence over time", "read", [_ID], None, 200,
        _list("points", "EvidencePoint"),
    ),
    (
        "get", "/rollouts/{id}/failures", "Failed requests beside the stable's answers", "read",
        [_ID, _LIMIT], None, 200, _list("failures", "FailureView"),
    ),
    (
        "get", "/decisions", "What was decided, newest first", "read", [_OF, _LIMIT], None, 200,
        _list("decisions", "DecisionView"),
    ),
    (
        "post", "/apply", "Make the catalog match a file", "admin", [], _APPLY, 200,
        _list("lines", "ApplyLine"),
    ),
    (
        "get", "/predictions", "Requests, newest first", "read", _SEARCH, None, 200,
        _list("requests", "RequestLine"),
    ),
    (
        "get", "/predictions/{id}", "Everything about one", "read",
        [_parameter("id", "path", "A prediction's id.")], None, 200, _ref("RequestView"),
    ),
    ("get", "/events", "Every decision as it is made", "read", [_LAST], None, 200, None),
    ("get", "/healthz", "The process runs", "", [], None, 200, _HEALTH),
    ("get", "/readyz", "Control answers", "", [], None, 200, _HEALTH),
    ("get", "/openapi.json", "This document", "", [], None, 200, _ANY),
)  # fmt: skip


def _operation(
    name: str, scope: str, parameters: list[Any], body: Any, status: int, answer: Any
) -> dict[str, Any]:
    kind = {"text/event-stream": {"schema": {"type": "string"}}}
    if answer is not None:
        kind = {"application/json": {"schema": answer}}
    found: dict[str, Any] = {
        "summary": name,
        "parameters": parameters,
        "responses": {
            str(status): {"description": "Done" if body else "Found", "content": kind},
            "default": {"$ref": "#/components/responses/Error"},
        },
        "security": [{"token": [scope]}, {}] if scope else [{}],
    }
    if body is not None:
        found["requestBody"] = body
    return found


@functools.cache
def document() -> dict[str, Any]:
    """Make the whole document, once."""
    _, schemas = msgspec.json.schema_components(
        _RECORDS, ref_template="#/components/schemas/{name}"
    )
    schemas["Error"] = {
        "type": "object",
        "required": ["error", "code"],
        "properties": {
            "error": {"type": "string", "description": "What happened; why; what to do."},
            "code": {"enum": sorted(CATALOG)},
            "problems": {"type": "array", "items": _ANY},
        },
    }
    paths: dict[str, dict[str, Any]] = {}
    for method, path, *rest in _PATHS:
        paths.setdefault(f"/api/v1{path}", {})[method] = _operation(*rest)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "redpoll: control plane",
            "version": redpoll.__version__,
            "description": "Times are µs since the epoch, UTC; rates fractions; latencies ms. "
            "A query parameter that an address does not take is refused (RP-101).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Error": {
                    "description": "Not done, and why",
                    "content": {"application/json": {"schema": _ref("Error")}},
                }
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
