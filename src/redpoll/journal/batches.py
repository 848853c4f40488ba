"""Parquet files of facts batch by batch: memory is bounded by one row group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from redpoll.journal import parquet, trailer

GROUP_BYTES = 64 << 20  # in memory, of a row group


class Groups:
    """Holds batches until a row group is full, then writes it."""

    def __init__(self, file: BinaryIO | Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema, **parquet.options(schema))
        self._schema = schema
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch of the schema."""
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= parquet.ROWS_MAX or self._bytes >= GROUP_BYTES:
            self._group()

    def close(self) -> None:
        """Write what is held, and the footer."""
        try:
            self._group()
        finally:
            self._writer.close()

    def _group(self) -> None:
        held, self._held, self._rows, self._bytes = self._held, [], 0, 0
        if held:
            table = pa.Table.from_batches([one.cast(self._schema) for one in held])
            self._writer.write_table(table, row_group_size=parquet.ROWS_MAX)


@contextmanager
def sealed_file(path: Path, kind: str, metadata: dict[bytes, bytes]) -> Iterator[Groups]:
    """Write a sealed file: with its checksum, synced, under its name only when it is whole."""
    hidden = path.with_name(f".{path.name}.tmp")
    try:
        with hidden.open("w+b") as file:
            groups = Groups(file, parquet.SCHEMAS[kind].with_metadata(metadata))
            try:
                yield groups
            finally:
                groups.close()
            trailer.guard(file)
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def current(kind: str, part: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with all columns that the fact has now: those of an older redpoll lack some."""
    schema = parquet.SCHEMAS[kind]
    if part.schema.names == schema.names:
        return part
    columns = [
        part.column(field.name)
        if field.name in part.schema.names
        else pa.array(parquet.defaults(kind, field.name, part.num_rows), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
