"""What changed between what the catalog holds and what a file says: in words, and what may not."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from redpoll.catalog import Model, Record, Server, Version
from redpoll.views import ApplyLine

# How settings are called in the file, where a record calls them otherwise.
_FILE_NAMES = {
    "load_s": "load",
    "kill_after_s": "kill_after",
    "memory_bytes": "memory",
    "log_level": "log.level",
    "log_format": "log.format",
    "drain_s": "drain",
}
_OPERATIONAL = (
    "workers",
    "threads",
    "load_s",
    "kill_after_s",
    "timeout_ms",
    "pool",
    "resend",
    "folder",
    "python",
    "batch",
    "providers",
    "memory_bytes",
    "warm_up",
)
_MODEL = (
    "unit",
    "unit_from",
    "unit_missing",
    "inputs",
    "output",
    "tensor",
    "groups",
    "redact",
    "limits",
    "capture",
    "outcomes",
    "rollout",
)
# While a rollout runs these decide who is drawn and what is tested: another value breaks both.
_FIXED_WHILE_RUNNING = ("unit", "unit_from", "unit_missing")
_TRAILING = re.compile(r"(\d+)\Z")


def server_lines(running: Server, wanted: Server) -> list[ApplyLine]:
    """What of ``[server]`` takes effect only when the server is started again."""
    return [
        ApplyLine(
            sentence=f"server: {words}; this wants a restart of `redpoll serve`", action="restart"
        )
        for words in _differences(running, wanted, Server.__struct_fields__)
    ]


def data_dir_line(running: str, wanted: str) -> ApplyLine:
    """A server cannot move to another data folder while it runs."""
    return ApplyLine(
        sentence=f"data_dir {running} → {wanted}; this wants a restart of `redpoll serve`",
        action="restart",
    )


def model_words(before: Model, after: Model, active: str | None) -> list[str]:
    """Changed settings of a model. ``active``: the id of the rollout that runs."""
    words = _differences(before, after, _MODEL)
    if active and before.rollout != after.rollout:
        words = [
            f"{each} (from the next one on; {active} keeps the plan that it started with)"
            if each.startswith("rollout")
            else each
            for each in words
        ]
    return words


def model_refusals(before: Model, after: Model, active: str | None) -> list[str]:
    """Settings that must not change while a rollout runs."""
    if not active:
        return []
    return [
        f"{after.name}: {words}, and {active} runs: who is drawn must stay as it is while it is "
        "tested; wait for its end, or abort it first"
        for words in _differences(before, after, _FIXED_WHILE_RUNNING)
    ]


def version_words(before: Version, after: Version) -> list[str]:
    """Changed settings of a version that leave its answers as they are."""
    return _differences(before, after, _OPERATIONAL)


def version_refusal(model: str, before: Version, after: Version, taken: Collection[str]) -> str:
    """Why a version's name cannot get another meaning; empty where it keeps its own."""
    changed = ""
    if before.kind != after.kind or (
        not after.file and before.backend.rstrip("/") != after.backend.rstrip("/")
    ):
        changed = f'its backend was "{before.backend}" and now is "{after.backend}"'
    elif before.method != after.method:
        was, now = before.method or "predict", after.method or "predict"
        changed = f"its method was {was} and now is {now}"
    elif before.artifact != after.artifact:
        changed = f"{after.backend.partition(':')[2]} has other bytes than when it was added"
    elif before.file_digests != after.file_digests:
        names = sorted(
            name
            for name in before.file_digests.keys() | after.file_digests.keys()
            if before.file_digests.get(name) != after.file_digests.get(name)
        )
        changed = f"its side files changed ({', '.join(names[:3])}{'…' if names[3:] else ''})"
    if not changed:
        return ""
    name = next_name(after.name, taken)
    return (
        f"{model} {after.name}: {changed}; a version never changes its answers, so that evidence "
        f"and records stay true: add it as {name} ([models.{model}.versions.{_quoted(name)}]) and "
        f'set live = "{name}"'
    )


def next_name(name: str, taken: Collection[str]) -> str:
    """A free name behind this one: v1 → v2, 1.9 → 1.10, blue → blue-2."""
    stem, number = name, 1
    found = _TRAILING.search(name)
    if found and len(found[1]) < 10:
        stem, number = name[: found.start()], int(found[1])
    else:
        stem = f"{name}-"
    while True:
        number += 1
        if f"{stem}{number}" not in taken:
            return f"{stem}{number}"


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name


def _differences(before: Record, after: Record, fields: Collection[str]) -> list[str]:
    return [
        _difference(field, getattr(before, field), getattr(after, field))
        for field in fields
        if getattr(before, field) != getattr(after, field)
    ]


def _difference(field: str, before: Any, after: Any) -> str:
    name = _FILE_NAMES.get(field, field)
    if isinstance(before, Record) and isinstance(after, Record):
        inner = [
            field
            for field in after.__struct_fields__
            if getattr(before, field) != getattr(after, field)
        ]
        return f"{name} changed ({', '.join(_plain(field) for field in inner)})"
    if _short(before) and _short(after):
        unit = "s" if field.endswith("_s") else ""
        return f"{name} {_show(before)}{unit} → {_show(after)}{unit}"
    return f"{name} changed"


def _plain(field: str) -> str:
    return field.removesuffix("_s")


def _short(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
