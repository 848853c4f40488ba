"""``redpoll status``: every model in a line."""

from __future__ import annotations

import time
from typing import Any

import click

from redpoll.cli.face import Face, with_face
from redpoll.cli.output import clock, milliseconds, rate, seconds, share, table
from redpoll.client import ClientError

WATCH_S = 1.0
HEADER = ("MODEL", "LIVE", "ROLLOUT", "REQ/S", "ERR", "P95", "UNIT")


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@with_face
def status(face: Face, watch: bool) -> None:
    """Show what is live, what is being rolled out, and how it does."""
    if watch:
        _watch(face)
        return
    reader = face.reader()
    overview = reader.overview()
    face.out.result(overview, text(overview))
    if not reader.running:
        face.out.suggest(f"redpoll serve -c {face.config_path}   # nothing runs here now")
        return
    if not overview["models"]:
        face.out.suggest(f"redpoll apply {face.config_path}")
    for model in overview["models"]:
        rollout = model.get("rollout")
        if rollout and rollout["state"] in ("pending", "running", "paused"):
            face.out.suggest(f"redpoll rollout watch {model['name']}")
            break


def text(overview: dict[str, Any]) -> str:
    """The table and the line below it."""
    rows = [_row(model) for model in overview["models"]]
    lines = [table(HEADER, rows, right=(3, 4, 5, 6))] if rows else ["no models yet"]
    needs = [model["needs"] for model in overview["models"] if model["needs"]]
    lines += [f"! {need}" for need in needs]
    alerts = len(overview["alerts"])
    lost = overview["facts_lost"]
    lines.append(
        f"{alerts} alert{'' if alerts == 1 else 's'} · as of {clock(overview['as_of_us'])} "
        f"({seconds(overview['age_s'])} old) · {lost} facts lost"
    )
    return "\n".join(lines)


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    return (
        model["name"],
        model["live"] or "-",
        _rollout(model),
        rate(model["requests_per_second"]),
        share(model["error_rate"]),
        milliseconds(model["p95_ms"]),
        share(model["unit_share"]),
    )


def _rollout(model: dict[str, Any]) -> str:
    """``v2 10%: no harm seen, about 40 min``; what ended, and when; or nothing."""
    rollout = model.get("rollout")
    if not rollout:
        return "-"
    sentence = rollout["sentence"].rstrip(".")
    for start in (
        f"{rollout['version']} at {share(rollout['weight'])}: ",
        f"{rollout['version']} ",
    ):
        sentence = sentence.removeprefix(start)
    if rollout["state"] == "running":
        return f"{rollout['version']} {share(rollout['weight'])}: {sentence}"
    if rollout["state"] in ("pending", "paused"):
        return f"{rollout['version']} {rollout['state']}: {sentence}"
    words = rollout["state"].replace("_", " ")
    return f"{rollout['version']} {words} {clock(rollout['since_us'])[:5]}: {_short(rollout)}"


def _short(rollout: dict[str, Any]) -> str:
    """Why it ended: the failed gate's sentence, else the Decision's."""
    failed = [g["sentence"] for g in rollout["gates"] if g["answer"] == "fail"]
    return str(failed[0] if failed else rollout["sentence"]).rstrip(".")


def _watch(face: Face) -> None:
    reader = face.reader()
    last = None
    live = None
    if face.out.live:
        from rich.live import Live
        from rich.text import Text

        live = Live(refresh_per_second=4)
        live.start()
    try:
        while True:
            try:
                overview = reader.overview()
                said = text(overview)
            except ClientError as error:
                if error.status:
                    raise
                said = str(error)  # it may be restarting
                overview = {"error": error.message, "code": error.code}
            if live is not None:
                live.update(Text(said))
            elif said != last:
                face.out.item(overview, said)
            last = said
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return
    finally:
        if live is not None:
            live.stop()
