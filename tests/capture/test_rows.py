"""The typed `rows` tables: a line a row, made of sealed facts, made again where they are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from redpoll.capture import OIP_ANSWER, OIP_REQUEST, TEXT
from redpoll.catalog import Model, Output
from redpoll.clock import SystemClock
from redpoll.facts import Answer, Request
from redpoll.host.paths import DataDir, replace
from redpoll.journal.files import FileJournal
from redpoll.journal.query import query
from redpoll.routes import Route, Table, encode
from redpoll.sealer.service import Sealer

MODEL = Model(
    name="churn",
    inputs={"age": "int", "income": "float", "member": "bool", "plan": "category", "when": "time",
            "vector": "embedding", "photo": "image", "note": "text"},
    output=Output(name="churn", type="binary", score="probability", positive=1),
    redact=("note",),
)  # fmt: skip
TYPES = {
    "in_age": pa.int64(), "in_income": pa.float64(), "in_member": pa.bool_(),
    "in_plan": pa.string(), "in_when": pa.string(), "in_vector": pa.list_(pa.float64()),
}  # fmt: skip


def tensor(name: str, values: list, shape: list[int] | None = None) -> dict:
    return {"name": name, "shape": shape or [len(values)], "datatype": "BYTES", "data": values}


def publish(data: DataDir, *models: Model) -> None:
    routes = {
        model.name: Route(model=model, number=at, generation=1) for at, model in enumerate(models)
    }
    replace(data.routes, encode(Table(generation=1, routes=routes)))


def ask(writer, number: int, inputs: list[dict], outputs: list[dict] | str, **more) -> str:
    """A request and its answer, as the gateway journals them."""
    name = f"0000{number:032d}"
    asked = Request(name, f"r-{number}", inputs[0]["shape"][0], arm="stable", **more)
    writer.append("churn", asked, json.dumps({"inputs": inputs}).encode(), OIP_REQUEST)
    if isinstance(outputs, str):
        writer.append("churn", Answer(name, "v1", status="error"), outputs.encode(), TEXT)
    else:
        said = json.dumps({"outputs": outputs}).encode()
        writer.append("churn", Answer(name, "v1"), said, OIP_ANSWER)
    return name


def seal(data: DataDir) -> Sealer:
    sealer = Sealer(data, FileJournal(data), SystemClock())
    sealer.round()
    sealer.close()
    return sealer


def read(data: DataDir, name: str) -> list[dict]:
    found = []
    for path in sorted(data.rows.glob(f"{name}/model=churn/hour=*/*.parquet")):
        found += pq.ParquetFile(path).read().to_pylist()
    return found


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Two rows with everything, a row of nulls, a row whose values do not fit, an error."""
    data = DataDir(tmp_path).make()
    publish(data, MODEL)
    writer = FileJournal(data).open("gateway")
    ask(
        writer, 1,
        [tensor("age", [2**63 - 1, 41]), tensor("income", [1, 2.5]), tensor("member", [True, False]),
         tensor("plan", ["a", "b'\""]), tensor("when", ["2026-11-25T10:00:00Z", "x"]),
         tensor("vector", [1, 2.5, 3, 4], [2, 2]), tensor("photo", ["AAAA", "BBBB"]),
         tensor("extra", [1, 2])],
        [tensor("churn", [1, 0]), tensor("probability", [0.75, 0.25])],
    )  # fmt: skip
    ask(
        writer, 2, [tensor("age", [None]), tensor("plan", [None])],
        [tensor("churn", [None]), tensor("probability", [None])],
    )  # fmt: skip
    ask(
        writer, 3, [tensor("age", [1.5]), tensor("income", ["much"]), tensor("plan", [5])],
        "ValueError: no",
    )  # fmt: skip
    writer.append("churn", Request("none", "r-4", 1, capture="none"))
    writer.append("churn", Answer("none", "v1"))
    writer.close()
    seal(data)
    return data


def test_inputs_stand_typed_a_line_a_row(data: DataDir) -> None:
    """Integers exact; what is missing or does not fit is null; images stay in the facts."""
    (path,) = data.rows.glob("inputs/model=churn/hour=*/*.parquet")
    schema = pq.read_schema(path)
    assert schema.names == ["prediction_id", "row", "time", "arm", *TYPES]
    assert {name: schema.field(name).type for name in TYPES} == TYPES
    assert schema.field("time").type == pa.timestamp("us", tz="UTC")
    rows = read(data, "inputs")
    assert [(one["prediction_id"][-1], one["row"]) for one in rows] == [
        ("1", 0), ("1", 1), ("2", 0), ("3", 0),
    ]  # fmt: skip
    first = {name: rows[0][name] for name in TYPES}
    assert first == {
        "in_age": 2**63 - 1, "in_income": 1.0, "in_member": True, "in_plan": "a",
        "in_when": "2026-11-25T10:00:00Z", "in_vector": [1.0, 2.5],
    }  # fmt: skip
    assert (rows[1]["in_age"], rows[1]["in_plan"], rows[1]["in_vector"]) == (41, "b'\"", [3.0, 4.0])
    assert all(rows[2][name] is None for name in TYPES)
    assert (rows[3]["in_age"], rows[3]["in_income"], rows[3]["in_plan"]) == (None, None, "5")
    assert {one["arm"] for one in rows} == {"stable"}


def test_outputs_stand_beside_them_and_an_error_has_one_line(data: DataDir) -> None:
    """So has one that was left out. Version, role and status; the class as its positive class is typed."""
    rows = read(data, "outputs")
    told = [
        (one["prediction_id"][-1], one["row"], one["status"], one["out_churn"], one["out_probability"])
        for one in rows
    ]  # fmt: skip
    assert told == [
        ("1", 0, "ok", 1, 0.75), ("1", 1, "ok", 0, 0.25), ("2", 0, "ok", None, None),
        ("3", 0, "error", None, None), ("e", 0, "ok", None, None),
    ]  # fmt: skip
    assert {(one["version"], one["role"]) for one in rows} == {("v1", "live")}


def test_log_query_offers_them(data: DataDir) -> None:
    """As `inputs` and `outputs`, with model and hour; they join on prediction id and row."""
    sql = """SELECT i.in_plan, o.out_probability FROM inputs i JOIN outputs o
             USING (prediction_id, "row") WHERE i.model = 'churn' AND i.hour >= '2026'
             AND o.status = 'ok' AND i.in_age = 41"""
    assert query(data, sql).rows == [("b'\"", 0.25)]


def test_without_any_they_are_empty_not_unknown(tmp_path: Path) -> None:
    """Nobody has declared anything yet."""
    data = DataDir(tmp_path).make()
    found = query(data, 'SELECT prediction_id, "row", arm, hour FROM inputs')
    assert (found.rows, len(found.columns)) == ([], 4)
    assert query(data, "SELECT count(*) FROM outputs WHERE model = 'm'").rows == [(0,)]


def test_what_was_deleted_is_made_again(data: DataDir) -> None:
    """From the facts, as it was."""
    before = read(data, "inputs"), read(data, "outputs")
    for path in data.rows.rglob("*.parquet"):
        path.unlink()
    seal(data)
    assert (read(data, "inputs"), read(data, "outputs")) == before
    assert len(before[0]) == 4


def test_a_model_that_declares_later_gets_tables_of_what_was_sealed_before(tmp_path: Path) -> None:
    """The facts are the same for every model; the tables follow what is declared."""
    data = DataDir(tmp_path).make()
    publish(data, Model(name="churn"))
    writer = FileJournal(data).open("gateway")
    ask(writer, 1, [tensor("age", [41])], [tensor("churn", [1])])
    writer.close()
    seal(data)
    assert not data.rows.exists()
    publish(data, MODEL)
    seal(data)
    assert [one["in_age"] for one in read(data, "inputs")] == [41]


def test_they_go_with_their_sealed_file_and_damage_costs_its_own(data: DataDir) -> None:
    """A file that cannot be read keeps no other out."""
    (old,) = data.journal.glob("request/model=churn/hour=*/*.parquet")
    writer = FileJournal(data).open("gateway")
    ask(writer, 7, [tensor("age", [7])], [tensor("churn", [1])])
    writer.close()
    for path in data.rows.rglob("*.parquet"):
        path.unlink()
    whole = old.read_bytes()
    old.write_bytes(whole[:50] + whole[70:])
    seal(data)
    assert [one["in_age"] for one in read(data, "inputs")] == [7]
    old.unlink()
    for path in data.journal.glob("answer/model=churn/hour=*/*.parquet"):
        path.unlink()
    seal(data)
    assert (len(read(data, "inputs")), read(data, "outputs")) == (1, [])
