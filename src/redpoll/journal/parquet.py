"""Sealed files: Parquet with the final columns of one fact, that any engine reads.

Every column of the fact with its final type, every time; ``model`` and ``hour`` are in the path
only (pandas cannot read a folder whose partition column is in the files too). Prediction ids are
36-character strings in ``DELTA_BYTE_ARRAY``: the UUID type is not read everywhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from redpoll import facts
from redpoll.facts import Entry
from redpoll.journal import formats, trailer
from redpoll.journal.bulk import Column, Part
from redpoll.journal.layout import Layout, Segment, sync_folder
from redpoll.journal.trailer import Origin

ROWS_MAX = 100_000  # of a segment
BATCH = 8192
COMPRESSION = "zstd"

Row = tuple[Any, ...]
_log = logging.getLogger("redpoll.journal")


class Final(Protocol):
    """What :class:`redpoll.journal.final.Final` does: facts with their final columns."""

    def fields(self, part: Part) -> Sequence[Column]:
        """Of many facts of one kind and model, by field."""
        ...


_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "json": pa.string(),
    "binary": pa.binary(),
    "bool": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "timestamp[us, UTC]": pa.timestamp("us", tz="UTC"),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}
_IDS = ("prediction_id", "outcome_id", "review_id", "decision_id")
# Columns whose values hardly ever repeat: a dictionary of them would only cost.
_DISTINCT = {*_IDS, "request_id", "trace_id", "inputs", "outputs", "body", "evidence", "cursors"}
_BODIES = {"inputs", "outputs", "body", "draws", "evidence", "cursors", "groups", "labels"}
# Columns made of raw bodies, and what stands in their place where bodies are not wanted.
OF_BODIES = {"inputs": None, "body": None, "encoding": None, "outputs": None, "reported": "{}"}
_KIND = dict(zip(facts.NAMES, facts.KINDS, strict=True))


def _schema(kind: str) -> pa.Schema:
    fields = []
    for name, declared in (facts.COMMON | facts.COLUMNS[kind]).items():
        fields.append(pa.field(name, _TYPES[declared.rstrip("?")], nullable=declared.endswith("?")))
    return pa.schema(fields)


SCHEMAS: dict[str, pa.Schema] = {kind: _schema(kind) for kind in facts.NAMES}


def row(entry: Entry, fact: facts.Fact) -> Row:
    """A sealed row, in the order of the schema. ``fact`` has its final columns."""
    return (
        entry.stream,
        entry.sequence,
        entry.time_us,
        entry.schema,
        *msgspec.structs.astuple(fact),
    )


def batch(kind: str, rows: Sequence[Row]) -> tuple[pa.RecordBatch, list[Row]]:
    """Rows as Arrow, and those that do not fit the columns (a number too large, a null too many)."""
    schema = SCHEMAS[kind]
    try:
        return _batch(schema, rows), []
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        good, bad = [], []
        for one in rows:
            try:
                _batch(schema, [one])
                good.append(one)
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                bad.append(one)
        return _batch(schema, good), bad


def _batch(schema: pa.Schema, rows: Sequence[Row]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return of_columns(schema, list(columns))


def of_columns(schema: pa.Schema, columns: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Columns of Python values, in the order of the schema, as Arrow.

    Raises ``ArrowException``, ``OverflowError``, ``TypeError`` or ``ValueError`` where a value does
    not fit its column.
    """
    arrays = []
    for field, values in zip(schema, columns, strict=True):
        array = _array(values, field.type)
        if array.null_count and not field.nullable:
            raise ValueError(f"{field.name} must not be null")
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    count = len(values)
    # Most columns of a batch hold one value throughout (stream, arm, version, draws …).
    if count > 2 and values[0] == values[-1] == values[1] and values.count(values[0]) == count:
        if pa.types.is_map(kind):
            return pa.concat_arrays([_map(values[:1], kind)] * count)
        return pa.repeat(pa.scalar(values[0], kind), count)
    return _map(values, kind) if pa.types.is_map(kind) else pa.array(values, kind)


def _map(values: Sequence[dict[str, str] | None], kind: pa.DataType) -> pa.Array:
    if None in values:
        return pa.array([None if v is None else list(v.items()) for v in values], kind)
    filled = [value for value in values if value is not None]
    offsets = pa.array([0, *accumulate(map(len, filled))], pa.int32())
    keys = pa.array(list(chain.from_iterable(filled)), kind.key_type)
    items = pa.array([item for value in filled for item in value.values()], kind.item_type)
    return pa.MapArray.from_arrays(offsets, keys, items)


class SegmentWriter:
    """Collects the facts of one stream, kind, model and hour, and writes them as segments.

    ``misfits`` counts those that fit no columns: they are left out, and said.
    """

    def __init__(
        self, layout: Layout, final: Final, stream: str, kind: str, model: str, hour: str
    ) -> None:
        self.misfits = 0
        self.written: list[Segment] = []
        self._layout = layout
        self._final = final
        self._name = Segment(stream, 0, 0, kind, model, hour, "")
        self._batches: list[pa.RecordBatch] = []
        self._count = 0

    def add(self, part: Part) -> None:
        """More facts, in order of sequence."""
        if self._count + len(part) > ROWS_MAX:
            self._write()  # never the last rows: what comes with finish says their origin
        try:
            made = of_columns(
                SCHEMAS[self._name.kind],
                [
                    [self._name.stream] * len(part),
                    part.sequences,
                    part.times_us,
                    part.schemas,
                    *self._final.fields(part),
                ],
            )
        except Exception:  # one of them: it must not keep the others out
            if len(part) > 1:
                for half in part.halves():
                    self.add(half)
                return
            where = f"fact {part.sequences[0]} of {self._name.stream}"
            _log.exception("%s could not be sealed", where)
            self.misfits += 1
            return
        self._batches.append(made)
        self._count += len(part)

    def finish(self, origin: Origin | None = None) -> None:
        """Write what is left. ``written`` are the segments that now are in place."""
        self._write(() if origin is None else (origin,))

    def _write(self, origins: Sequence[Origin] = ()) -> None:
        if self._count:
            table = pa.Table.from_batches(self._batches).combine_chunks()
            self.written.append(write(self._layout, self._name, table, origins))
        self._batches, self._count = [], 0


def write(
    layout: Layout,
    name: Segment,
    table: pa.Table,
    origins: Sequence[Origin] = (),
    folder: Path | None = None,
) -> Segment:
    """Put a segment in place: a temporary name, synced, renamed, its folder synced.

    ``folder``: there, and not in its partition.

    ``first`` and ``last`` are taken from the table. Writing the same again replaces the file by
    an equal one: that is how sealing goes on after it was killed.
    """
    sequences = table.column("sequence")
    segment = name._replace(first=sequences[0].as_py(), last=sequences[-1].as_py())
    path = layout.segment_path(segment)
    if folder is not None:
        path = folder / path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.tmp")
    try:
        with hidden.open("w+b") as file:
            pq.write_table(
                table.replace_schema_metadata(trailer.metadata(origins)),
                file,
                row_group_size=ROWS_MAX,
                **options(table.schema),
            )
            trailer.guard(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        hidden.unlink(missing_ok=True)  # a full disk needs the room
        raise
    hidden.rename(path)
    sync_folder(path.parent)
    return segment._replace(path=str(path))


def options(schema: pa.Schema) -> dict[str, Any]:
    """How columns are encoded and compressed."""
    return {
        "compression": COMPRESSION,
        "use_dictionary": [c for c in _leaves(schema) if c not in _DISTINCT],
        "column_encoding": {c: "DELTA_BYTE_ARRAY" for c in schema.names if c in _IDS},
        "write_statistics": [c for c in schema.names if c not in _BODIES],
    }


def _leaves(schema: pa.Schema) -> Iterable[str]:
    """Columns that a dictionary may help: strings, also those in a map."""
    for field in schema:
        if pa.types.is_map(field.type):
            yield from (f"{field.name}.key_value.key", f"{field.name}.key_value.value")
        elif field.type == pa.string():
            yield field.name


def damage(path: Path | str) -> str:
    """Why a sealed file is not as it was written; empty where it is. RP-310: a newer redpoll's.

    A file of format 1 has no checksum: it is only looked at whether all of it can be read.
    """
    found = trailer.problem(path)
    if found:
        return found
    try:
        with pq.ParquetFile(path) as file:
            said = trailer.about(file.metadata.metadata).format
            if said > formats.FORMAT:
                raise formats.newer(path, said)
            if trailer.guarded(path):
                return ""
            if said > 1:
                return "its checksum is damaged"
            for _ in file.iter_batches(BATCH):
                pass
    except (pa.ArrowException, OSError) as error:
        return f"it cannot be read: {error}"
    return ""


def entries(segment: Segment, after: int, raw: bool) -> Iterator[Entry]:
    """The facts of a segment behind ``after``. ``FileNotFoundError`` where it has gone.

    RP-310 where a newer redpoll sealed it. A column that an older one did not know has its default.
    ``raw=False`` leaves out what was made of bodies (:data:`OF_BODIES`).
    """
    kind = _KIND[segment.kind]
    bodies = () if raw else tuple(OF_BODIES)
    with pq.ParquetFile(segment.path) as file:
        said = trailer.about(file.metadata.metadata).format
        if said > formats.FORMAT:
            raise formats.newer(segment.path, said)
        names = [name for name in file.schema_arrow.names if name not in bodies]
        for part in file.iter_batches(BATCH, columns=names):
            columns = [_values(part, kind, name) for name in SCHEMAS[segment.kind].names]
            for stream, sequence, time_us, schema, *fields in zip(*columns, strict=True):
                if sequence > after:
                    yield Entry(stream, sequence, time_us, schema, segment.model, kind(*fields))


def _values(part: pa.RecordBatch, kind: type[facts.Fact], name: str) -> list[Any]:
    """A column as Python values: times in µs, maps as dictionaries."""
    if name not in part.schema.names:
        absent = OF_BODIES[name] if name in OF_BODIES else _default(kind, name)
        return [absent] * part.num_rows
    column = part.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type):
        return [None if pairs is None else dict(pairs) for pairs in values]
    return values


def defaults(kind: str, name: str, count: int) -> list[Any]:
    """A column that an older redpoll did not know, as often as there are rows."""
    absent = _default(_KIND[kind], name)
    return [list(absent.items()) if isinstance(absent, dict) else absent] * count


def _default(kind: type[facts.Fact], name: str) -> Any:
    (field,) = [one for one in msgspec.structs.fields(kind) if one.name == name]
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def sync_tree(layout: Layout, segments: Iterable[Segment]) -> None:
    """Make the names of the folders that hold these segments durable, up to the journal's own."""
    folders = set()
    for segment in segments:
        folder = layout.segment_path(segment).parent
        folders |= {folder.parent, folder.parent.parent}
    for folder in {*folders, layout.root}:
        sync_folder(folder)
