"""Ways out of an address at which nothing is: the nearest page, and those that there are."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from redpoll.errors import RedpollError

if TYPE_CHECKING:
    from redpoll.control.service import Control

TITLES = {
    400: "Not understood",
    401: "Who are you?",
    403: "Refused",
    404: "Not found",
    405: "Not possible here",
    409: "Not done: something changed",
    413: "Too large",
    500: "redpoll made a mistake",
    503: "Not now",
}
LINKS = 12
NEAR = 0.6  # as for names in messages


class Link(NamedTuple):
    """An address and its name."""

    href: str
    name: str


def ways(control: Control, path: str) -> dict[str, Any]:
    """``near``: the page that was probably meant, or None; ``links``: models and rollouts."""
    try:
        overview = control.overview()
    except RedpollError:  # then the page says at least what is wrong
        return {"near": None, "links": []}
    models = [Link(f"/models/{quote(m.name)}", m.name) for m in overview.models]
    rollouts = [
        Link(f"/rollouts/{quote(m.rollout.id)}", m.rollout.id)
        for m in overview.models
        if m.rollout is not None
    ]
    starts = [Link(f"{one.href}/start", f"start a rollout of {one.name}") for one in models]
    known = {
        one.href: one
        for one in (
            Link("/", "Now"),
            Link("/rollouts", "Rollouts"),
            Link("/requests", "Requests"),
            Link("/system", "System"),
            *models,
            *rollouts,
            *starts,
        )
    }
    asked = quote(unquote(path)).rstrip("/").lower()
    byname = {href.lower(): href for href in known if href != "/"}
    found = difflib.get_close_matches(asked, byname, n=1, cutoff=NEAR)
    near = known[byname[found[0]]] if found else None
    return {"near": near, "links": [*models, *rollouts][:LINKS]}
