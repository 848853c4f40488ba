"""The newest facts of one sealed file that say what is looked for."""

from __future__ import annotations

import calendar
import functools
import time as clock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpoll import facts
from redpoll.facts import Entry
from redpoll.journal.layout import Segment
from redpoll.journal.wanted import Key, Row, Wanted, key_of

BODIES = ("inputs", "body", "encoding", "outputs", "reported")
BODIES_AT_ONCE = 64  # rows whose bodies are in memory at a time: each may have megabytes
HOUR_US = 3_600_000_000
_KIND = dict(zip(facts.NAMES, facts.KINDS, strict=True))


class Damaged(Exception):
    """A sealed file that cannot be read; the text is its path."""


@functools.lru_cache(maxsize=16_384)  # what is sealed does not change
def span_us(segment: Segment) -> tuple[int, int]:
    """The times of its oldest and youngest fact, from its footer.

    ``FileNotFoundError`` where it has gone.
    """
    try:
        return _span_us(segment)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        return _hour_us(segment)  # who opens it is told


def _span_us(segment: Segment) -> tuple[int, int]:
    with pq.ParquetFile(segment.path, memory_map=True) as file:
        # A map is two leaves, but all of them stand behind the common columns: the index is right.
        at = file.schema_arrow.names.index("time")
        oldest, newest = [], []
        for index in range(file.metadata.num_row_groups):
            statistics = file.metadata.row_group(index).column(at).statistics
            if statistics is None or not statistics.has_min_max:
                return _hour_us(segment)
            oldest.append(int(statistics.min_raw))
            newest.append(int(statistics.max_raw))
    return min(oldest, default=0), max(newest, default=0)


def rows(segment: Segment, wanted: Wanted, after: Key | None, limit: int) -> tuple[list[Row], int]:
    """The newest ``limit`` rows behind ``after``, newest first, and how many facts were looked at.

    ``FileNotFoundError`` where the file has gone, :class:`Damaged` where it cannot be read.
    """
    try:
        return _rows(segment, wanted, after, limit)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise Damaged(segment.path) from error


def _rows(segment: Segment, wanted: Wanted, after: Key | None, limit: int) -> tuple[list[Row], int]:
    columns = facts.COLUMNS[wanted.kind]
    with pq.ParquetFile(segment.path, memory_map=True) as file:
        looked = file.metadata.num_rows
        keys = file.read(columns=["sequence", "time", *wanted.texts], use_threads=False)
        chosen = _chosen(keys, segment.stream, wanted, after, limit)
        if not chosen:
            return [], looked
        plain = [name for name in (*facts.COMMON, *columns) if name not in BODIES]
        found = file.read(columns=plain, use_threads=False).take(pa.array(chosen))
        values = {name: _values(found.column(name)) for name in plain}
        heavy = [name for name in columns if name in BODIES and wanted.bodies]
        values |= _bodies(file, heavy, chosen)
    made = []
    for at in range(len(chosen)):
        fact = _KIND[wanted.kind](**{name: values[name][at] for name in columns if name in values})
        entry = Entry(
            segment.stream,
            values["sequence"][at],
            values["time"][at],
            values["schema"][at],
            segment.model,
            fact,
        )
        made.append((key_of(entry), entry))
    return sorted(made, key=lambda row: row[0]), looked


def _chosen(
    keys: pa.Table, stream: str, wanted: Wanted, after: Key | None, limit: int
) -> list[int]:
    """Which rows of the file: in order of time, as they stand."""
    time = keys.column("time").cast(pa.int64())
    mask = pc.and_(
        pc.greater_equal(time, wanted.since_us), pc.less(time, min(wanted.until_us, 2**62))
    )
    for name, allowed in wanted.texts.items():
        among = pc.is_in(keys.column(name), value_set=pa.array(sorted(allowed), pa.string()))
        mask = pc.and_(mask, among)
    if after is not None:
        mask = pc.and_(mask, _behind(keys.column("sequence"), time, stream, after))
    places = pc.indices_nonzero(mask.combine_chunks())
    return [int(place) for place in places.to_pylist()[-limit:]]


def _behind(sequence: Any, time: Any, stream: str, after: Key) -> Any:
    at_us, at_stream, at_sequence = -after[0], after[1], -after[2]
    if stream > at_stream:
        return pc.less_equal(time, at_us)
    earlier = pc.less(time, at_us)
    if stream < at_stream:
        return earlier
    same = pc.and_(pc.equal(time, at_us), pc.less(sequence, at_sequence))
    return pc.or_(earlier, same)


def _bodies(file: pq.ParquetFile, names: list[str], chosen: list[int]) -> dict[str, list[Any]]:
    """Bodies of a few rows, without having all of them in memory."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    begin, left = 0, list(chosen)
    if not names:
        return {}
    for part in file.iter_batches(BODIES_AT_ONCE, columns=names, use_threads=False):
        end = begin + part.num_rows
        while left and left[0] < end:
            at = left.pop(0) - begin
            for name in names:
                found[name].append(part.column(name)[at].as_py())
        if not left:
            break
        begin = end
    return found


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column as facts have it: times in µs, maps as dictionaries."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type):
        return [{} if pairs is None else dict(pairs) for pairs in values]
    return values


def _hour_us(segment: Segment) -> tuple[int, int]:
    start_us = calendar.timegm(clock.strptime(segment.hour, "%Y-%m-%dT%H")) * 1_000_000
    return start_us, start_us + HOUR_US
