"""``redpoll explain``: what an error code means, or why a rollout is where it is."""

from __future__ import annotations

import re
from typing import Any

import click

from redpoll.cli.face import Face, with_face
from redpoll.cli.remote import Remote
from redpoll.cli.rollout_text import timeline, whole
from redpoll.client import ClientError
from redpoll.errors import CATALOG, RedpollError, closest

_CODE = re.compile(r"(?i)rp-?\d+\Z")


@click.command()
@click.argument("what", metavar="CODE|ROLLOUT|MODEL")
@with_face
def explain(face: Face, what: str) -> None:
    """Explain an error code (RP-401), a rollout by its id, or a model: its newest rollout."""
    if _CODE.match(what):
        _code(face, what.upper().replace("RP", "RP-").replace("RP--", "RP-"))
        return
    reader = face.reader()
    try:
        rollout = reader.rollout(what)
    except (ClientError, RedpollError) as error:
        if error.code != "RP-400" or what not in _models(reader):
            raise
        _model(face, reader, what)
        return
    decisions = reader.decisions(rollout["id"])
    document = {"rollout": rollout, "decisions": decisions}
    text = f"{whole(rollout)}\n\n{timeline(decisions)}\n\n{rollout['false_alarm']}"
    face.out.result(document, text.rstrip())


def _models(reader: Remote) -> list[str]:
    return [str(model["name"]) for model in reader.overview()["models"]]


def _model(face: Face, reader: Remote, name: str) -> None:
    """A model that has had no rollout yet: how it does, and what was decided."""
    view, decisions = reader.model(name), reader.decisions(name)
    sentence = view["needs"] or view["sentence"]
    face.out.result(
        {"model": view, "decisions": decisions}, f"{sentence}\n\n{timeline(decisions)}".strip()
    )


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
