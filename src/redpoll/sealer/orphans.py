"""Requests whose answer died with its gateway: found, and closed by an ``Answer`` of status lost.

A crashing candidate must not delete its own evidence. The requests of a stream that wait for their
live answer are kept as they go by; what a sealer that was killed had known stands in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pyarrow.parquet as pq

from redpoll.clock import hour
from redpoll.facts import Answer, Entry, Request
from redpoll.journal.bulk import Part
from redpoll.journal.layout import Layout, Wal
from redpoll.journal.reader import sealed, wanted
from redpoll.journal.wal import WalReader

KINDS = ("request", "answer")
UNKNOWN_VERSION = "_"

# Prediction id -> (model, request or, from the ledger, its assigned version, time of the request).
Open = dict[str, tuple[str, Request | str, int]]


def note(waiting: Open, entry: Entry) -> None:
    """Keep a request, or let go of one that has its live answer."""
    fact = entry.fact
    if type(fact) is Request:
        waiting[fact.prediction_id] = (entry.model, fact, entry.time_us)
    elif type(fact) is Answer and fact.role == "live":
        waiting.pop(fact.prediction_id, None)


def note_parts(waiting: Open, parts: Iterable[Part]) -> None:
    """The same for many facts at once, which follow each other in one stream.

    An answer never stands before its request. Of a request that still waits only the version that
    it was assigned to is kept.
    """
    answered: set[str] = set()
    asked: list[Part] = []
    for part in parts:
        if part.kind is Request:
            asked.append(part)
        elif part.kind is Answer:
            roles = zip(part.field("prediction_id"), part.field("role"), strict=True)
            answered.update(number for number, role in roles if role == "live")
    for part in asked:
        draws, requested = part.field("draws"), part.field("version_requested")
        for at, number in enumerate(part.field("prediction_id")):
            if number not in answered:
                version = _assigned(draws[at], requested[at])
                waiting[number] = (part.model, version, part.times_us[at])
    for number in answered & waiting.keys():
        del waiting[number]


def assigned_version(request: Request | str) -> str:
    """The version that a request was assigned to: the choice of its last draw ``route``."""
    if isinstance(request, str):
        return request
    return _assigned(request.draws, request.version_requested)


def _assigned(draws: str, requested: str | None) -> str:
    try:
        for draw in reversed(json.loads(draws)):
            if draw["purpose"] == "route":
                return str(draw["choice"])
    except (ValueError, TypeError, KeyError):
        pass  # redpoll writes draws itself; whatever this is, the request must still be closed
    return requested or UNKNOWN_VERSION


def scan(waiting: Open, files: Sequence[Wal]) -> int:
    """Fold the requests and answers of whole files, headers only; the time of the last frame."""
    time_us = 0
    for file in files:
        reader = WalReader(file, wanted(-1, KINDS, None, raw=False))
        try:
            while found := reader.batch(10_000):
                for entry in found:
                    note(waiting, entry)
            time_us = max(time_us, reader.time_us)
        finally:
            reader.close()
    return time_us


def scan_sealed(layout: Layout, stream: str, before: int) -> Open:
    """What a stream's sealed files leave waiting, up to sequence ``before``.

    For a stream that the ledger does not know (it was lost): reads all of it.
    """
    waiting: Open = {}
    segments = [s for s in layout.segments(KINDS) if s.stream == stream and s.first < before]
    for entry in sealed(segments, -1, raw=False):
        if entry.sequence < before:
            note(waiting, entry)
    return waiting


def lost(waiting: Open, died_us: int) -> Iterable[tuple[str, Answer]]:
    """Model and answer for each request that waits in vain."""
    for prediction_id, (model, request, time_us) in waiting.items():
        yield (
            model,
            Answer(
                prediction_id=prediction_id,
                version=assigned_version(request),
                role="live",
                status="lost",
                latency_us=max(0, died_us - time_us),
            ),
        )


def closed_already(layout: Layout, waiting: Open) -> set[str]:
    """Those that a sealer which was killed thereafter has closed already."""
    models = sorted({model for model, _, _ in waiting.values()})
    since = hour(min(time_us for _, _, time_us in waiting.values()))
    found: set[str] = set()
    # Write-ahead files first: one that goes meanwhile is in the segments that are listed next.
    for stream, files in layout.wals().items():
        if stream.startswith("sealer-"):
            found |= _answered(files, models)
    for segment in layout.segments(("answer",), models, role="sealer", since_hour=since):
        column = pq.read_table(segment.path, columns=["prediction_id"], partitioning=None)
        found |= set(column.column(0).to_pylist())
    return found & waiting.keys()


def _answered(files: Sequence[Wal], models: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for file in files:
        try:
            reader = WalReader(file, wanted(-1, ("answer",), models, raw=False))
        except FileNotFoundError:
            continue
        try:
            while entries := reader.batch(10_000):
                found |= {e.fact.prediction_id for e in entries if isinstance(e.fact, Answer)}
        finally:
            reader.close()
    return found
