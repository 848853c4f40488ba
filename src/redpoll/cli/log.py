"""``redpoll log …``: the journal, always from its files."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import click

from redpoll import facts
from redpoll.cli.face import Face, with_face
from redpoll.cli.groups import Commands, OneOf
from redpoll.cli.output import table
from redpoll.errors import RedpollError, closest

CELL_WIDTH = 60


@click.group(
    cls=Commands,
    commands_at={
        name: f"redpoll.cli.log_keep:{name}" for name in ("verify", "export", "backup", "restore")
    },
)
def log() -> None:
    """The journal of facts: what was asked, answered, decided."""


@log.command()
@click.argument("sql")
@click.option("--csv", "as_csv", is_flag=True, help="Print the result as CSV.")
@with_face
def query(face: Face, sql: str, as_csv: bool) -> None:
    """Run SQL (DuckDB's) over the log: one table a fact, sealed and live.

    Tables: request, answer, outcome, review, decision, deploy, sample, erase, and inputs and
    outputs, typed and by row; each with its columns, `model` and `hour`. With --json: one array of
    row objects.
    """
    from redpoll.journal.query import query as run

    found = run(face.data, sql)
    if face.out.as_json:
        print(json.dumps(found.objects(), ensure_ascii=False))
    elif as_csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows(found.rows)
        print(text.getvalue(), end="")
    elif found.columns:
        numbers = [
            i for i, kind in enumerate(found.types) if kind.startswith(("int", "uint", "double"))
        ]
        rows = [[_cell(value) for value in row] for row in found.rows]
        print(table(found.columns, rows, right=numbers))
        face.out.say(f"{len(rows)} row{'' if len(rows) == 1 else 's'}")


@log.command()
@click.option(
    "-n", "--last", type=click.IntRange(0, 100_000), default=10, show_default=True,
    metavar="N", help="How many of the newest facts.",
)  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--fact", "kinds", multiple=True, type=OneOf(facts.NAMES), help="Only these.")
@click.option("--model", "models", multiple=True, help="Only of these models.")
@with_face
def tail(
    face: Face, last: int, follow: bool, kinds: tuple[str, ...], models: tuple[str, ...]
) -> None:
    """Print the newest facts, oldest first; with --json a JSON object a line."""
    from redpoll.journal.tail import lines

    check_models(face, models)
    for line in lines(
        face.data, kinds=kinds or None, models=models or None, last=last, follow=follow
    ):
        print(line if face.out.as_json else _fact_line(json.loads(line)), flush=True)


def check_models(face: Face, models: tuple[str, ...]) -> None:
    """RP-102 for a model that is not in the catalog: else its tail is silent for ever."""
    if not models or not face.data.catalog.is_file():
        return
    from redpoll.store.sqlite import SqliteStore

    known = {*SqliteStore(face.data.catalog).read().models, facts.NO_MODEL}
    for model in models:
        if model not in known:
            names = ", ".join(sorted(known - {facts.NO_MODEL})) or "none"
            raise RedpollError(
                "RP-102", f"there is no model {model!r}; there are {names}.{closest(model, known)}"
            )


def _cell(value: Any) -> str:
    """A value in one short line; NULL where there is none."""
    text = "NULL" if value is None else value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= CELL_WIDTH else text[: CELL_WIDTH - 1] + "…"


def _fact_line(fact: dict[str, Any]) -> str:
    """``03:04:09.412 answer churn: …``, with what matters of its kind."""
    kind = fact["fact"]
    moment = str(fact["time"])[11:23]
    head = f"{moment} {kind:8} {fact['model']}"
    match kind:
        case "request":
            to = fact["arm"] if fact["arm"] != "none" else fact["version_requested"] or ""
            words = [fact["prediction_id"], f"rows={fact['rows']}", fact["unit"] or "", to]
        case "answer":
            words = [fact["prediction_id"], fact["version"], fact["role"], fact["status"]]
            words += [fact["error_code"] or "", f"{fact['latency_us'] / 1000:.1f}ms"]
        case "outcome":
            value = fact["value"] if fact["value"] is not None else fact["value_text"]
            words = [fact["prediction_id"] or fact["request_id"], f"{fact['name']}={value}"]
        case "decision":
            words = [fact["subject_id"], fact["action"], f"by {fact['actor']}:", fact["sentence"]]
        case "deploy":
            words = [fact["version"], fact["event"], fact["detail"] or ""]
        case "sample":
            words = [f"{fact['name']}={fact['value']}", json.dumps(fact["labels"])]
        case _:
            rest = {k: v for k, v in fact.items() if k not in (*facts.COMMON, "fact", "model")}
            words = [json.dumps(rest, default=str)]
    return " ".join([head, *(str(word) for word in words if word)])
