"""``redpoll doctor``: whether this machine, this file and this server are all right."""

from __future__ import annotations

import click

from redpoll.cli.errors import FAILED, OK
from redpoll.cli.examine import BAD, WARN, examine
from redpoll.cli.face import Face, with_face

MARKS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


@click.command()
@with_face
def doctor(face: Face) -> int:
    """Look at program, configuration, models, disk, tokens and server, and say what to do.

    Nothing is changed. Ends with 1 where something is bad; a warning alone ends with 0.
    """
    found = []
    for one in examine(face):
        found.append(one)
        if not face.out.as_json:
            print(f"{MARKS[one.level]} {one.name}: {one.sentence}", flush=True)
            if one.todo:
                print(f"       → {one.todo}", flush=True)
    bad = sum(one.level == BAD for one in found)
    warned = sum(one.level == WARN for one in found)
    if face.out.as_json:
        document = {"bad": bad, "warnings": warned, "findings": [one._asdict() for one in found]}
        face.out.result(document, "")
    elif bad or warned:
        face.out.say(f"{bad} bad, {warned} to look at")
    else:
        face.out.say("all is well")
    return FAILED if bad else OK
