"""The log-in page: a token for a session's cookie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from redpoll.errors import RedpollError
from redpoll.web.access import COOKIE, SESSION_S, Access, local_path, session_of

Render = Callable[..., Response]


def routes(access: Access, page: Render) -> list[Route]:
    """``/login`` and ``/logout``; ``page`` renders ``login.html`` with a status and its context."""

    def show(request: Request, where: str, error: RedpollError | None = None) -> Response:
        status = error.status if error else 200
        more: dict[str, Any] = {"next": where, "problem": error}
        return page(request, status, **more)

    async def form(request: Request) -> Response:
        where = local_path(request.query_params.get("next", "/"))
        if access.tokens is None:
            return RedirectResponse(where, status_code=303)
        return show(request, where)

    async def log_in(request: Request) -> Response:
        given = await request.form(max_files=0, max_fields=5)
        where = local_path(str(given.get("next", "/")))
        if access.tokens is None:
            return RedirectResponse(where, status_code=303)
        try:
            name = access.log_in(str(given.get("token", "")).strip())
        except RedpollError as error:
            return show(request, where, error)
        answer = RedirectResponse(where, status_code=303)
        answer.set_cookie(
            COOKIE,
            name,
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
        )
        return answer

    async def log_out(request: Request) -> Response:
        access.log_out(session_of(request.headers))
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    handlers: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "/login", form),
        ("POST", "/login", log_in),
        ("POST", "/logout", log_out),
    ]
    return [Route(path, end, methods=[method]) for method, path, end in handlers]
