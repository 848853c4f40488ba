"""``redpoll log verify | export | backup | restore``: keeping the journal, always from its files."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from redpoll import facts
from redpoll.cli.errors import FAILED, OK
from redpoll.cli.face import Face, with_face
from redpoll.cli.groups import OneOf

EVERY_S = 0.2
FORMATS = ("parquet", "csv", "jsonl")


class Moment(click.ParamType[int]):
    """``2026-11-25``, ``2026-11-25T09:30Z``; µs since the epoch. Without an offset: UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The moment, or a usage error."""
        if isinstance(value, int):
            return value
        try:
            found = dt.datetime.fromisoformat(value)
        except ValueError:
            return self.fail(
                f"{value!r} is no time; write it like 2026-11-25 or 2026-11-25T09:30Z.", param, ctx
            )
        found = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
        return round(found.timestamp() * 1e6)


def _progress(what: str) -> Callable[[int, int], None]:
    """Redrawn on a terminal's stderr; nothing elsewhere."""
    said = [0.0]

    def say(done: int, every: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and (now - said[0] > EVERY_S or done == every):
            said[0] = now
            end = "\n" if done == every else ""
            print(f"\r{what} {done} of {every} files", end=end, file=sys.stderr, flush=True)

    return say


@click.command()
@with_face
def verify(face: Face) -> int:
    """Check every byte of the journal, and that no sealed file is missing or there twice.

    A server may run meanwhile. Exit code 1: something is damaged or missing.
    """
    from redpoll.journal.checking import verify as check

    found = check(face.data, _progress("checked"))
    document = found._asdict() | {
        "ok": found.ok,
        "problems": [one._asdict() for one in found.problems],
        "notes": [one._asdict() for one in found.notes],
    }
    lines = [f"DAMAGED {one.path}: {one.what}" for one in found.problems]
    lines += [f"note {one.path}: {one.what}" for one in found.notes]
    size = f"{found.facts:,} facts in {found.files:,} files of {found.streams:,} streams"
    count = len(found.problems)
    verdict = "whole" if found.ok else f"{count} problem{'s' * (count != 1)}"
    lines.append(f"{face.data.journal}: {verdict}; {size}, {_size(found.bytes)}")
    face.out.result(document, "\n".join(lines))
    if not found.ok:
        face.out.suggest(
            "redpoll log restore BACKUP --data-dir DIR, beside it, to get back what is gone"
        )
    return OK if found.ok else FAILED


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=OneOf(FORMATS),
    default="parquet",
    show_default=True,
    help="Of the files.",
)
@click.option("--fact", "kinds", multiple=True, type=OneOf(facts.NAMES), help="Only these.")
@click.option("--model", "models", multiple=True, metavar="MODEL", help="Only of these models.")
@click.option("--since", type=Moment(), metavar="TIME", help="Written then or later.")
@click.option("--until", type=Moment(), metavar="TIME", help="Written before then.")
@with_face
def export(
    face: Face,
    folder: Path,
    form: str,
    kinds: tuple[str, ...],
    models: tuple[str, ...],
    since: int | None,
    until: int | None,
) -> None:
    """Write facts, sealed and live, into a new folder: a file each fact.

    CSV has maps and JSON as text and bytes as base64; JSON lines have them as values.
    """
    from redpoll.cli.log import check_models
    from redpoll.journal.exporting import What
    from redpoll.journal.exporting import export as run

    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until.")
    check_models(face, models)
    what = What(kinds or facts.NAMES, models or None, since, until)
    found = run(face.data, folder, what, form)
    document = {"folder": str(folder), "files": [one._asdict() for one in found]}
    lines = [f"{one.path}: {one.rows:,} rows" for one in found]
    face.out.result(document, "\n".join(lines) or f"{folder}: there are no such facts")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@with_face
def backup(face: Face, folder: Path) -> int:
    """Copy journal, catalog and model files to DIR; again into the same DIR copies what is new.

    A server may run meanwhile. Exit code 1: some sealed file was damaged already.
    """
    from redpoll.archive.backup import backup as run

    made = run(face.data, folder, time.time_ns() // 1000, _progress("copied"))
    lines = [f"DAMAGED {one}" for one in made.damaged]
    lines.append(
        f"{folder}: {made.files:,} files, {_size(made.bytes)}; {made.copied_files:,} of them,"
        f" {_size(made.copied_bytes)}, were new"
    )
    face.out.result({"folder": str(folder), **made._asdict()}, "\n".join(lines))
    face.out.suggest(f"redpoll log restore {folder} --data-dir NEW")
    return FAILED if made.damaged else OK


@click.command()
@click.argument(
    "folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@with_face
def restore(face: Face, folder: Path) -> None:
    """Put a backup into a data folder that has no journal yet; every file is checked first."""
    from redpoll.archive.restore import restore as run

    made = run(folder, face.data, _progress("restored"))
    face.out.result(
        {"data_dir": str(face.data.root), **made._asdict()},
        f"{face.data.root}: {made.files:,} files, {_size(made.bytes)}, as they were {made.began}",
    )
    face.out.suggest(f"redpoll log verify --data-dir {face.data.root}")


def _size(count: int) -> str:
    """``512 B``, ``1.4 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
