"""The typed `rows` tables: what a model declares, a line a row, made of its sealed facts.

``<data_dir>/rows/inputs/model=…/hour=…/`` and ``…/rows/outputs/…`` hold a file for each sealed file
of requests or answers, under its name. They may be deleted: what is missing is made again, what has
lost its sealed file goes. A value that its declared type cannot hold is null.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.parquet as pq

from redpoll.catalog import Model, Output
from redpoll.journal.layout import Layout, Segment, sync_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "256MB"  # of the engine
_log = logging.getLogger("redpoll.sealer")
_INPUTS = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "category": "VARCHAR",
    "text": "VARCHAR",
    "time": "VARCHAR",
    "embedding": "DOUBLE[]",
}  # images and audio stay where they are: in the facts
_NAMES = {"request": "inputs", "answer": "outputs"}


class Table(NamedTuple):
    """One typed table of a model: its columns' names in the facts, and their types."""

    name: str  # inputs | outputs
    columns: tuple[tuple[str, str], ...]


def table_of(model: Model, kind: str) -> Table | None:
    """What is made of a model's requests or answers; None where it declares nothing of them."""
    if kind == "request":
        columns = [
            (name, _INPUTS[declared])
            for name, declared in model.inputs.items()
            if declared in _INPUTS and name not in model.redact
        ]
    else:
        columns = [] if model.output is None else _of_output(model.output)
        columns = [one for one in columns if one[0] not in model.redact]
    return Table(_NAMES[kind], tuple(columns)) if columns else None


def _of_output(output: Output) -> list[tuple[str, str]]:
    kinds = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE"}
    kind = "VARCHAR"
    if output.type == "float":
        kind = "DOUBLE"
    elif output.type == "binary":
        kind = kinds.get(type(output.positive), "VARCHAR")
    columns = [(output.name, kind)]
    if output.score is not None and output.score != output.name:
        columns.append((output.score, "DOUBLE"))
    return columns


class Rows:
    """Keeps the tables of a data folder. One at a time on a folder, like the sealer it is part of."""

    def __init__(self, layout: Layout) -> None:
        self.made = self.failures = 0
        self._layout = layout
        self._root = layout.data.rows
        self._failed: set[Path] = set()  # not tried again by us
        self._engine: DuckDBPyConnection | None = None

    def round(self, models: Mapping[str, Model], seconds: float) -> bool:
        """Bring the tables up to date, for about so long. Whether all that can be there is there."""
        until = time.monotonic() + seconds
        sealed: set[Path] = set()
        missing: list[tuple[Path, Segment, Table]] = []
        for segment in self._layout.segments(tuple(_NAMES)):
            path = self._path(_NAMES[segment.kind], segment)
            sealed.add(path)
            model = models.get(segment.model)
            table = None if model is None else table_of(model, segment.kind)
            if table is not None and path not in self._failed and not path.exists():
                missing.append((path, segment, table))
        for path in set(self._root.glob("*/model=*/hour=*/*.parquet")) - sealed:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        missing.sort(key=lambda one: one[1].hour, reverse=True)  # the newest are asked for first
        for path, segment, table in missing:
            if time.monotonic() > until:
                return False
            try:
                self._make(path, segment, table)
                self.made += 1
            except FileNotFoundError:
                continue  # compacted or removed just now
            except Exception:
                self.failures += 1
                self._failed.add(path)
                _log.exception("%s: its rows could not be made", segment.path)
        return True

    def _path(self, name: str, segment: Segment) -> Path:
        # The partition is named as the journal's is, whatever a model's name has in it.
        sealed = Path(segment.path)
        return self._root.joinpath(name, *sealed.parts[-3:])

    def _make(self, path: Path, segment: Segment, table: Table) -> None:
        if not Path(segment.path).exists():
            raise FileNotFoundError(segment.path)
        found = self._started().sql(_sql(table, segment.path)).to_arrow_table()
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.tmp")
        with hidden.open("wb") as file:
            pq.write_table(
                found,
                file,
                compression="zstd",
                use_dictionary=[
                    c for c in found.schema.names if c not in ("prediction_id", "time")
                ],
                column_encoding={"prediction_id": "DELTA_BYTE_ARRAY"},
            )
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(path)
        sync_folder(path.parent)

    def _started(self) -> DuckDBPyConnection:
        """The engine, once a model declares something: it is large."""
        if self._engine is None:
            import duckdb

            self._engine = duckdb.connect(":memory:")
            for setting in ("TimeZone = 'UTC'", "threads = 1", f"memory_limit = '{MEMORY}'"):
                self._engine.execute(f"SET {setting}")
        return self._engine


def _sql(table: Table, path: str) -> str:
    """The table of one sealed file.

    Lists are unnested beside each other, padded with nulls. An answer without outputs, because it
    is none or they were left out, has one line.
    """
    source = f"read_parquet({_text(path)}, hive_partitioning = false)"
    names = [name for name, _ in table.columns]
    prefix = "in_" if table.name == "inputs" else "out_"
    if table.name == "inputs":
        document, head, where = "inputs", "time, arm", "WHERE inputs IS NOT NULL"
        count = '"rows"'
    else:
        document, head, where = "outputs", "time, version, role, status", ""
        lengths = ", ".join(f"len(j.{_name(name)})" for name in names)
        count = f"coalesce(greatest({lengths}), 1)"
    # What is no whole number must not become one: an integer is also read as the number it is.
    whole = [(name, "DOUBLE") for name, kind in table.columns if kind == "BIGINT"]
    also = f", from_json({document}, {_spec(whole)}) AS n" if whole else ""
    lists = [
        f"unnest(j.{_name(name)}) AS {_name(prefix + name)}"
        + (f", unnest(n.{_name(name)}) AS {_name('whole ' + name)}" if kind == "BIGINT" else "")
        for name, kind in table.columns
    ]
    values = [
        f"CASE WHEN trunc({_name('whole ' + name)}) = {_name('whole ' + name)} "
        f"THEN {_name(prefix + name)} END AS {_name(prefix + name)}"
        if kind == "BIGINT"
        else _name(prefix + name)
        for name, kind in table.columns
    ]
    return (
        f'SELECT prediction_id, "row", {head}, {", ".join(values)} FROM ('  # noqa: S608 (our names)
        f'SELECT prediction_id, unnest(range({count}))::INTEGER AS "row", {head}, '
        f"{', '.join(lists)} FROM (SELECT *, from_json({document}, {_spec(table.columns)}) AS j"
        f'{also} FROM {source} {where})) WHERE "row" IS NOT NULL'
    )


def _spec(columns: Sequence[tuple[str, str]]) -> str:
    """The structure that a fact's JSON is read as: a list of values by column."""
    lists: dict[str, object] = {
        name: [["DOUBLE"]] if kind == "DOUBLE[]" else [kind] for name, kind in columns
    }
    return _text(json.dumps(lists))


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
