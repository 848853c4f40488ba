"""``redpoll log query``: SQL over all facts, sealed and live, read-only.

One view a fact under its name, with ``model`` and ``hour``. The engine sees the sealed files that
were listed and nothing else of the machine: it can neither read nor write anything beside them.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import decimal
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import duckdb
import pyarrow as pa

from redpoll import facts
from redpoll.clock import hour
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir
from redpoll.journal import formats, parquet
from redpoll.journal.final import Final
from redpoll.journal.layout import Layout, Segment, must_exist, steady
from redpoll.journal.reader import wanted
from redpoll.journal.wal import WalReader

SNAPSHOTS_MAX = 10
T = TypeVar("T")
_READS = {
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.MULTI,  # PIVOT
}
_OPTIONS = (
    "union_by_name = true, hive_partitioning = true, "
    "hive_types = {'model': VARCHAR, 'hour': VARCHAR}"
)
# The columns of the typed tables where there are none yet.
_ROWS = {
    "inputs": "'' AS prediction_id, 0 AS \"row\", now() AS time, '' AS arm, '' AS model, '' AS hour",
    "outputs": "'' AS prediction_id, 0 AS \"row\", now() AS time, '' AS version, '' AS role, "
    "'' AS status, '' AS model, '' AS hour",
}
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?(\([^)]*\)\s*)?", re.IGNORECASE)


class Result(NamedTuple):
    """What a query answers. Values are plain: whatever JSON can hold, times as RFC 3339 text."""

    columns: tuple[str, ...]
    types: tuple[str, ...]  # Arrow's names
    rows: list[tuple[Any, ...]]

    def objects(self) -> list[dict[str, Any]]:
        """One object a row; a column name that comes again gets a number."""
        names: list[str] = []
        for column in self.columns:
            name, number = column, 1
            while name in names:
                name, number = f"{column}_{number}", number + 1
            names.append(name)
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def query(data_dir: DataDir | Path | str, sql: str) -> Result:
    """Run one reading statement over the log in a data folder.

    Raises ``RedpollError`` RP-302: no journal there, not a reading statement, or what DuckDB says.
    """
    words = set(re.findall(r"\w+", sql.lower()))
    dynamic = words & {"query", "query_table"}  # these may make a name while they run
    kinds = [kind for kind in facts.NAMES if kind in words or dynamic]
    return asked(data_dir, kinds, lambda run: run(sql))


def asked(
    data_dir: DataDir | Path | str,
    kinds: Sequence[str],
    use: Callable[[Callable[[str], Result]], T],
) -> T:
    """What ``use`` makes of a snapshot; it is called again where files were merged under it."""
    for _ in range(SNAPSHOTS_MAX - 1):
        with contextlib.suppress(Moved), snapshot(data_dir, kinds) as run:
            return use(run)
    with snapshot(data_dir, kinds) as run:
        return use(run)


class Moved(RedpollError):
    """Sealed files were merged, or removed, between the look at their names and the reading."""


@contextmanager
def snapshot(
    data_dir: DataDir | Path | str, kinds: Sequence[str]
) -> Iterator[Callable[[str], Result]]:
    """The log as it is now, for several queries: a function that runs one.

    Live facts are only there of these ``kinds``: to make them readable costs. :class:`Moved` where a
    sealed file has gone by the time it is read: see :func:`asked`.
    """
    layout = Layout(data_dir)
    must_exist(layout)
    formats.check(layout.root)
    with steady(layout), duckdb.connect(":memory:") as engine:
        live = live_rows(layout, kinds)
        segments = layout.segments()  # after the live ones: what has gone from there is here
        paths = [segment.path for segment in segments]  # and those of the rows
        try:
            _offer(engine, segments, live, layout.data.rows, paths)
        except duckdb.Error as error:
            raise _said(error, paths) from error

        def run(sql: str) -> Result:
            try:
                _check(engine, sql)
                found = engine.sql(sql)
                return (
                    Result((), (), []) if found is None else _plain_result(found.to_arrow_table())
                )
            except duckdb.Error as error:
                raise _said(error, paths) from error

        yield run


def _said(error: duckdb.Error, paths: Sequence[str]) -> RedpollError:
    gone = not all(Path(path).exists() for path in paths)
    return (Moved if gone else RedpollError)("RP-302", f"The query could not be run: {error}")


def _check(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    """One statement, and one that reads: with the file system closed, the second of two locks."""
    statements = engine.extract_statements(sql)
    if len(statements) != 1:
        raise RedpollError(
            "RP-302", f"One statement at a time, please; here are {len(statements)}."
        )
    statement = statements[0]
    inner = [statement]
    if statement.type == duckdb.StatementType.EXPLAIN:
        inner = engine.extract_statements(_EXPLAIN.sub("", sql, count=1))
    if any(one.type not in _READS for one in (statement, *inner)):
        kind = inner[0].type.name if inner else statement.type.name
        raise RedpollError(
            "RP-302",
            f"{kind} is not a reading statement; the log is append-only and is only read here;"
            " start with SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, PIVOT or EXPLAIN.",
        )


class _Live(NamedTuple):
    row: parquet.Row
    model: str
    hour: str


def live_rows(layout: Layout, kinds: Sequence[str]) -> dict[str, list[_Live]]:
    """Every fact of these kinds that stands in a write-ahead file, final, by kind."""
    found: dict[str, list[_Live]] = {kind: [] for kind in facts.NAMES}
    if not kinds:
        return found
    final = Final(layout.data)
    hours: dict[int, str] = {}
    for files in layout.wals().values():
        for file in files:
            try:
                reader = WalReader(file, wanted(-1, kinds, None, raw=True))
            except FileNotFoundError:
                continue  # sealed meanwhile
            try:
                while entries := reader.batch(4096):
                    for entry in entries:
                        at = entry.time_us // 3_600_000_000
                        moment = hours.get(at) or hours.setdefault(at, hour(entry.time_us))
                        fact = final.fact(entry)
                        name = type(fact).__name__.lower()
                        found[name].append(_Live(parquet.row(entry, fact), entry.model, moment))
            finally:
                reader.close()
    return found


def unsealed(live: list[_Live], segments: Sequence[Segment]) -> list[_Live]:
    """Leave out what segments have: one holds all facts of its partition between its ends."""
    ranges: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for s in segments:
        ranges.setdefault((s.stream, s.model, s.hour), []).append((s.first, s.last))
    return [
        one
        for one in live
        if not any(
            first <= one.row[1] <= last
            for first, last in ranges.get((one.row[0], one.model, one.hour), ())
        )
    ]


def _offer(
    engine: duckdb.DuckDBPyConnection,
    segments: Sequence[Segment],
    live: dict[str, list[_Live]],
    rows: Path,
    paths: list[str],
) -> None:
    """Make the views, then close every other door. ``paths``: what may be read; rows come to it."""
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute("SET temp_directory = ''")
    engine.execute("SET python_enable_replacements = false")
    engine.execute("CREATE SCHEMA live")
    for kind in facts.NAMES:
        mine = [segment for segment in segments if segment.kind == kind]
        engine.register("arriving", live_table(kind, unsealed(live[kind], mine)))
        engine.execute(f"CREATE TABLE live.{kind} AS FROM arriving")
        engine.unregister("arriving")
        columns = ", ".join(f'"{name}"' for name in (*parquet.SCHEMAS[kind].names, "model", "hour"))
        select = f"SELECT {columns} FROM live.{kind}"  # noqa: S608 (our own names)
        if mine:
            files = ", ".join(_quoted(segment.path) for segment in mine)
            select += f" UNION ALL SELECT {columns} FROM read_parquet([{files}], {_OPTIONS})"  # noqa: S608
        engine.execute(f"CREATE VIEW {kind} AS {select}")
    _offer_rows(engine, rows, paths)
    engine.execute(f"SET allowed_paths = [{', '.join(map(_quoted, paths))}]")
    engine.execute("SET enable_external_access = false")
    engine.execute("SET lock_configuration = true")


def _offer_rows(engine: duckdb.DuckDBPyConnection, folder: Path, paths: list[str]) -> None:
    """The views `inputs` and `outputs`, of the typed tables that the sealer keeps."""
    for name, columns in _ROWS.items():
        found = sorted(map(str, folder.glob(f"{name}/model=*/hour=*/[!.]*.parquet")))
        paths += found
        select = f"SELECT {columns} WHERE false"
        if found:
            files = ", ".join(map(_quoted, found))
            select = f"SELECT * FROM read_parquet([{files}], {_OPTIONS})"  # noqa: S608
        engine.execute(f"CREATE VIEW {name} AS {select}")


def live_table(kind: str, live: list[_Live]) -> pa.Table:
    """Live rows as Arrow, with ``model`` and ``hour``; what does not fit its columns is left out."""
    made = [
        parquet.batch(kind, [one.row for one in live[at : at + parquet.BATCH]])
        for at in range(0, len(live), parquet.BATCH)
    ]
    bad = {id(row) for _, misfits in made for row in misfits}
    kept = [one for one in live if id(one.row) not in bad] if bad else live
    table = pa.Table.from_batches([one for one, _ in made], schema=parquet.SCHEMAS[kind])
    table = table.append_column("model", pa.array([one.model for one in kept], pa.string()))
    return table.append_column("hour", pa.array([one.hour for one in kept], pa.string()))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain_result(table: pa.Table) -> Result:
    columns = [
        [plain(value, field.type) for value in column.to_pylist()]
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    rows = list(zip(*columns, strict=True))
    return Result(tuple(table.schema.names), tuple(str(f.type) for f in table.schema), rows)


def plain(value: Any, kind: pa.DataType) -> Any:
    """A value of Arrow's as JSON has it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if pa.types.is_map(kind):
        return {str(plain(key, kind.key_type)): plain(each, kind.item_type) for key, each in value}
    if isinstance(value, list):
        return [plain(each, kind.value_type) for each in value]
    if isinstance(value, dict):
        return {name: plain(each, kind.field(name).type) for name, each in value.items()}
    if isinstance(value, decimal.Decimal):
        return int(value) if kind.scale == 0 else float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
