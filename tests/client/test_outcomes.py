"""Outcomes: ids made once, batches, files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from redpoll.client import Client, ClientError, Prediction, outcomes
from tests.client.servers import recording

TAKEN = (202, {}, {"accepted": 1, "rejected": 0, "errors": []})
FULL = (503, {"retry-after": "0"}, {"error": "full", "code": "RP-108"})


def _lines(body: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in body.splitlines()]


def test_an_outcome_names_its_prediction_and_gets_an_id() -> None:
    """The prediction itself is enough."""
    answer = Prediction(id="p-1", version="v1", decided_by="model", rows=({},))
    when = datetime(2026, 11, 24, 3, 4, tzinfo=UTC)
    with recording(TAKEN) as server, Client(server.url) as client:
        receipt = client.outcome("redo", answer, value=True, happened=when)
    (line,) = _lines(server.seen[0].body)
    assert server.seen[0].path == "/v1/outcomes"
    assert line.pop("outcome_id") == receipt.ids[0]
    assert line == {
        "name": "redo", "prediction_id": "p-1", "value": True,
        "happened": "2026-11-24T03:04:00+00:00",
    }  # fmt: skip


def test_an_outcome_may_be_false_or_zero_and_named_by_the_callers_own_id() -> None:
    """False is a value, not a missing one."""
    with recording(TAKEN) as server, Client(server.url) as client:
        client.outcome("churned", model="churn", request_id="o-9", value=False, row=0)
    (line,) = _lines(server.seen[0].body)
    del line["outcome_id"]
    assert line == {
        "name": "churned", "model": "churn", "request_id": "o-9", "value": False, "row": 0
    }  # fmt: skip


def test_an_outcome_of_nothing_is_refused() -> None:
    """And so is a moment without its offset."""
    with recording(TAKEN) as server, Client(server.url) as client:
        with pytest.raises(ClientError, match="needs a prediction"):
            client.outcome("redo", request_id="r")
        with pytest.raises(ClientError, match="offset"):
            client.outcome("redo", prediction_id="p", happened=datetime(2026, 1, 1))
        assert not server.seen


def test_an_outcome_that_the_server_refuses_is_an_error() -> None:
    """A single outcome has no receipt to look at."""
    errors = [{"line": 1, "error": "no such prediction", "code": "RP-101"}]
    said = {"accepted": 0, "rejected": 1, "errors": errors}
    refused = pytest.raises(ClientError, match="no such prediction")
    with recording((202, {}, said)) as server, Client(server.url) as client, refused:
        client.outcome("redo", prediction_id="p")


def test_sending_again_after_a_full_server_keeps_the_id() -> None:
    """503, then taken: the same bytes both times."""
    with recording(FULL, FULL, TAKEN) as server, Client(server.url) as client:
        client.outcome("redo", prediction_id="p")
    assert len(server.seen) == 3
    assert len({seen.body for seen in server.seen}) == 1


def test_a_bad_request_is_not_sent_again() -> None:
    """400 stays 400."""
    bad = (400, {}, {"error": "no", "code": "RP-101"})
    with recording(bad) as server, Client(server.url) as client:
        with pytest.raises(ClientError):
            client.outcome("redo", prediction_id="p")
        assert len(server.seen) == 1


def test_a_file_sent_twice_has_the_same_ids(tmp_path: Path) -> None:
    """Line by line, from place and content: a crash between two runs makes no duplicates."""
    file = tmp_path / "clicks.ndjson"
    line = {"name": "click", "prediction_id": "p", "value": 1}
    file.write_text("\n".join(json.dumps(line) for _ in range(3)) + "\n\n")
    with recording(TAKEN) as server, Client(server.url) as client:
        first, second = client.outcomes(file), client.outcomes(str(file))
    assert first.ids == second.ids
    assert len(set(first.ids)) == 3
    assert len(_lines(server.seen[0].body)) == 3


def test_own_ids_are_kept() -> None:
    """A caller who has ids needs no others."""
    with recording(TAKEN) as server, Client(server.url) as client:
        receipt = client.outcomes([{"name": "a", "prediction_id": "p", "outcome_id": "mine"}])
    assert receipt.ids == ("mine",)


def test_long_files_go_in_batches_and_refused_lines_keep_their_number() -> None:
    """Line 501 is the first of the second batch."""
    errors = [{"line": 1, "error": "bad", "code": "RP-101"}]
    first = (202, {}, {"accepted": 500, "rejected": 0, "errors": []})
    second = (202, {}, {"accepted": 99, "rejected": 1, "errors": errors})
    many = [{"name": "a", "prediction_id": str(i)} for i in range(600)]
    with recording(first, second) as server, Client(server.url) as client:
        receipt = client.outcomes(many)
    assert [len(_lines(seen.body)) for seen in server.seen] == [500, 100]
    assert (receipt.accepted, receipt.rejected, len(receipt.ids)) == (599, 1, 600)
    assert receipt.errors[0].line == 501


def test_a_csv_says_the_same_as_ndjson(tmp_path: Path) -> None:
    """Values become numbers and true/false where they read so; empty cells are left out."""
    file = tmp_path / "o.csv"
    file.write_text(
        "name,prediction_id,value,row,happened\n"
        "a,p1,1,0,2026-01-01T00:00:00Z\n"
        "b,p2,true,,\n"
        "c,p3,0.25,,\n"
        "d,p4,basic,,\n"
        "e,007,,,\n"
    )
    found = [dict(one) for one in outcomes.read(file)]
    for one in found:
        del one["outcome_id"]
    assert found == [
        {"name": "a", "prediction_id": "p1", "value": 1, "row": 0,
         "happened": "2026-01-01T00:00:00Z"},
        {"name": "b", "prediction_id": "p2", "value": True},
        {"name": "c", "prediction_id": "p3", "value": 0.25},
        {"name": "d", "prediction_id": "p4", "value": "basic"},
        {"name": "e", "prediction_id": "007"},
    ]  # fmt: skip


def test_a_parquet_file_is_read_with_its_types(tmp_path: Path) -> None:
    """Times keep their zone, booleans stay booleans."""
    file = tmp_path / "o.parquet"
    when = datetime(2026, 1, 1, tzinfo=UTC)
    table = {"name": ["a"], "prediction_id": ["p"], "value": [True], "happened": [when]}
    pq.write_table(pa.table(table), file)
    (one,) = outcomes.read(file)
    assert (one["value"], one["happened"]) == (True, "2026-01-01T00:00:00+00:00")


def test_own_columns_are_mapped_to_fields(tmp_path: Path) -> None:
    """As ``--map`` says; other columns of the file are not sent."""
    file = tmp_path / "orders.csv"
    file.write_text("order_no,churned,closed_at,secret\n17,yes,2026-01-01T00:00:00Z,x\n")
    columns = {"request_id": "order_no", "value": "churned", "happened": "closed_at"}
    (one,) = outcomes.read(file, columns, {"name": "churned", "model": "churn"})
    del one["outcome_id"]
    assert one == {
        "name": "churned", "model": "churn", "request_id": "17", "value": "yes",
        "happened": "2026-01-01T00:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.ndjson", '{"name": "a"\n', "line 1 is no JSON"),
        ("a.ndjson", '{"name": "a", "prediction_id": "p"}\n[1]\n', "line 2 is no JSON object"),
        ("a.ndjson", '{"nam": "a"}\n', "'nam'"),
        ("a.csv", "name,prediction_id\na,p,q\n", "more fields"),
        ("a.csv", "name,order\na,7\n", "'order'"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    """File and line, so that it can be mended."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ClientError, match=words):
        list(outcomes.read(tmp_path / name))


def test_a_column_that_the_map_names_must_exist(tmp_path: Path) -> None:
    """A typo in the map sends nothing."""
    (tmp_path / "a.csv").write_text("name,order\na,7\n")
    with pytest.raises(ClientError, match="there is no column 'ordr'"):
        list(outcomes.read(tmp_path / "a.csv", {"request_id": "ordr"}))
