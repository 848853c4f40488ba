"""``redpoll open``: the console, at the page that was meant."""

from __future__ import annotations

import os
import re
import webbrowser
from urllib.parse import quote

import click

from redpoll.cli.face import Face, with_face
from redpoll.cli.remote import Remote
from redpoll.client import ClientError

_PREDICTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


@click.command("open")
@click.argument("what", required=False, metavar="[MODEL|ROLLOUT|PREDICTION]")
@with_face
def open_console(face: Face, what: str | None) -> None:
    """Open the console in a browser, at a model, a rollout or a prediction; print its address.

    Where this machine has no display, the address is printed with the ssh line that leads to it.
    """
    remote = face.server()
    path = _path(remote, what) if what else "/"
    scheme, _, address = remote.url.rstrip("/").partition("://")
    host, colon, port = address.rpartition(":")
    url = f"{remote.url.rstrip('/')}{path}"
    if host in ANY:
        url = f"{scheme}://{ANY[host]}{colon}{port}{path}"
    face.out.result({"url": url}, url)
    if face.out.as_json:
        return
    far = os.environ.get("SSH_CONNECTION", "").split()
    if far:
        address = url.partition("://")[2].partition("/")[0]
        face.out.say(f"from your own machine: ssh -L {port}:{address} {far[2]}, then open it there")
    elif not _has_display() or not webbrowser.open(url):
        face.out.say("no browser could be opened here; open the address yourself")


def _path(remote: Remote, what: str) -> str:
    """The page about ``what``; RP-400 with the nearest name where there is no such thing."""
    if _PREDICTION.match(what):
        return f"/requests/{what.lower()}"
    try:
        remote.model(what)
        return f"/models/{quote(what, safe='')}"
    except ClientError as error:
        if error.code != "RP-102":
            raise
    return f"/rollouts/{quote(remote.rollout(what)['id'], safe='')}"


def _has_display() -> bool:
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return os.uname().sysname == "Darwin" or any(os.environ.get(name) for name in shown)
