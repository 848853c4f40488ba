"""``redpoll log export``: facts, sealed and live, as plain files for whoever has no redpoll.

One file a fact, each fact once, with ``model`` and ``hour`` as columns. Memory is bounded by a batch,
and by what is not sealed yet.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpoll import facts
from redpoll.clock import hour
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir
from redpoll.journal import batches, formats, parquet
from redpoll.journal.layout import Layout, Segment, must_exist, steady
from redpoll.journal.query import live_rows, live_table, plain, unsealed
from redpoll.journal.reader import by_stream

FORMATS = ("parquet", "csv", "jsonl")
TRIES = 5  # where files are merged under our hands
_UTC = pa.timestamp("us", tz="UTC")


class Exported(NamedTuple):
    """One file."""

    fact: str
    path: str
    rows: int


class What(NamedTuple):
    """Which facts. Times in µs since the epoch, ``until_us`` left out."""

    kinds: Sequence[str] = facts.NAMES
    models: Sequence[str] | None = None
    since_us: int | None = None
    until_us: int | None = None


EVERYTHING = What()


def export(
    data_dir: DataDir | Path | str,
    to: Path,
    what: What = EVERYTHING,
    form: str = "parquet",
    said: Callable[[str, int], None] | None = None,
) -> tuple[Exported, ...]:
    """Write ``<fact>.<form>`` into the folder ``to``, which must be empty or missing.

    The folder has its name only when all is in it. ``said(fact, rows)`` hears how far it came.
    RP-302: there is no journal; RP-312: the folder is not empty, or cannot be written.
    """
    layout = Layout(data_dir)
    must_exist(layout)
    formats.check(layout.root)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RedpollError(
            "RP-312", f"{to} is there already; nothing is written over: name a new folder."
        )
    hidden = to.parent / f".{to.name}.{os.getpid()}"
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        for turn in range(TRIES):
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir()
            try:
                with steady(layout):
                    done = _Export(
                        layout, hidden, what, form, said or (lambda fact, rows: None)
                    ).run()
                break
            except FileNotFoundError:  # sealed or merged just now: begin again
                if turn == TRIES - 1:
                    raise
        if to.is_dir():
            to.rmdir()
        hidden.rename(to)
    except OSError as error:
        raise RedpollError("RP-312", f"{to} could not be written: {error}.") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return tuple(one._replace(path=str(to / Path(one.path).name)) for one in done)


class _Sink(Protocol):
    def write(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


class _Export:
    def __init__(
        self, layout: Layout, folder: Path, what: What, form: str, said: Callable[[str, int], None]
    ) -> None:
        self._layout = layout
        self._folder = folder
        self._what = what
        self._form = form
        self._said = said

    def run(self) -> list[Exported]:
        what = self._what
        since = "" if what.since_us is None else hour(what.since_us)
        # Live ones first: what has gone from there is in the segments that are listed next.
        live = live_rows(self._layout, what.kinds)
        sealed = self._segments(since)
        done = []
        for kind in what.kinds:
            segments = [s for s in sealed if s.kind == kind]
            path = self._folder / f"{kind}.{self._form}"
            sink = _SINKS[self._form](path, _schema(kind))
            rows = 0
            try:
                fresh = live_table(kind, unsealed(live[kind], segments))
                for batch in self._batches(kind, segments, fresh):
                    sink.write(batch)
                    rows += batch.num_rows
                    self._said(kind, rows)
            finally:
                sink.close()
            if rows:
                done.append(Exported(kind, str(path), rows))
            else:
                path.unlink()
        return done

    def _segments(self, since: str) -> list[Segment]:
        what = self._what
        found = self._layout.segments(what.kinds, what.models, since_hour=since)
        until = None if what.until_us is None else hour(what.until_us - 1)
        return [s for s in found if until is None or s.hour <= until]

    def _batches(
        self, kind: str, segments: Sequence[Segment], live: pa.Table
    ) -> Iterator[pa.RecordBatch]:
        for mine in by_stream(segments).values():
            for segment in mine:
                with pq.ParquetFile(segment.path) as file:
                    for part in file.iter_batches(parquet.BATCH):
                        yield from self._wanted(_placed(batches.current(kind, part), segment))
        for part in live.to_batches(parquet.BATCH):
            yield from self._wanted(part)

    def _wanted(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        what = self._what
        keep = None
        for bound, test in ((what.since_us, pc.greater_equal), (what.until_us, pc.less)):
            if bound is not None:
                found = test(batch.column("time"), pa.scalar(bound, pa.int64()).cast(_UTC))
                keep = found if keep is None else pc.and_(keep, found)
        if what.models is not None:
            found = pc.is_in(batch.column("model"), pa.array(what.models, pa.string()))
            keep = found if keep is None else pc.and_(keep, found)
        batch = batch if keep is None else batch.filter(keep)
        if batch.num_rows:
            yield batch


def _schema(kind: str) -> pa.Schema:
    schema = parquet.SCHEMAS[kind]
    for name in ("model", "hour"):
        schema = schema.append(pa.field(name, pa.string(), nullable=False))
    return schema


def _placed(part: pa.RecordBatch, segment: Segment) -> pa.RecordBatch:
    more = [
        pa.repeat(pa.scalar(one, pa.string()), part.num_rows)
        for one in (segment.model, segment.hour)
    ]
    return pa.RecordBatch.from_arrays([*part.columns, *more], schema=_schema(segment.kind))


class _Csv:
    """RFC 4180, UTF-8; times as RFC 3339, maps as JSON, bytes as base64, no value: empty."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(schema.names)

    def write(self, batch: pa.RecordBatch) -> None:
        """One line a row."""
        columns = [
            [json.dumps(value) if isinstance(value, dict) else value for value in column]
            for column in _plain(batch)
        ]
        self._writer.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Lines:
    """JSON lines; a column that holds JSON is an object or a list here, not text."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file: io.BufferedWriter = path.open("wb")
        self._names = schema.names
        kind = path.name.partition(".")[0]
        declared = facts.COLUMNS[kind]
        self._json = {name for name, said in declared.items() if said.rstrip("?") == "json"}

    def write(self, batch: pa.RecordBatch) -> None:
        """One object a row."""
        columns = [
            [_raw(value) for value in column] if name in self._json else column
            for name, column in zip(self._names, _plain(batch), strict=True)
        ]
        encode = msgspec.json.encode
        self._file.writelines(
            encode(dict(zip(self._names, row, strict=True))) + b"\n"
            for row in zip(*columns, strict=True)
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _plain(batch: pa.RecordBatch) -> list[list[Any]]:
    return [
        [plain(value, field.type) for value in column.to_pylist()]
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]


def _raw(value: str | None) -> Any:
    return None if value is None else msgspec.Raw(value.encode())


_SINKS: dict[str, Callable[[Path, pa.Schema], _Sink]] = {
    "parquet": batches.Groups,
    "csv": _Csv,
    "jsonl": _Lines,
}
