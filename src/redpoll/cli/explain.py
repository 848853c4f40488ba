"""``redpoll explain``: what an error code means, or why a rollout is where it is."""

from __future__ import annotations

import re
from typing import Any

import click

from redpoll.cli.face import Face, with_face
from redpoll.cli.rollout_text import timeline, whole
from redpoll.errors import CATALOG, RedpollError, closest

_CODE = re.compile(r"(?i)rp-?\d+\Z")


@click.command()
@click.argument("what", metavar="CODE|ROLLOUT")
@with_face
def explain(face: Face, what: str) -> None:
    """Explain an error code (RP-401), or a rollout by its id or model."""
    if _CODE.match(what):
        _code(face, what.upper().replace("RP", "RP-").replace("RP--", "RP-"))
        return
    reader = face.reader()
    rollout = reader.rollout(what)
    decisions = reader.decisions(rollout["id"])
    document = {"rollout": rollout, "decisions": decisions}
    text = f"{whole(rollout)}\n\n{timeline(decisions)}\n\n{rollout['false_alarm']}"
    face.out.result(document, text.rstrip())


def _code(face: Face, code: str) -> None:
    known: Any = CATALOG.get(code)
    if known is None:
        raise RedpollError("RP-606", f"there is no error code {code}.{closest(code, CATALOG)}")
    document = {
        "code": code,
        "name": known.name,
        "http_status": known.status or None,
        "explain": known.explain,
    }
    where = f", HTTP {known.status}" if known.status else ""
    face.out.result(document, f"{code} {known.name}{where}\n{known.explain}")
