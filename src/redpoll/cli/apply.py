"""``redpoll apply``: make the catalog match a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from redpoll.cli.errors import GATE_SAYS_NO, OK
from redpoll.cli.face import Face, actor, with_face
from redpoll.cli.groups import Duration
from redpoll.cli.remote import Remote
from redpoll.cli.watch import until_done
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
    code = GATE_SAYS_NO if any(line["waits"] for line in lines) else OK
    if dry_run:
        face.out.suggest(f"redpoll apply {path}")
        return code
    if wait and remote is not None:
        return max(code, *(_waited(face, remote, line, timeout) for line in lines), 0)
    face.out.suggest("redpoll status" if remote is not None else f"redpoll serve -c {path}")
    return code


def _waited(face: Face, remote: Remote, line: dict[str, Any], timeout: float | None) -> int:
    """Watch the rollout that a line started."""
    if line["action"] not in ("start", "rollout", "start_rollout"):
        return OK
    newest = remote.rollout(line["model"])
    return until_done(face.out, remote, newest["id"], timeout, stop_at_pause=True)
