"""JSON under ``/api/v1``: what the console shows and does, for programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as WebRoute

from redpoll import config
from redpoll.catalog import Plan
from redpoll.errors import RedpollError, closest
from redpoll.tensors.malformed import reason
from redpoll.web import applying, events, openapi
from redpoll.web.access import viewer_of

if TYPE_CHECKING:
    from redpoll.control.service import Control

ACTIONS = ("pause", "resume", "promote", "abort", "retry")
LIMIT_MAX = 1000

Endpoint = Callable[[Request], Awaitable[Response]]


def reply(
    content: Any,
    *,
    status: int = 200,
    generation: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """JSON of records, tuples and dicts. ``generation``: the ETag that ``If-Match`` takes."""
    extra = {"cache-control": "no-store", **(headers or {})}
    if generation is not None:
        extra["etag"] = f'"{generation}"'
    return Response(
        msgspec.json.encode(content),
        status_code=status,
        headers=extra,
        media_type="application/json",
    )


def error_reply(error: RedpollError) -> Response:
    """``{"error", "code"}``, and ``problems`` where a configuration has several."""
    content: dict[str, Any] = {"error": error.message, "code": error.code}
    if problems := getattr(error, "problems", ()):
        content["problems"] = [problem._asdict() for problem in problems]
    return reply(content, status=error.status, headers=error_headers(error))


def error_headers(error: RedpollError) -> dict[str, str]:
    """Headers that go with an error, in whatever form it is told."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def generation_of(request: Request) -> int | None:
    """The route generation in ``If-Match``; None where there is none or ``*``."""
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    digits = given.removeprefix("W/").strip('"')
    if not digits.isdecimal():
        raise RedpollError(
            "RP-101",
            f"If-Match is {given[:40]!r}; it is the route generation that the change is "
            'based on, e.g. "212"; read it from `generation` of the rollout or route.',
        )
    return int(digits)


async def body_of(request: Request, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The JSON object of a request (empty: {}), with unknown keys refused."""
    raw = await request.body()
    try:
        body = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = reason(raw, error)
        raise RedpollError(
            "RP-101", f'The body is no JSON: {why}. Send an object such as {{"reason": "…"}}.'
        ) from error
    if not isinstance(body, dict):
        raise RedpollError("RP-101", 'The body must be a JSON object such as {"reason": "…"}.')
    for key in body:
        if key not in allowed:
            raise RedpollError(
                "RP-101",
                f"The body has the unknown key {key[:60]!r}; known are "
                f"{', '.join(allowed)}.{closest(key, allowed)}",
            )
    return body


def text(body: dict[str, Any], key: str, *, wanted: bool = False) -> str:
    """A string of the body; "" where it is missing and not wanted."""
    value = body.get(key)
    if value is None and not wanted:
        return ""
    if not isinstance(value, str) or (wanted and not value):
        raise RedpollError("RP-101", f"{key!r} must be a string.")
    return value


def actor_of(request: Request, body: dict[str, Any]) -> str:
    """Who changes something: the token's name; without tokens whoever the body says."""
    viewer = viewer_of(request)
    said = text(body, "actor").strip()[:100]
    return said if said and not viewer.named else viewer.name


def checked_key(request: Request, key: str, known: tuple[str, ...]) -> None:
    """RP-101 where an address does not know a query parameter."""
    if key not in known:
        allowed = f"known are {', '.join(known)}" if known else "it takes none"
        raise RedpollError(
            "RP-101",
            f"{request.url.path[:100]} has no query parameter {key[:60]!r}; {allowed}."
            + closest(key, known),
        )


def checked_query(request: Request, known: tuple[str, ...]) -> None:
    """RP-101 where an address has a parameter that is not known there, or one twice."""
    seen: set[str] = set()
    for key, _ in request.query_params.multi_items():
        checked_key(request, key, known)
        if key in seen:
            raise RedpollError("RP-101", f"The query parameter {key!r} stands there twice.")
        seen.add(key)


def strict(end: Endpoint, known: tuple[str, ...]) -> Endpoint:
    """The endpoint, refusing query parameters that it does not know: none is ignored."""

    async def checked(request: Request) -> Response:
        checked_query(request, known)
        return await end(request)

    return checked


def limit_of(request: Request, default: int = 100) -> int:
    """``?limit=``, in [1, 1000]."""
    given = request.query_params.get("limit", str(default))
    if not given.isdecimal() or not 1 <= int(given) <= LIMIT_MAX:
        raise RedpollError(
            "RP-101", f"limit is {given[:20]!r}; it is a number from 1 to {LIMIT_MAX}."
        )
    return int(given)


def plan_of(given: Any, model: Plan, strategy: str) -> Plan | None:
    """The plan of a request: the model's, with the given keys replaced."""
    if strategy and strategy != "canary":
        raise RedpollError(
            "RP-101",
            f"The strategy {strategy[:40]!r} is not built yet; known is "
            f"canary.{closest(strategy, ['canary'])}",
        )
    if given is None:
        return None
    if not isinstance(given, dict):
        raise RedpollError(
            "RP-101",
            "plan must be an object with keys of [models.….rollout], such "
            'as {"steps": [{"weight": "10%", "pause": "5m"}]}.',
        )
    return config.plan_from(given, model)


async def healthz(request: Request) -> Response:
    """The process runs."""
    return reply({"status": "ok"})


async def document(request: Request) -> Response:
    """OpenAPI 3.1."""
    return reply(openapi.document())


class Api:
    """The endpoints, over one control."""

    def __init__(self, control: Control, hub: events.Hub) -> None:
        self.control = control
        self.hub = hub

    async def overview(self, request: Request) -> Response:
        """All models, what needs a person, what changed."""
        return reply(self.control.overview())

    async def models(self, request: Request) -> Response:
        """Every model."""
        return reply({"models": self.control.overview().models})

    async def model(self, request: Request) -> Response:
        """One model."""
        view = self.control.model(request.path_params["model"])
        return reply(view, generation=view.generation)

    async def versions(self, request: Request) -> Response:
        """A model's versions and how they are."""
        return reply({"versions": self.control.versions(request.path_params["model"])})

    async def route(self, request: Request) -> Response:
        """Which version is live, which share goes to a candidate."""
        route = self.control.route(request.path_params["model"])
        return reply(route, generation=route.generation)

    async def rollouts(self, request: Request) -> Response:
        """A model's rollouts, newest first."""
        found = self.control.rollouts(request.path_params["model"])
        return reply({"rollouts": found[: limit_of(request, LIMIT_MAX)]})

    async def start_rollout(self, request: Request) -> Response:
        """Begin a rollout."""
        model = request.path_params["model"]
        body = await body_of(request, ("version", "strategy", "plan", "reason", "actor"))
        base = self.control.route(model).model.rollout
        rollout = await self.control.start_rollout(
            model,
            text(body, "version", wanted=True),
            plan=plan_of(body.get("plan"), base, text(body, "strategy")),
            reason=text(body, "reason"),
            actor=actor_of(request, body),
            generation=generation_of(request),
        )
        where = {"location": f"/api/v1/rollouts/{rollout.id}"}
        return reply(rollout, status=201, generation=rollout.generation, headers=where)

    async def rollback(self, request: Request) -> Response:
        """Back to the version that was live before, also after a promotion."""
        model = request.path_params["model"]
        body = await body_of(request, ("to", "reason", "actor"))
        await self.control.rollback(
            model,
            to=text(body, "to") or None,
            reason=text(body, "reason"),
            actor=actor_of(request, body),
            generation=generation_of(request),
        )
        view = self.control.model(model)
        return reply(view, generation=view.generation)

    async def rollout(self, request: Request) -> Response:
        """One rollout, by its id or by the name of its model (then its newest)."""
        rollout = self.control.rollout(request.path_params["id"])
        return reply(rollout, generation=rollout.generation)

    async def act(self, request: Request) -> Response:
        """pause, resume, promote, abort or retry."""
        name = request.path_params["action"]
        body = await body_of(request, ("reason", "full", "actor"))
        if name not in ACTIONS:
            raise RedpollError(
                "RP-104",
                f"A rollout has no action {name[:40]!r}; known are "
                f"{', '.join(ACTIONS)}.{closest(name, ACTIONS)}",
            )
        if not isinstance(body.get("full", False), bool):
            raise RedpollError("RP-101", "'full' must be true or false.")
        rollout_id = self.control.rollout(request.path_params["id"]).id
        await self.control.act(
            rollout_id,
            name,
            reason=text(body, "reason"),
            actor=actor_of(request, body),
            generation=generation_of(request),
            full=body.get("full", False),
        )
        rollout = self.control.rollout(rollout_id)
        return reply(rollout, generation=rollout.generation)

    async def rollout_decisions(self, request: Request) -> Response:
        """What was decided about a rollout, newest first."""
        rollout = self.control.rollout(request.path_params["id"])
        return reply({"decisions": self.control.decisions(rollout.id, limit=limit_of(request))})

    async def curve(self, request: Request) -> Response:
        """Evidence over time."""
        rollout = self.control.rollout(request.path_params["id"])
        return reply({"points": self.control.curve(rollout.id)})

    async def failures(self, request: Request) -> Response:
        """Requests that the candidate failed, beside the stable's answers."""
        rollout = self.control.rollout(request.path_params["id"])
        found = self.control.failures(rollout.id, limit=limit_of(request, 3))
        return reply({"failures": found})

    async def decisions(self, request: Request) -> Response:
        """What was decided, newest first; ``?of=`` a model or a rollout."""
        of = request.query_params.get("of") or None
        found = self.control.decisions(of, limit=limit_of(request))
        return reply({"decisions": found})

    async def apply(self, request: Request) -> Response:
        """Make the catalog match a file on the server's machine."""
        body = await body_of(request, ("path", "dry_run", "actor"))
        dry_run = body.get("dry_run", False)
        if not isinstance(dry_run, bool):
            raise RedpollError("RP-101", "'dry_run' must be true or false.")
        path = applying.checked(text(body, "path", wanted=True))
        lines = await self.control.apply(
            await applying.load(self.control, path),
            actor=actor_of(request, body),
            dry_run=dry_run,
        )
        return reply({"lines": lines})

    async def events(self, request: Request) -> Response:
        """Every Decision as it is made, as server-sent events."""
        return events.decision_stream(self.hub, request.headers.get("last-event-id"))

    async def readyz(self, request: Request) -> Response:
        """Control answers, and how old its knowledge is."""
        view = self.control.overview()
        return reply({"status": "ok", "as_of_us": view.as_of_us, "age_s": view.age_s})

    def routes(self) -> list[WebRoute]:
        """All of them; health also answers outside ``/api/v1``."""
        table: list[tuple[str, str, Endpoint, tuple[str, ...]]] = [
            ("GET", "/overview", self.overview, ()),
            ("GET", "/models", self.models, ()),
            ("GET", "/models/{model}", self.model, ()),
            ("GET", "/models/{model}/versions", self.versions, ()),
            ("GET", "/models/{model}/route", self.route, ()),
            ("GET", "/models/{model}/rollouts", self.rollouts, ("limit",)),
            ("POST", "/models/{model}/rollouts", self.start_rollout, ()),
            ("POST", "/models/{model}/rollback", self.rollback, ()),
            ("GET", "/rollouts/{id}", self.rollout, ()),
            ("GET", "/rollouts/{id}/decisions", self.rollout_decisions, ("limit",)),
            ("GET", "/rollouts/{id}/curve", self.curve, ()),
            ("GET", "/rollouts/{id}/failures", self.failures, ("limit",)),
            ("POST", "/rollouts/{id}/{action}", self.act, ()),
            ("GET", "/decisions", self.decisions, ("of", "limit")),
            ("POST", "/apply", self.apply, ()),
            ("GET", "/events", self.events, ()),
            ("GET", "/healthz", healthz, ()),
            ("GET", "/readyz", self.readyz, ()),
            ("GET", "/openapi.json", document, ()),
        ]
        found = [
            WebRoute("/api/v1" + path, strict(end, known), methods=[method])
            for method, path, end, known in table
        ]
        found += [WebRoute("/healthz", healthz), WebRoute("/readyz", self.readyz)]
        return found
