"""``redpoll rollback``: undo, also after a promotion."""

from __future__ import annotations

import click

from redpoll.cli.face import Face, actor, with_face, with_reason


@click.command()
@click.argument("model")
@click.option("--to", metavar="VERSION", help="Default: the version that was live before.")
@with_reason
@with_face
def rollback(face: Face, model: str, to: str | None, reason: str, generation: int | None) -> None:
    """Send MODEL back to an earlier version, at once."""
    body = {"to": to, "reason": reason, "actor": actor()}
    done = face.server().rollback(model, body, generation)
    face.out.result(done, f"{model}: {done['live']} is live. {done['sentence']}")
    face.out.suggest(f"redpoll rollout history {model}")
