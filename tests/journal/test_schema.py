"""The sealed log's columns are public: they are held fast here, and read without redpoll."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from redpoll import facts
from redpoll.clock import SimClock
from redpoll.facts import Answer, Decision, Deploy, Erase, Fact, Outcome, Request, Review, Sample
from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal
from redpoll.journal.parquet import SCHEMAS
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import START_US

GOLDEN = Path(__file__).parents[1] / "golden"
ARROW = {
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
ID = "01999999-9999-7000-8000-000000000001"
FULL: list[Fact] = [
    Request(ID, "r-1", 2, "u", "p", {"sex": "f", "age_band": "old"}, "candidate", 0.1, "churn-1", 2**40,
            "v1", "[]", '{"age":[1,2]}', b"\x00\xff", "gzip", "cut", 0.5, "trace"),
    Answer(ID, "v1", "shadow", "error", "RP-200", 5, 6, 2, "fallback", "{}", '{"cost":1}', b"\x01"),
    Outcome("o1", ID, "r-1", 1, "redo", 0.5, "yes", START_US, "o0", "web"),
    Review("w1", ID, 0, "ann", "1", "2", True, 0.5, START_US, START_US + 1, "g1", "hm"),
    Decision("d1", "rollout", "churn-1", "advance", "running", "running", "ann", "because", "It ran.",
             "{}", "{}", "abc"),
    Deploy("v1", "crash", "sha256:0", "{}", "killed"),
    Sample("lag", {"reader": "control"}, 1.5),
    Erase("h", "receipt", "{}"),
]  # fmt: skip
BARE: list[Fact] = [
    Request(ID, "", 0),
    Answer(ID, "v1"),
    Outcome("o1", None, None, 0, "redo"),
    Review("w1", ID, 0, "ann", "1"),
    Decision("d1", "catalog", "x", "apply"),
    Deploy("v1", "start"),
    Sample("lag"),
    Erase("h", "receipt"),
]


def golden(kind: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{kind}.schema.json").read_text())


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A sealed log with two facts of every kind, one with all nulls there can be."""
    folder = tmp_path_factory.mktemp("log")
    data = DataDir(folder).make()
    clock = SimClock(START_US)
    journal = FileJournal(data, clock)
    writer = journal.open("gateway")
    for fact in (*FULL, *BARE):
        writer.append("churn", fact)
        clock.advance(1)
    writer.close()
    Sealer(data, journal, clock).round()
    return data.journal


def test_there_is_a_golden_file_for_every_fact() -> None:
    """And for nothing else."""
    assert {path.name for path in GOLDEN.glob("*.schema.json")} == {
        f"{kind}.schema.json" for kind in facts.NAMES
    }


@pytest.mark.parametrize("kind", facts.NAMES)
def test_columns_are_the_golden_ones(kind: str, log: Path) -> None:
    """Names, order, types and nullability: in code, and in a file as it lies on the disk."""
    columns = golden(kind)["columns"]
    expected = pa.schema([pa.field(c["name"], ARROW[c["type"]], c["nullable"]) for c in columns])
    assert SCHEMAS[kind].equals(expected)
    (path,) = (log / kind).glob("model=churn/hour=*/*.parquet")
    assert pq.read_schema(path).equals(expected)
    own = [c["name"] for c in columns][4:]
    record = facts.KINDS[facts.NAMES.index(kind)]
    assert [field.name for field in msgspec.structs.fields(record)] == own


@pytest.mark.parametrize("fact", [*FULL, *BARE], ids=lambda fact: type(fact).__name__)
def test_facts_come_back_from_sealed_files_as_they_were(fact: Fact, log: Path) -> None:
    """With every column filled, and with every null there can be."""
    kind = type(fact).__name__.lower()
    found = list(FileJournal(log.parent).read(kinds=[kind]))
    assert fact in [entry.fact for entry in found] and len(found) == 2


def test_paths_and_encodings_are_the_public_ones(log: Path) -> None:
    """Zstd everywhere; prediction ids in DELTA_BYTE_ARRAY and never in a dictionary."""
    paths = sorted(log.glob("*/*/*/*"))
    assert len(paths) == 8
    for path in paths:
        relative = path.relative_to(log).as_posix()
        pattern = r"[a-z]+/model=churn/hour=2026-09-21T14/gateway-[0-9a-f]{12}-(\d+)-(\d+)\.parquet"
        assert re.fullmatch(pattern, relative), relative
        group = pq.ParquetFile(path).metadata.row_group(0)
        for at in range(group.num_columns):
            column = group.column(at)
            assert column.compression == "ZSTD"
            if column.path_in_schema == "prediction_id":
                assert "DELTA_BYTE_ARRAY" in column.encodings
                assert not column.has_dictionary_page


def test_other_engines_read_a_whole_fact_at_once(log: Path) -> None:
    """DuckDB, pandas and Arrow, with ``model`` and ``hour`` from the path."""
    folder = log / "request"
    sql = "SELECT model, hour, groups['sex'], epoch_us(time) FROM read_parquet(?, hive_partitioning=true) ORDER BY sequence"
    found = duckdb.execute(sql, [f"{folder}/*/*/*.parquet"]).fetchall()
    assert found == [
        ("churn", "2026-09-21T14", "f", START_US),
        ("churn", "2026-09-21T14", None, START_US + 8),
    ]
    frame = pd.read_parquet(folder)
    assert list(frame["prediction_id"]) == [ID, ID] and set(frame["model"]) == {"churn"}
    assert {"model", "hour"} < set(frame.columns)
    table = ds.dataset(folder, partitioning="hive").to_table()
    assert table.num_rows == 2 and "hour" in table.column_names
