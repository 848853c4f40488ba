"""Plain rows to tensors and back: what POST /predict takes and answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.catalog import Model, Output, Tensor
from redpoll.errors import RedpollError
from redpoll.tensors import columns, oip, rows

DECLARED = {"age": "int", "rate": "float", "open": "bool", "plan": "category", "note": "text"}
MODEL = Model(name="m", inputs=DECLARED)
FREE = Model(name="m")


def tensors(said: Any, model: Model = MODEL, *, nullable: bool = True) -> dict[str, dict]:
    read = rows.read(json.dumps(said).encode(), model.inputs)
    made = rows.to_tensors(rows.to_columns(read.rows, model, frozenset()), model, nullable=nullable)
    return {tensor["name"]: tensor for tensor in made}


def refusal(said: Any, model: Model = MODEL) -> str:
    with pytest.raises(RedpollError) as caught:
        tensors(said, model)
    assert caught.value.status == 400
    return caught.value.message


ROW = st.fixed_dictionaries(
    {},
    optional={
        "age": st.none() | st.integers(-(2**63), 2**63 - 1),
        "rate": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "open": st.none() | st.booleans(),
        "plan": st.none() | st.text(max_size=4).filter(lambda t: t.isprintable()),
    },
)


@given(st.lists(ROW.filter(bool), min_size=1, max_size=4))
def test_rows_become_tensors_that_the_protocol_takes(said: list[dict]) -> None:
    """Every column is there, in order, with its datatype; only nullable ones say so."""
    made = tensors({"rows": said})
    assert list(made) == list(DECLARED)
    for name, tensor in made.items():
        assert tensor["shape"] == [len(said)]
        assert tensor["data"] == [row.get(name) for row in said]
        missing = None in tensor["data"] and tensor["datatype"] in ("INT64", "BOOL")
        assert tensor.get("parameters") == ({"nullable": True} if missing else None)
    plain = [t for t in made.values() if "parameters" not in t]
    oip.read(json.dumps({"inputs": plain}).encode())


@given(st.lists(ROW.filter(bool), min_size=1, max_size=4))
def test_other_servers_get_missing_numbers_as_null_in_a_float_tensor(said: list[dict]) -> None:
    """OIP has no missing integer: what goes out is always a request that redpoll itself would take."""
    made = tensors({"rows": said}, nullable=False)
    read = oip.read(json.dumps({"inputs": list(made.values())}).encode())
    kinds = {tensor.name: tensor.datatype for tensor in read.inputs}
    ages = [row.get("age") for row in said]
    assert kinds["age"] == ("FP64" if None in ages else "INT64")


def test_one_row_stands_by_itself() -> None:
    """{"age": 41} is a request of one row; what it lacks is missing."""
    made = tensors({"age": 41})
    assert made["age"]["data"] == [41]
    assert made["plan"]["data"] == [None]


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"agee": 1}, "'age'"),
        ({"age": 1.5}, "whole number"),
        ({"age": 1.0}, "whole number"),
        ({"age": True}, "whole number"),
        ({"age": 2**63}, "64 bits"),
        ({"age": "41"}, "whole number"),
        ({"rate": "x"}, "number"),
        ({"open": 1}, "true, false"),
        ({"plan": 3}, "string"),
        ({"plan": ["a"]}, "string"),
        ({}, "no inputs"),
        ({"rows": [{}, {}]}, "no inputs"),
        ({"rows": [1]}, "list of objects"),
        ({"rows": {}}, "list of objects"),
        ({"rows": [], "x": 1}, "'x'"),
        ({"rows": [{"age": 1}], "id": 3}, "`id`"),
        ([{"age": 1}], "list"),
        (3, "value"),
    ],
)
def test_what_does_not_fit_is_said_in_words(said: Any, word: str) -> None:
    """The row and column where it is, and what to send."""
    assert word in refusal(said)


def test_undeclared_columns_take_the_type_of_their_values() -> None:
    """A whole float stays a float; a column of nothing is missing numbers; mixtures are refused."""
    said = {"rows": [{"a": 1, "b": 1.0, "c": True, "d": "x", "e": None, "f": 1},
                     {"a": 2, "b": None, "c": False, "d": None, "e": None, "f": 0.5}]}  # fmt: skip
    made = tensors(said, FREE)
    kinds = {name: tensor["datatype"] for name, tensor in made.items()}
    assert kinds == {"a": "INT64", "b": "FP64", "c": "BOOL", "d": "BYTES", "e": "FP64", "f": "FP64"}
    assert made["f"]["data"] == [1.0, 0.5]
    assert "mixes" in refusal({"rows": [{"a": 1}, {"a": "x"}]}, FREE)
    assert "mixes" in refusal({"rows": [{"a": 1}, {"a": True}]}, FREE)
    assert "nested" in refusal({"a": {"b": 1}}, FREE)


def test_a_row_may_have_a_column_of_the_name_rows_where_it_is_declared() -> None:
    """Then {"rows": 3} is one row, not many."""
    model = Model(name="m", inputs={"rows": "int"})
    assert tensors({"rows": 3}, model)["rows"]["data"] == [3]


def test_a_declared_matrix_is_put_together_for_other_servers_only() -> None:
    """Our own workers take columns; another server wants the matrix that clients would send."""
    model = Model(name="m", inputs={"a": "float", "b": "int", "c": "text"},
                  tensor=Tensor(name="input-0", columns=("a", "b")))  # fmt: skip
    said = {"rows": [{"a": 1.5, "b": 2, "c": "x"}, {"a": None, "b": 4, "c": None}]}
    remote = tensors(said, model, nullable=False)
    assert remote["input-0"] == {"name": "input-0", "shape": [2, 2], "datatype": "FP64",
                                 "data": [1.5, 2.0, None, 4.0]}  # fmt: skip
    assert remote["c"]["data"] == ["x", None]
    assert set(tensors(said, model)) == {"a", "b", "c"}


def test_zero_rows_are_a_request_of_no_rows() -> None:
    """{"rows": []} is allowed: 200 with zero rows."""
    assert all(tensor["shape"] == [0] for tensor in tensors({"rows": []}).values())


def answer(*outputs: dict) -> bytes:
    return json.dumps({"outputs": list(outputs)}).encode()


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[]", b'{"outputs":{}}', b'{"outputs":[NaN]}', b"\xff", b"[" * 90_000,
     answer({"name": "a", "shape": [2], "datatype": "FP64", "data": [1.0]}),
     answer({"name": "a", "shape": [], "datatype": "FP64", "data": [1.0]}),
     answer({"name": "a", "shape": [-1, -1], "datatype": "FP64", "data": [1.0]}),
     answer({"name": "a", "shape": [1], "datatype": "FP64"}),
     answer({"name": "a", "shape": [2, 1], "datatype": "FP64", "data": [[1.0], 2.0]})],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_the_backends_fault(raw: bytes) -> None:
    """RP-201: 502, never a 400 to the client."""
    with pytest.raises(RedpollError) as caught:
        columns.read_answer(raw)
    assert (caught.value.code, caught.value.status) == ("RP-201", 502)


def test_answers_become_rows() -> None:
    """[n] and [n,1] are values, [n,k] lists; integers stay exact, null stays null."""
    raw = answer(
        {"name": "churn", "shape": [2], "datatype": "INT64", "data": [2**62 + 1, 0]},
        {"name": "p", "shape": [2, 1], "datatype": "FP64", "data": [[0.5], [None]]},
        {"name": "v", "shape": [2, 2], "datatype": "FP64", "data": [1.0, 2.0, 3.0, 4.0]},
    )
    found = rows.from_tensors(columns.read_answer(raw), 2, None)
    assert rows.to_rows(found, 2) == [
        {"churn": 2**62 + 1, "p": 0.5, "v": [1.0, 2.0]},
        {"churn": 0, "p": None, "v": [3.0, 4.0]},
    ]


def test_an_answer_with_another_number_of_rows_is_invalid() -> None:
    """Or rows would be given answers of others."""
    raw = answer({"name": "a", "shape": [1], "datatype": "FP64", "data": [1.0]})
    with pytest.raises(RedpollError) as caught:
        rows.from_tensors(columns.read_answer(raw), 2, None)
    assert caught.value.code == "RP-201"


def test_an_output_declared_json_is_given_as_json() -> None:
    """Text that is no JSON is the backend's fault."""
    output = Output(name="a", type="json")
    good = answer({"name": "a", "shape": [1], "datatype": "BYTES", "data": ['{"k": [1]}']})
    assert rows.from_tensors(columns.read_answer(good), 1, output) == {"a": [{"k": [1]}]}
    bad = answer({"name": "a", "shape": [1], "datatype": "BYTES", "data": ["{"]})
    with pytest.raises(RedpollError):
        rows.from_tensors(columns.read_answer(bad), 1, output)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3))
def test_columns_of_matrices_keep_their_values_in_place(n: int, k: int, depth: int) -> None:
    """Nested by every dimension behind the first."""
    data = list(range(n * k * depth))
    nested = columns.column([n, k, depth], data)
    assert len(nested) == n
    assert [v for row in nested for part in row for v in part] == data
