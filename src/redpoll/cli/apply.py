"""``redpoll apply``: make the catalog match a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from redpoll.cli.errors import FAILED, GATE_SAYS_NO, OK
from redpoll.cli.face import Face, actor, with_face
from redpoll.cli.groups import Duration
from redpoll.cli.remote import Remote
from redpoll.cli.watch import ENDED, until_done
from redpoll.errors import RedpollError


@click.command()
@click.argument("file", required=False, type=click.Path())
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--wait", is_flag=True, help="Watch the rollouts that this starts to their end.")
@click.option("--timeout", type=Duration(), help="How long to wait at most (then exit code 4).")
@with_face
def apply(face: Face, file: str | None, dry_run: bool, wait: bool, timeout: float | None) -> int:
    """Make the catalog match FILE (default: redpoll.toml).

    A changed `live` starts a rollout. Exit code 3: the file still wants a version that was rolled
    back; change it, or `redpoll rollout retry`.
    """
    path = Path(file) if file else face.config_path
    if path.is_dir():
        path = path / "redpoll.toml"
    if not path.is_file():
        raise RedpollError("RP-001", f"there is no file {path}; name one: redpoll apply FILE")
    remote = face.remote()
    if remote is None:
        from redpoll.cli.local import apply_to_files

        lines = apply_to_files(face.data_of(path), path.resolve(), actor(), dry_run)
    else:
        body = {"path": str(path.resolve()), "dry_run": dry_run, "actor": actor()}
        lines = remote.apply(body)
    text = "\n".join(line["sentence"] for line in lines) or "nothing to do"
    face.out.result({"dry_run": dry_run, "lines": lines}, text)
    code = _code(lines)
    if dry_run:
        face.out.suggest(f"redpoll apply {path}")
    elif wait and remote is not None:
        for model in dict.fromkeys(line["model"] for line in lines):
            code = code or _waited(face, remote, model, timeout)
    else:
        face.out.suggest("redpoll status" if remote is not None else f"redpoll serve -c {path}")
    return code


def _code(lines: list[dict[str, Any]]) -> int:
    if any(line["action"] == "failed" for line in lines):
        return FAILED
    return GATE_SAYS_NO if any(line["waits"] for line in lines) else OK


def _waited(face: Face, remote: Remote, model: str, timeout: float | None) -> int:
    """Watch the model's rollout, this apply's or one that was on its way already."""
    found = remote.rollouts(model) if model else []
    if not found or found[0]["state"] in ENDED:
        return OK
    return until_done(face.out, remote, found[0]["id"], timeout, stop_at_pause=True)
