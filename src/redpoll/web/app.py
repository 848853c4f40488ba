"""The control plane as one ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redpoll.catalog import Server
from redpoll.clock import Clock, SystemClock
from redpoll.errors import RedpollError
from redpoll.web import adding, guard, login, requests_page
from redpoll.web.accept import wants_page
from redpoll.web.access import Access, Gate, Tokens
from redpoll.web.api import Api, error_reply
from redpoll.web.console import Console
from redpoll.web.events import Hub
from redpoll.web.model_forms import ModelForms
from redpoll.web.recent import Recent

if TYPE_CHECKING:
    from redpoll.control.service import Control


def create_app(
    control: Control,
    server: Server,
    *,
    tokens: Tokens | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """The application over a control that runs (or will, before the first request) on its loop.

    ``tokens`` None: none are configured. ``app.state.hub.close()`` ends every open stream; call it when a shutdown begins.
    """
    hub = Hub(control)
    recent = Recent(control)
    access = Access(tokens, clock or SystemClock())
    console = Console(control, hub, clock or SystemClock(), recent)

    def answer(request: Request, error: RedpollError) -> Response:
        if wants_page(request.scope):
            return console.error(request, error)
        return error_reply(error)

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, RedpollError)
        return answer(request, error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = _http_error(request, error)
        reply = answer(request, said)
        reply.headers.update(error.headers or {})
        return reply

    def refuse(scope: guard.Scope, error: RedpollError) -> guard.App:
        return answer(Request(scope), error)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hub.start()
        recent.start()
        try:
            yield
        finally:
            hub.close()
            recent.close()

    app = Starlette(
        routes=[
            *Api(control, hub).routes(),
            Route(adding.PATH, adding.endpoint(control), methods=["POST"]),
            Route(adding.RETIRE, adding.retiring(control), methods=["POST"]),
            *login.routes(access, console.login),
            *ModelForms(control, console).routes(),
            *requests_page.routes(console),
            *console.routes(),
        ],
        middleware=[
            Middleware(guard.Guard, listen=server.control, refuse=refuse),
            Middleware(Gate, access=access, refuse=refuse),
        ],
        exception_handlers={RedpollError: known, HTTPException: http},
        lifespan=lifespan,
    )
    app.state.hub = hub
    return app


def _http_error(request: Request, error: HTTPException) -> RedpollError:
    """Starlette's own errors in our words."""
    path, takes = request.url.path[:200], (error.headers or {}).get("Allow", "")
    only = f", only {', '.join(sorted(takes.split(', ')))}" if takes else ""
    if error.status_code == 405:
        return RedpollError("RP-105", f"{path} does not take {request.method}{only}.")
    if error.status_code == 404:
        return RedpollError("RP-104", f"There is nothing at {path}.")
    said = str(error.detail).rstrip(".")
    return RedpollError("RP-101", f"The request cannot be read: {said}.")
