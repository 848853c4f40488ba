"""``redpoll predict`` and ``redpoll outcome send``: what a client does, by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from redpoll.cli.errors import FAILED, OK
from redpoll.cli.face import Face, with_face
from redpoll.cli.groups import Commands


@click.command()
@click.argument("model")
@click.argument("rows", metavar="JSON|@FILE|-")
@click.option("--version", help="Ask this version by name; never evidence.")
@click.option("--unit", help="The user (or session) who asks.")
@click.option("--subject", help="The person the row is about.")
@click.option(
    "--group", "groups", multiple=True, metavar="NAME=VALUE",
    help="An attribute of whom the row is about; kept for analysis, never sent to the model.",
)  # fmt: skip
@click.option("--request-id", help="Your own name for the request.")
@click.option(
    "--deadline-ms", type=click.IntRange(min=1), metavar="MS",
    help="How long the answer may take; after that 504.",
)  # fmt: skip
@click.option("--url", help="Data address (default: the server that runs here, or REDPOLL_URL).")
@with_face
def predict(
    face: Face, model: str, rows: str, groups: tuple[str, ...], url: str | None, **options: Any
) -> None:
    """Ask MODEL about one row, or a list of rows: {"age": 41} or [{"age": 41}, …]."""
    named = dict(_pair(group) for group in groups)
    asked = _rows(rows)
    with face.client(url) as client:
        answer = client.predict(model, asked, groups=named, **options)
    document = {
        "prediction_id": answer.id,
        "version": answer.version,
        "decided_by": answer.decided_by,
        "rows": list(answer.rows),
    }
    face.out.result(document, "\n".join(json.dumps(row) for row in answer.rows))
    if not face.out.as_json:
        face.out.say(f"answered by {answer.version} ({answer.decided_by}), prediction {answer.id}")


@click.group(cls=Commands)
def outcome() -> None:
    """What happened after predictions."""


@outcome.command()
@click.argument("file", type=click.Path())
@click.option("--model", help="Where the lines say a request_id and no model.")
@click.option("--name", help="Where the lines do not say the outcome's name.")
@click.option("--map", "mapping", metavar="FIELD=COLUMN,…", help="Which column holds which field.")
@click.option("--url", help="Data address (default: the server that runs here, or REDPOLL_URL).")
@with_face
def send(
    face: Face,
    file: str,
    model: str | None,
    name: str | None,
    mapping: str | None,
    url: str | None,
) -> int:
    """Send the outcomes of FILE (NDJSON, CSV or Parquet; - is NDJSON on stdin).

    Safe to repeat: a line's id follows from the file, and duplicates are settled. Exit code 1 when
    a line was refused.
    """
    if file != "-" and not Path(file).is_file():
        raise click.UsageError(f"there is no file {file}")
    fixed = {key: value for key, value in (("model", model), ("name", name)) if value}
    columns = dict(_pair(pair) for pair in mapping.split(",")) if mapping else {}
    with face.client(url) as client, _kept(file) as lines:
        receipt = client.outcomes(lines, columns=columns, fixed=fixed)
    for refused in receipt.errors:
        face.out.say(f"line {refused.line}: {refused.message} [{refused.code}]")
    document = {
        "accepted": receipt.accepted,
        "rejected": receipt.rejected,
        "errors": [dataclasses.asdict(error) for error in receipt.errors],
    }
    face.out.result(document, f"{receipt.accepted} accepted, {receipt.rejected} rejected")
    return FAILED if receipt.rejected else OK


@contextlib.contextmanager
def _kept(file: str) -> Iterator[str]:
    """The file's path; of stdin a copy, so that its lines have the ids that a file's would."""
    if file != "-":
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stdin.ndjson"
        with copy.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        yield str(copy)


def _rows(given: str) -> Any:
    if given == "-":
        text = sys.stdin.read()
    elif given.startswith("@"):
        text = Path(given[1:]).read_text()
    else:
        text = given
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"the rows are no JSON: {error}") from None
    if isinstance(rows, dict) and set(rows) == {"rows"}:
        rows = rows["rows"]
    if not isinstance(rows, dict) and not (
        isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    ):
        raise click.UsageError('give one object, or a list of objects: {"age": 41}')
    return rows


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise click.UsageError(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()
