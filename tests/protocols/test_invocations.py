"""MLflow's `/invocations`: its four JSON forms and CSV, mapped to the columns that a model declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.catalog import Model, Output, Tensor
from redpoll.errors import RedpollError
from redpoll.tensors import invocations
from tests.gateway.rig import answer
from tests.web_data.rig import Plane, replies, request, run

MODEL = Model(
    name="m",
    inputs={"age": "int", "income": "float", "plan": "category", "new": "bool"},
    output=Output(name="y", type="float"),
)
ROWS = [
    {"age": 41, "income": 1.5, "plan": "basic", "new": True},
    {"age": None, "income": None, "plan": None, "new": False},
]
VALUES = [list(row.values()) for row in ROWS]
FORMS: dict[str, Any] = {
    "dataframe_split": {"dataframe_split": {"columns": list(ROWS[0]), "data": VALUES, "index": [0, 1]}},
    "dataframe_records": {"dataframe_records": ROWS},
    "instances by name": {"instances": ROWS},
    "instances": {"instances": VALUES},
    "inputs by column": {"inputs": {n: [row[n] for row in ROWS] for n in ROWS[0]}},
    "inputs by name": {"inputs": ROWS, "params": {}},
    "inputs": {"inputs": VALUES},
}  # fmt: skip
CSV = "age,income,plan,new\r\n41,1.5,basic,True\r\n,,,false\r\n"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same_rows(form: str) -> None:
    """By name, or by the declared order."""
    assert invocations.read(json.dumps(FORMS[form]).encode(), b"application/json", MODEL) == ROWS


def test_csv_is_read_in_the_declared_types() -> None:
    """Empty fields are missing; quotes, a byte order mark and the end of lines are CSV's."""
    assert invocations.read(CSV.encode(), b"text/csv", MODEL) == ROWS
    text = '\ufeffplan,age\n"a, ""b""\nc",007\n'
    assert invocations.read(text.encode(), b"text/csv; charset=utf-8", MODEL) == [
        {"plan": 'a, "b"\nc', "age": 7}
    ]


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)), min_size=1, max_size=5))  # fmt: skip
@settings(deadline=None)
def test_undeclared_csv_gets_the_types_that_its_values_have(rows: list[Any]) -> None:
    """Written by the csv module, read back exactly."""
    import csv
    import io

    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["i", "f", "b", "t"])
    writer.writerows([[i, repr(f), b, f"t{t}"] for i, f, b, t in rows])
    found = invocations.read(file.getvalue().encode(), b"text/csv", Model(name="m"))
    assert [list(row.values()) for row in found] == [[i, f, b, f"t{t}"] for i, f, b, t in rows]
    assert {type(row["i"]) for row in found} == {int}


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({}, "it has none of them"),
        ({"dataframe_record": []}, "Did you mean 'dataframe_records'?"),
        ({"instances": [], "inputs": []}, "it has instances and inputs"),
        ({"instances": [[1, 2.0, "a"]]}, "row 0 of instances is 3 values, and there are 4 columns"),
        ({"instances": 3}, "must be a list of rows"),
        ({"instances": [1]}, "row 0 of instances is no list"),
        ({"inputs": {"age": [1], "plan": []}}, "all of one length"),
        ({"inputs": {"age": 1}}, "all of one length"),
        ({"dataframe_split": {"columns": ["age"]}}, "no `data`"),
        ({"dataframe_split": {"columns": ["age", "age"], "data": []}}, "names a column twice"),
        ({"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}, "2 values, and there are 1"),
        ({"dataframe_split": []}, "must be"),
        ({"dataframe_records": [1]}, "list of objects"),
        ({"instances": ROWS, "params": {"t": 1}}, "'params' is not passed on"),
        ([1], "send an object"),
    ],
)
def test_what_is_none_of_the_forms_is_refused_and_said(said: Any, says: str) -> None:
    """400, with what was found."""
    with pytest.raises(RedpollError) as caught:
        invocations.read(json.dumps(said).encode(), b"application/json", MODEL)
    assert caught.value.code == "RP-101" and says in caught.value.message, caught.value.message


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (b"", "RP-101", "it is empty; its first|the CSV is empty"),
        (b"age\n\xff\n", "RP-101", "not UTF-8"),
        (b"age,age\n1,2\n", "RP-101", "twice"),
        (b"age,plan\n1\n", "RP-101", "1 values for 2 columns"),
        (b"age\n4.5\n", "RP-107", "'age' in row 0 is '4.5', but it is declared int"),
        (b"income\ninf\n", "RP-107", "declared float"),
        (b"new\nmaybe\n", "RP-107", "declared bool"),
        (b'plan\n"open\n', "RP-101", "could not be read"),
    ],
)
def test_csv_that_cannot_be_read_is_refused_and_said(text: bytes, code: str, says: str) -> None:
    """Row, column, value."""
    with pytest.raises(RedpollError) as caught:
        invocations.read(text, b"text/csv", MODEL)
    assert caught.value.code == code
    assert any(part in caught.value.message for part in says.split("|")), caught.value.message


@given(st.binary(max_size=80), st.sampled_from([b"text/csv", b"application/json"]))
@settings(deadline=None)
def test_no_bytes_whatever_break_the_reader(body: bytes, kind: bytes) -> None:
    """Rows, or a 4xx."""
    try:
        invocations.read(body, kind, MODEL)
    except RedpollError as error:
        assert 400 <= error.status < 500


def test_values_without_names_want_a_declaration() -> None:
    """A declared matrix names them; a model of one column takes bare values."""
    body = json.dumps({"instances": [[1, 2], [3, 4]]}).encode()
    matrix = Model(name="m", tensor=Tensor(name="x", columns=("a", "b")))
    assert invocations.read(body, b"", matrix) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    with pytest.raises(RedpollError, match="dataframe_split"):
        invocations.read(body, b"", Model(name="m"))
    one = Model(name="m", inputs={"t": "text"})
    assert invocations.read(b'{"inputs": ["a", "b"]}', b"", one) == [{"t": "a"}, {"t": "b"}]


async def invoke(plane: Plane, path: str, body: bytes, kind: str, *replied: bytes) -> Any:
    connection, transport = plane.connect()
    plane.hold = True
    connection.data_received(request("POST", path, body, content_type=kind))
    await plane.settle()
    for reply in replied:
        plane.rig.backends["v1"].answer(200, reply)
    await plane.settle()
    (found,) = replies(transport.out)
    return found


def test_predictions_are_answered_as_mlflow_does(tmp_path: Path) -> None:
    """A value a row for one output; the backend gets tensors, the journal rows."""

    async def story() -> None:
        plane = Plane(tmp_path, MODEL)
        for path in ("/invocations", "/invocations/m", "/invocations/m/versions/v1"):
            reply = await invoke(plane, path, CSV.encode(), "text/csv", answer(0.5, 0.25))
            assert (reply.status, reply.said) == (200, {"predictions": [0.5, 0.25]}), reply
            assert reply.headers["redpoll-version"] == "v1"
        asked = plane.rig.requests()[0]
        assert asked.inputs is not None and json.loads(asked.inputs) == {
            name: [row[name] for row in ROWS] for name in ROWS[0]
        }
        assert asked.rows == 2
        reply = await invoke(plane, "/invocations", b'{"instances": []}', "application/json")
        assert (reply.status, reply.said) == (200, {"predictions": []})
        reply = await invoke(plane, "/invocations", b'{"instances": [{"agee": 1}]}', "")
        assert reply.status == 400 and "Did you mean 'age'?" in reply.said["error"]
        plane.whole()

    run(story)


def test_several_outputs_are_an_object_a_row(tmp_path: Path) -> None:
    """As MLflow writes a DataFrame."""

    async def story() -> None:
        plane = Plane(tmp_path, Model(name="m"))
        two = json.loads(answer(1, name="a", datatype="INT64"))["outputs"]
        two += json.loads(answer(0.5, name="b"))["outputs"]
        body = b'{"dataframe_records": [{"x": 1}]}'
        reply = await invoke(plane, "/invocations", body, "", json.dumps({"outputs": two}).encode())
        assert reply.said == {"predictions": [{"a": 1, "b": 0.5}]}
        assert (await plane.ask("GET", "/ping")).status == 200

    run(story)


def test_of_several_models_one_is_named(tmp_path: Path) -> None:
    """Else it would be a guess."""

    async def story() -> None:
        plane = Plane(tmp_path, MODEL)
        plane.gateway.models = {"m": plane.gateway.models["m"], "n": plane.gateway.models["m"]}
        reply = await plane.ask("POST", "/invocations", CSV.encode(), content_type="text/csv")
        assert (reply.status, reply.said["code"]) == (404, "RP-102")
        assert "(m, n)" in reply.said["error"]

    run(story)
