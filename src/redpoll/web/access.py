"""Who is asking. Without tokens: whoever reaches the loopback address may do everything."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request

SCOPES = ("predict", "outcomes", "read", "review", "operate", "admin", "metrics")


class Viewer(NamedTuple):
    """Somebody, and what they may do. ``named``: the name was proven by a token."""

    name: str
    scopes: frozenset[str]
    named: bool = False
    session: bool = False  # a browser that logged in

    def may(self, scope: str) -> bool:
        """Whether the scope is held; each of read, operate, admin holds those before it."""
        ladder = ("read", "operate", "admin")
        if scope in ladder:
            return any(s in self.scopes for s in ladder[ladder.index(scope) :])
        return scope in self.scopes


ANYONE = Viewer("somebody on this machine", frozenset(SCOPES))


def viewer_of(request: Request) -> Viewer:
    """Who sent this request."""
    found = request.scope.get("redpoll.viewer", ANYONE)
    assert isinstance(found, Viewer)
    return found
