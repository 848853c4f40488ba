"""``redpoll log tail``: the newest facts, then those that come, as JSON lines."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from redpoll import facts
from redpoll.clock import SystemClock, hour
from redpoll.errors import RedpollError, closest
from redpoll.facts import Entry
from redpoll.host.paths import DataDir
from redpoll.journal.final import Final
from redpoll.journal.follower import FileFollower
from redpoll.journal.layout import Layout
from redpoll.journal.query import Result, asked
from redpoll.journal.reader import wanted
from redpoll.journal.wal import WalReader

POLL_S = 0.2
RECENT_US = 2 * 3_600_000_000


def lines(
    data_dir: DataDir | Path | str,
    *,
    kinds: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    last: int = 10,
    follow: bool = True,
) -> Iterator[str]:
    """The ``last`` facts by time, then (``follow``) each as it is written; never ends by itself.

    A line is an object: ``fact``, ``model``, then the fact's columns as the sealed log has them.
    Raises ``RedpollError`` RP-302 where a kind is unknown or no journal is there.
    """
    for kind in kinds or ():
        if kind not in facts.NAMES:
            known = ", ".join(facts.NAMES)
            raise RedpollError(
                "RP-302",
                f"{kind!r} is no fact; there are {known}.{closest(kind, facts.NAMES)}",
            )
    layout = Layout(data_dir)
    heads = _heads(layout)
    for one in _newest(layout, kinds or facts.NAMES, models, last, heads):
        yield msgspec.json.encode(one).decode()
    if follow:
        yield from _follow(layout, heads, kinds, models)


def _heads(layout: Layout) -> dict[str, int]:
    """The last position of every stream, now. Write-ahead files first: see ``reader``."""
    heads: dict[str, int] = {}
    for stream, files in layout.wals().items():
        for file in files:
            try:
                reader = WalReader(file, wanted(-1, (), None, raw=False))
            except FileNotFoundError:
                continue
            reader.batch(1)
            reader.close()
            heads[stream] = max(heads.get(stream, -1), reader.sequence)
    for segment in layout.segments():
        heads[segment.stream] = max(heads.get(segment.stream, -1), segment.last)
    return heads


def _newest(
    layout: Layout,
    kinds: Sequence[str],
    models: Sequence[str] | None,
    last: int,
    heads: dict[str, int],
) -> list[dict[str, Any]]:
    if last <= 0:
        return []
    recent = hour(SystemClock().now_us() - RECENT_US)

    def use(run: Callable[[str], Result]) -> list[dict[str, Any]]:
        some: list[dict[str, Any]] = []
        for since in (recent, ""):  # two hours first: a long log is not read for its last lines
            some = []
            for kind in kinds:
                condition = f"hour >= '{since}'"
                if models is not None:
                    names = ", ".join("'" + model.replace("'", "''") + "'" for model in models)
                    condition += f" AND model IN ({names or 'NULL'})"
                order = "ORDER BY time DESC, sequence DESC"
                for found in run(f"FROM {kind} WHERE {condition} {order} LIMIT {last}").objects():
                    found.pop("hour")
                    some.append({"fact": kind, "model": found.pop("model"), **found})
            if len(some) >= last:
                break
        return some

    some = asked(layout.data, kinds, use)
    # What was written after the heads were taken comes with what follows.
    some = [one for one in some if one["sequence"] <= heads.get(one["stream"], -1)]
    return sorted(some, key=lambda one: (one["time"], one["stream"], one["sequence"]))[-last:]


def _follow(
    layout: Layout,
    heads: dict[str, int],
    kinds: Sequence[str] | None,
    models: Sequence[str] | None,
) -> Iterator[str]:
    follower = FileFollower(layout, heads, SystemClock(), raw=True)
    final = Final(layout.data)
    try:
        while True:
            entries = follower.poll()
            final.refresh()
            for entry in entries:
                kind = type(entry.fact).__name__.lower()
                if (kinds is None or kind in kinds) and (models is None or entry.model in models):
                    yield line(entry, final)
            if not entries:
                time.sleep(POLL_S)
    finally:
        follower.close()


def line(entry: Entry, final: Final) -> str:
    """One fact as a JSON object, like a row of the sealed log."""
    kind = type(entry.fact).__name__.lower()
    row = facts.row(msgspec.structs.replace(entry, fact=final.fact(entry)))
    for name, declared in (facts.COMMON | facts.COLUMNS[kind]).items():
        if declared.startswith("timestamp"):
            row[name] = _moment(row[name])
        elif isinstance(row[name], bytes):
            row[name] = base64.b64encode(row[name]).decode()
    return msgspec.json.encode({"fact": kind, "model": entry.model, **row}).decode()


def _moment(time_us: int) -> str:
    """RFC 3339 with microseconds, as ``log query`` writes it."""
    seconds, rest = divmod(time_us, 1_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:06d}Z"
