"""``redpoll rollout verify``: whether the journal gives the Decisions that were made."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from redpoll.cli.errors import FAILED, OK
from redpoll.cli.face import Face, with_face
from redpoll.cli.output import clock, table


@click.command()
@click.argument("name", metavar="MODEL|ROLLOUT")
@with_face
def verify(face: Face, name: str) -> int:
    """Judge a rollout again from its journal's facts alone.

    Exit code 1: the facts give other Decisions than those that were made.
    """
    from redpoll.control.audit import refold
    from redpoll.journal.files import Journal

    rollout_id = str(face.reader().rollout(name)["id"])
    found = refold(Journal(face.data.root), rollout_id)
    document = msgspec.to_builtins(found)
    face.out.result(document, _text(document))
    return OK if found.agrees else FAILED


def _text(found: dict[str, Any]) -> str:
    rows = [
        (
            clock(one["time_us"]),
            one["action"],
            ("same again" if one["agrees"] else "DIFFERS") if one["by_evidence"] else "taken as is",
            one["why"] or one["sentence"],
        )
        for one in found["checked"]
    ]
    verdict = "the journal gives the same Decisions" if found["agrees"] else "the journal differs"
    return f"{table(('TIME', 'DECISION', 'AGAIN', ''), rows)}\n{found['rollout_id']}: {verdict}"
