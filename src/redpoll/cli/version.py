"""``redpoll version …``: a model's versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from redpoll.cli.face import Face, actor, with_face, with_reason
from redpoll.cli.groups import Commands
from redpoll.cli.output import table


@click.group(cls=Commands)
def version() -> None:
    """The versions of a model."""


@version.command("list")
@click.argument("model")
@with_face
def list_versions(face: Face, model: str) -> None:
    """List the versions of MODEL, and how each one is."""
    reader = face.reader()
    view = reader.model(model)
    versions = reader.versions(model)
    face.out.result(
        {"model": model, "live": view["live"], "versions": versions}, _text(view, versions)
    )


@version.command("add")
@click.argument("model")
@click.argument("name")
@click.argument("backend", nargs=-1, required=True)
@with_face
def add(face: Face, model: str, name: str, backend: tuple[str, ...]) -> None:
    """Add a version to MODEL: BACKEND is `sklearn:FILE`, `python:MODULE:CALLABLE` or a URL.

    What else the version wants follows as KEY=VALUE, as in redpoll.toml: workers=2.
    """
    options: dict[str, str] = {}
    for word in backend[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise click.UsageError(f"{word!r} is not of the form KEY=VALUE")
        options[key] = value
    body: dict[str, Any] = {
        "name": name,
        "backend": backend[0],
        "options": options,
        "folder": str(Path.cwd()),
        "actor": actor(),
    }
    remote = face.remote()
    if remote is None:
        from redpoll.cli.local import add_version_to_files

        lines = add_version_to_files(face.data, model, body, actor())
    else:
        lines = remote.add_version(model, body)
    face.out.result({"lines": lines}, "\n".join(line["sentence"] for line in lines))
    face.out.suggest(f"redpoll rollout start {model} {name} --reason …")


@version.command("retire")
@click.argument("model")
@click.argument("name", metavar="VERSION")
@click.option(
    "--now", is_flag=True, help="Also while a rollback could go back to it (rollback_window)."
)
@with_reason
@with_face
def retire(
    face: Face, model: str, name: str, now: bool, reason: str, generation: int | None
) -> None:
    """Retire VERSION of MODEL: no requests, no rollouts, no warm workers, no longer offered.

    Its name stays taken, its files and its answers stay where they are, and `version add` with the
    same backend brings it back. A version that is live or in a rollout cannot be retired.
    """
    body = {"reason": reason, "now": now, "actor": actor()}
    remote = face.remote()
    if remote is None:
        from redpoll.cli.local import retire_version_in_files

        lines = retire_version_in_files(face.data, model, name, body, generation)
    else:
        lines = remote.retire_version(model, name, body, generation)
    face.out.result({"lines": lines}, "\n".join(line["sentence"] for line in lines))


def _text(view: dict[str, Any], versions: list[dict[str, Any]]) -> str:
    rows = []
    for one in versions:
        name = one.get("name", "")
        role = {view["live"]: "live", view["candidate"]: "candidate"}.get(name, "")
        fingerprint = str(one.get("fingerprint") or "-").removeprefix("sha256:")[:12]
        workers = f"{one.get('workers', '-')} ({one.get('restarts', 0)} restarts)"
        rows.append(
            (name, role, one.get("state", "-"), one.get("backend", "-"), workers, fingerprint)
        )
    return table(("VERSION", "ROLE", "STATE", "BACKEND", "WORKERS", "FINGERPRINT"), rows)
