"""The open prediction log: whole facts over several models and hours, by engines without redpoll."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from redpoll.journal.files import FileJournal
from tests.journal.logs import MODELS, log

Rows = list[tuple[str, str, str, str]]  # model, hour, prediction id, inputs


def by_duckdb(folder: Path) -> Rows:
    sql = (
        f"SELECT model, hour, prediction_id, inputs FROM read_parquet('{folder}/**/*.parquet',"
        " hive_partitioning = true, hive_types = {'model': VARCHAR, 'hour': VARCHAR})"
    )
    return [tuple(row) for row in duckdb.sql(sql).fetchall()]


def by_pyarrow(folder: Path) -> Rows:
    table = ds.dataset(folder, partitioning="hive").to_table()
    names = ("model", "hour", "prediction_id", "inputs")
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def by_pandas(folder: Path) -> Rows:
    frame = pd.read_parquet(folder)
    names = ["model", "hour", "prediction_id", "inputs"]
    return [tuple(str(x) for x in row) for row in frame[names].itertuples(index=False)]


def by_polars(folder: Path) -> Rows:
    frame = pl.scan_parquet(
        folder / "**/*.parquet",
        hive_partitioning=True,
        try_parse_hive_dates=False,
        missing_columns="insert",
        extra_columns="ignore",
    )
    return frame.select("model", "hour", "prediction_id", "inputs").collect().rows()


@pytest.mark.parametrize("engine", [by_duckdb, by_pyarrow, by_pandas, by_polars])
def test_any_engine_reads_whole_facts_of_all_models(
    engine: Callable[[Path], Rows], tmp_path: Path
) -> None:
    """Each row once, with what was in it, its model and its hour."""
    with log(tmp_path) as one:
        one.day(2)
        one.day(1)
        one.seal_all()
        rows = engine(one.data.journal / "request")
        ours = sorted(
            (entry.model, entry.fact.prediction_id, entry.fact.inputs)  # type: ignore[attr-defined]
            for entry in FileJournal(one.data).read(kinds=["request"])
        )
        assert sorted((model, number, inputs) for model, _, number, inputs in rows) == ours
        assert {row[0] for row in rows} == set(MODELS) and len({row[1] for row in rows}) == 3
        for kind in ("answer", "outcome"):
            sql = f"SELECT count(*) FROM '{one.data.journal}/{kind}/**/*.parquet'"
            count = len(list(FileJournal(one.data).read(kinds=[kind], raw=False)))
            assert duckdb.sql(sql).fetchall() == [(count,)] and count > 5
