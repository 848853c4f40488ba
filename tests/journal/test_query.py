"""SQL over the log, and the log as it grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redpoll import facts, routes
from redpoll.catalog import Model, Tensor
from redpoll.clock import SimClock
from redpoll.errors import RedpollError
from redpoll.facts import Decision, Outcome, Sample
from redpoll.host.paths import DataDir
from redpoll.journal import layout
from redpoll.journal import query as querying
from redpoll.journal.files import FileJournal
from redpoll.journal.query import query
from redpoll.journal.tail import lines
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import START_US, FilesHarness, answer, fill, request

BODY = b'{"inputs":[{"name":"age","shape":[2],"datatype":"INT64","data":[41,42]}]}'
OUT = b'{"outputs":[{"name":"churn","shape":[2],"datatype":"INT64","data":[1,0]}]}'


def oip(writer, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        writer.append("churn", request(number, rows=0, groups={"sex": "f"}), BODY, 1)
        writer.append("churn", answer(number, latency_us=1000 + number), OUT, 3)
    writer.flush()


@pytest.fixture
def harness(tmp_path: Path) -> FilesHarness:
    return FilesHarness(tmp_path)


def test_sealed_and_live_facts_are_one_table(harness: FilesHarness) -> None:
    """Each once, with final columns, whatever is sealed."""
    writer = harness.journal.open("gateway")
    oip(writer, 20)
    counts = (
        "SELECT count(*), count(DISTINCT (stream, sequence)), sum(rows), min(inputs) FROM request"
    )
    expected = [(20, 20, 40, '{"age":[41,42]}')]
    assert query(harness.data, counts).rows == expected
    harness.seal()
    assert list(harness.data.journal.glob("request/*/*/*.parquet"))
    assert query(harness.data, counts).rows == expected
    joined = query(
        harness.data,
        "SELECT model, hour, groups['sex'] AS sex, count(*) AS n, max(latency_us) AS worst,"
        " min(outputs) AS outputs FROM request JOIN answer USING (prediction_id, model, hour)"
        " GROUP BY ALL",
    )
    assert joined.objects() == [
        {
            "model": "churn",
            "hour": "2026-09-21T14",
            "sex": "f",
            "n": 20,
            "worst": 1019,
            "outputs": '{"churn":[1,0]}',
        }
    ]


def test_segments_of_a_file_that_is_still_there_count_once(harness: FilesHarness) -> None:
    """A sealer that was killed before it removed the file leaves both."""
    writer = harness.journal.open("gateway")
    oip(writer, 20)
    kept = {path: path.read_bytes() for path in harness.data.wal.glob("*.wal")}
    harness.seal()
    for path, content in kept.items():
        path.write_bytes(content)
    found = query(harness.data, "SELECT count(*), count(DISTINCT sequence) FROM answer")
    assert found.rows == [(20, 20)]
    assert len(list(harness.journal.read())) == 40


def test_a_file_sealed_while_the_query_looks_is_read_once(
    harness: FilesHarness, monkeypatch
) -> None:
    """Between the listing of live files and their opening, and between that and the segments."""
    writer = harness.journal.open("gateway")
    oip(writer, 30)
    real, sealed = querying.WalReader, []

    def opened(wal, wanted):
        if not sealed:
            sealed.append(harness.seal())
        return real(wal, wanted)

    monkeypatch.setattr(querying, "WalReader", opened)
    assert query(harness.data, "SELECT count(*) FROM request").rows == [(30,)]
    oip(writer, 30, 30)
    listing = layout.Layout.segments

    def listed(*arguments, **more):
        harness.seal()
        return listing(*arguments, **more)

    monkeypatch.setattr(querying.Layout, "segments", listed)
    assert query(harness.data, "SELECT count(*) FROM request").rows == [(60,)]


def test_a_fact_that_never_happened_is_an_empty_table_with_its_types(harness: FilesHarness) -> None:
    """All eight are there, with ``model`` and ``hour``."""
    harness.journal.open("gateway").close()
    for kind in facts.NAMES:
        found = query(harness.data, f"SELECT * FROM {kind}")
        expected = [*facts.COMMON, *facts.COLUMNS[kind], "model", "hour"]
        assert list(found.columns) == expected and found.rows == []
    types = dict(query(harness.data, "SELECT column_name, column_type FROM (DESCRIBE review)").rows)
    assert types["started"] == "TIMESTAMP WITH TIME ZONE" and types["row"] == "INTEGER"
    tables = [row[0] for row in query(harness.data, "SHOW TABLES").rows]
    assert tables == sorted([*facts.NAMES, "inputs", "outputs"])


def test_values_are_plain(harness: FilesHarness) -> None:
    """What comes out is what JSON can hold, and means the same."""
    writer = harness.journal.open("gateway")
    writer.append(
        "churn", Outcome("o1", None, None, 0, "redo", float("nan"), happened=START_US + 5)
    )
    writer.append("_", Sample("lag", {"a": "b"}, 0.25))
    writer.append("churn", request(1, body=b"\x00\xff", encoding="gzip"))
    writer.flush()
    (outcome,) = query(harness.data, "FROM outcome").objects()
    assert outcome["value"] is None and outcome["happened"].endswith(".000005Z")
    (sample,) = query(harness.data, "FROM sample").objects()
    assert sample["labels"] == {"a": "b"} and sample["model"] == "_"
    (one,) = query(
        harness.data, "SELECT *, [1.5, NULL] AS l, {'x': 1::HUGEINT} AS s FROM request"
    ).objects()
    assert (one["body"], one["l"], one["s"]) == ("AP8=", [1.5, None], {"x": 1})
    doubled = query(harness.data, "SELECT 1 AS a, 2 AS a, DATE '2026-01-02' AS d, 0.5 AS a_1")
    assert json.loads(json.dumps(doubled.objects())) == [
        {"a": 1, "a_1": 2, "d": "2026-01-02", "a_1_1": 0.5}
    ]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT * FROM reqest", 'Did you mean "request"'),
        ("SELEC 1", "syntax error"),
        ("", "One statement at a time"),
        ("SELECT 1; SELECT 2", "here are 2"),
        ("CREATE TABLE x (i INT)", "CREATE is not a reading statement"),
        ("COPY (SELECT 1) TO 'out.csv'", "COPY is not a reading statement"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'out.csv'", "COPY is not a reading statement"),
        ("EXPLAIN (FORMAT json) DELETE FROM request", "DELETE is not a reading statement"),
        ("ATTACH 'other.db'", "ATTACH is not a reading statement"),
        ("SET enable_external_access = true", "SET is not a reading statement"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM glob('/*')", "disabled by configuration"),
        ("SELECT * FROM '/etc/passwd'", "does not exist"),
    ],
)
def test_only_the_log_can_be_read_and_nothing_written(
    sql: str, says: str, harness: FilesHarness
) -> None:
    """RP-302 says what was wrong; nothing appears on the disk."""
    fill(harness.journal.open("gateway"), 2)
    harness.seal()
    before = sorted(harness.data.root.rglob("*"))
    with pytest.raises(RedpollError, match="(?s)" + says) as refused:
        query(harness.data, sql)
    assert refused.value.code == "RP-302"
    assert sorted(harness.data.root.rglob("*")) == before
    assert not Path("out.csv").exists()


def test_reading_statements_of_other_kinds_are_taken(harness: FilesHarness) -> None:
    """DESCRIBE, SUMMARIZE, EXPLAIN, PIVOT, FROM first, WITH; and names made while running."""
    oip(harness.journal.open("gateway"), 3)
    for sql in (
        "DESCRIBE request",
        "SUMMARIZE answer",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE FROM request",
    ):
        assert query(harness.data, sql).rows
    assert query(
        harness.data, "PIVOT answer ON status USING count(*) GROUP BY version"
    ).objects() == [{"version": "v1", "ok": 3}]
    assert query(harness.data, "WITH r AS (FROM request) SELECT count(*) FROM r").rows == [(3,)]
    assert query(harness.data, "SELECT count(*) FROM query_table('req' || 'uest')").rows == [(3,)]


def test_a_folder_without_a_log_is_said_to_be_one(tmp_path: Path) -> None:
    """RP-302 with the folder's name."""
    with pytest.raises(RedpollError, match=r"There is no log in .*nowhere"):
        query(tmp_path / "nowhere", "SELECT 1")
    with pytest.raises(RedpollError, match="There is no log"):
        next(lines(tmp_path / "nowhere"))


def test_a_declared_matrix_comes_as_columns(harness: FilesHarness) -> None:
    """The route table says which columns a model's one tensor stands for."""
    matrix = Tensor(name="input-0", columns=("age", "plan"))
    model = Model(name="churn", tensor=matrix)
    table = routes.Table(routes={"churn": routes.Route(model=model, number=0, generation=1)})
    harness.data.make().routes.write_bytes(routes.encode(table))
    writer = harness.journal.open("gateway")
    body = b'{"inputs":[{"name":"input-0","shape":[1,2],"datatype":"FP64","data":[41,1]}]}'
    writer.append("churn", request(1, rows=0), body, 1)
    writer.flush()
    expected = [('{"age":[41.0],"plan":[1.0]}', 1)]
    live = query(harness.data, "SELECT inputs, rows FROM request").rows
    writer.close()
    harness.seal()
    assert live == query(harness.data, "SELECT inputs, rows FROM request").rows
    assert [(json.loads(inputs), rows) for inputs, rows in live] == [
        (json.loads(inputs), rows) for inputs, rows in expected
    ]


def test_tail_gives_the_newest_and_then_what_comes(tmp_path: Path, monkeypatch) -> None:
    """JSON lines in order of time, each once, with the columns that sealed facts have."""
    monkeypatch.setattr("redpoll.journal.tail.POLL_S", 0.001)
    clock = SimClock(START_US)
    data = DataDir(tmp_path)
    journal = FileJournal(data, clock, rotate_bytes=1500)
    first, second = journal.open("gateway"), journal.open("control")
    for number in range(12):
        clock.advance(1000)
        oip(first, 1, number)
        second.append("_", Decision(f"d{number}", "catalog", "x", "apply"))
        second.flush()
        if number == 6:
            Sealer(data, journal, clock).round()
    following = lines(data, last=5)
    newest = [json.loads(next(following)) for _ in range(5)]
    assert [one["fact"] for one in newest[-3:]].count("decision") == 1
    assert newest == sorted(newest, key=lambda one: one["time"])
    assert newest[-1]["time"] == "2026-09-21T14:13:20.012000Z"
    clock.advance(1000)
    oip(first, 1, 12)
    come = [json.loads(next(following)) for _ in range(2)]
    following.close()
    assert [one["fact"] for one in come] == ["request", "answer"]
    assert come[0]["inputs"] == '{"age":[41,42]}' and come[0]["model"] == "churn"
    (same,) = query(data, f"FROM request WHERE sequence = {come[0]['sequence']}").objects()
    same.pop("hour")
    assert come[0] == {"fact": "request", **same}
    decisions = list(lines(data, kinds=["decision"], last=3, follow=False))
    assert [json.loads(one)["decision_id"] for one in decisions] == ["d9", "d10", "d11"]
    assert list(lines(data, models=["nobody"], follow=False)) == []
    with pytest.raises(RedpollError, match="Did you mean 'answer'"):
        next(lines(data, kinds=["anser"]))
