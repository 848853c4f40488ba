"""``redpoll log export``: each fact once, in files that anything reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from redpoll.errors import RedpollError
from redpoll.journal.exporting import What, export
from redpoll.journal.query import query
from redpoll.testing.journals import START_US
from tests.journal.logs import log, positions
from tests.journal.support import wal_files

HOUR_US = 3_600_000_000
SQL = "SELECT prediction_id, inputs, groups, model, hour FROM request ORDER BY 1"


def rows(path: Path) -> list[dict[str, Any]]:
    """Of an exported file, as a reader without redpoll has them."""
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_every_fact_is_exported_once(form: str, tmp_path: Path) -> None:
    """Sealed and live, of all models, with what was in it."""
    with log(tmp_path / "data") as one:
        writer = one.day()
        one.live(writer, 5)
        assert len(wal_files(one.data.root)) > 1
        done = export(one.data, tmp_path / "out", form=form)
        found = {path.fact: rows(Path(path.path)) for path in done}
        assert sorted(found) == ["answer", "decision", "outcome", "request", "sample"]
        assert [len(found[one.fact]) for one in done] == [one.rows for one in done]
        mine = sorted((r["stream"], int(r["sequence"])) for each in found.values() for r in each)
        assert mine == positions(one.data)
        expected = query(one.data, SQL).rows
        got = sorted(found["request"], key=lambda row: row["prediction_id"])
        for row, (number, inputs, groups, model, moment) in zip(got, expected, strict=True):
            assert (row["prediction_id"], row["model"], row["hour"]) == (number, model, moment)
            said, named = row["inputs"], row["groups"]
            assert (said if form == "jsonl" else json.loads(said)) == json.loads(inputs)
            assert dict(json.loads(named) if form == "csv" else named) == groups == {"sex": "f"}
        assert list(tmp_path.iterdir()) == [tmp_path / "data", tmp_path / "out"] or {
            path.name for path in tmp_path.iterdir()
        } == {"data", "out"}


def test_facts_models_and_times_can_be_chosen(tmp_path: Path) -> None:
    """``since`` is in, ``until`` is not."""
    with log(tmp_path / "data") as one:
        one.live(one.day(3), 4)
        since, until = START_US + HOUR_US, START_US + 2 * HOUR_US + 9_000_000
        what = What(("request", "review"), ("churn", "fraud"), since, until)
        (done,) = export(one.data, tmp_path / "out", what)
        assert (done.fact, sorted(p.name for p in (tmp_path / "out").iterdir())) == (
            "request",
            ["request.parquet"],
        )
        sql = (
            "SELECT prediction_id FROM request WHERE model IN ('churn', 'fraud') AND"
            f" epoch_us(time) >= {since} AND epoch_us(time) < {until} ORDER BY 1"
        )
        got = sorted(pq.read_table(done.path).column("prediction_id").to_pylist())
        assert [(number,) for number in got] == query(one.data, sql).rows and 5 < len(got) < 20


def test_nothing_is_written_over_or_left_half_done(tmp_path: Path, monkeypatch) -> None:
    """A folder with something in it is refused; one that cannot be written leaves nothing."""
    with log(tmp_path / "data") as one:
        one.day(1)
        out = tmp_path / "out"
        out.mkdir()
        (out / "mine").write_text("!")
        with pytest.raises(RedpollError, match="nothing is written over") as error:
            export(one.data, out)
        assert error.value.code == "RP-312" and [p.name for p in out.iterdir()] == ["mine"]
        (tmp_path / "file").write_text("")
        with pytest.raises(RedpollError, match="could not be written"):
            export(one.data, tmp_path / "file" / "out")
        assert {path.name for path in tmp_path.iterdir()} == {"data", "out", "file"}
