"""Who is asking, and may they? Without tokens whoever reaches the loopback address may do all.

With tokens a program sends ``Authorization: Bearer``, and a browser logs in once with a token: its
cookie names a session that this process keeps, so that the token itself is not in the browser, where
every other port of this host would get it too. Each request looks the token up again: a revoked one
ends its sessions at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import NamedTuple, Protocol
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse

from redpoll.clock import Clock
from redpoll.errors import RedpollError
from redpoll.host.tokens import SCOPES, allows
from redpoll.web.accept import wants_page
from redpoll.web.guard import SAFE, App, Receive, Refuse, Scope, Send

COOKIE = "redpoll_session"
SESSION_S = 12 * 3600
SESSIONS_MAX = 1000
HEALTH = ("/healthz", "/readyz", "/api/v1/healthz", "/api/v1/readyz")
OPEN = (*HEALTH, "/login")
BOUNCE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>redpoll</title>'
    '<meta http-equiv="refresh" content="0">'
)


class Grant(Protocol):
    """What a token is for."""

    @property
    def name(self) -> str:
        """Whose it is; the actor of what is done with it."""
        ...

    @property
    def scopes(self) -> Collection[str]:
        """What it allows."""
        ...


class Tokens(Protocol):
    """Known tokens; :class:`redpoll.host.tokens.Tokens` reads them from the tokens file."""

    def find(self, token: str) -> Grant | None:
        """What this token is for; None where it is not known (any more)."""
        ...


class Viewer(NamedTuple):
    """Somebody, and what they may do. ``named``: the name was proven by a token."""

    name: str
    scopes: frozenset[str]
    named: bool = False
    session: bool = False  # a browser that logged in

    def may(self, scope: str) -> bool:
        """Whether the scope is held, by itself or by a higher one."""
        return allows(self.scopes, scope)


ANYONE = Viewer("somebody on this machine", frozenset(SCOPES))


def viewer_of(request: Request) -> Viewer:
    """Who sent this request."""
    found = request.scope.get("redpoll.viewer", ANYONE)
    assert isinstance(found, Viewer)
    return found


def needed(method: str, path: str) -> str:
    """The scope that a request needs; "" where none: health, log in, style."""
    if path in OPEN or path.startswith("/static/") or path == "/logout":
        return ""
    if method in SAFE:
        return "read"
    code = path == "/api/v1/apply" or (path.startswith("/api/") and path.endswith("/versions"))
    return "admin" if code else "operate"


def local_path(given: str) -> str:
    """Where to go after logging in: a path of this server, else ``/``."""
    fine = given.startswith("/") and given[1:2] not in ("/", "\\") and given.isprintable()
    return given if fine else "/"


class Session(NamedTuple):
    """A browser that logged in."""

    token: str
    ends_us: int


class Access:
    """Tokens and sessions. ``tokens`` None: everybody who gets here may do everything."""

    def __init__(self, tokens: Tokens | None, clock: Clock) -> None:
        self.tokens = tokens
        self.clock = clock
        self.sessions: dict[str, Session] = {}

    def log_in(self, token: str) -> str:
        """Begin a session and return its id. RP-500 where the token is not known."""
        viewer = self._viewer(token, session=True)
        if not viewer.may("read"):
            raise RedpollError(
                "RP-501",
                f"The token {viewer.name!r} may not read here; `redpoll token create --scope "
                "operate --name NAME` on the server makes one that may.",
            )
        now_us = self.clock.now_us()
        self.sessions = {k: s for k, s in self.sessions.items() if s.ends_us > now_us}
        while len(self.sessions) >= SESSIONS_MAX:
            self.sessions.pop(next(iter(self.sessions)))
        name = secrets.token_urlsafe(32)
        self.sessions[name] = Session(token, now_us + SESSION_S * 1_000_000)
        return name

    def log_out(self, name: str) -> None:
        """End a session."""
        self.sessions.pop(name, None)

    def who(self, headers: Headers) -> Viewer:
        """Who sends these headers. RP-500 where a token is wanted and none is known."""
        if self.tokens is None:
            return ANYONE
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind:
            if kind.lower() != "bearer":
                raise RedpollError(
                    "RP-500", "Authorization must be `Bearer TOKEN`; nothing else is known here."
                )
            return self._viewer(token.strip(), session=False)
        session = self.sessions.get(session_of(headers))
        if session is None or session.ends_us <= self.clock.now_us():
            raise RedpollError(
                "RP-500",
                "This server wants a token, and the request carries none; send `Authorization: "
                "Bearer TOKEN`; `redpoll token create --scope operate --name NAME` on the server "
                "makes one.",
            )
        return self._viewer(session.token, session=True)

    def _viewer(self, token: str, *, session: bool) -> Viewer:
        grant = self.tokens.find(token) if self.tokens is not None and token else None
        if grant is None:
            raise RedpollError(
                "RP-500", "That token is not known; it may have been revoked, or cut in copying."
            )
        return Viewer(grant.name, frozenset(grant.scopes), named=True, session=session)


def session_of(headers: Headers) -> str:
    """The session's id in the cookie; "" where there is none."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


class Gate:
    """ASGI middleware: puts the viewer into the scope, or refuses."""

    def __init__(self, app: App, access: Access, refuse: Refuse) -> None:
        self.app = app
        self.access = access
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through who may."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        wanted = needed(scope["method"], scope["path"])
        reply: App = self.app
        try:
            viewer = self.access.who(headers)
            scope["redpoll.viewer"] = viewer
            if wanted and not viewer.may(wanted):
                raise RedpollError(
                    "RP-501",
                    f"The token {viewer.name!r} does not have the scope {wanted!r}, which this "
                    "needs; use another one.",
                )
        except RedpollError as error:
            if wanted:
                reply = self._instead(scope, headers, error)
        await reply(scope, receive, send)

    def _instead(self, scope: Scope, headers: Headers, error: RedpollError) -> App:
        """A browser without a session is led to the log-in page; others get the error.

        A link from elsewhere (an alert's) comes without a strict cookie: the page asks once more,
        now from here.
        """
        page = scope["method"] == "GET" and wants_page(scope)
        if error.code != "RP-500" or not page:
            return self.refuse(scope, error)
        if headers.get("sec-fetch-site") == "cross-site":
            return HTMLResponse(BOUNCE, headers={"cache-control": "no-store"})
        query = scope["query_string"].decode("latin-1")
        here = scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"/login?next={quote(here, safe='/')}", status_code=303)
