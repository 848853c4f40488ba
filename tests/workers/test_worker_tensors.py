"""Tensors to columns, inside the worker: what is taken, and what is said about the rest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.backends.worker.tensors import BadRequest, Call, Declared, read
from tests.workers.rig import column

DECLARED = Declared({"age": "int", "income": "float", "member": "bool", "plan": "category"})
FULL = {
    "age": column("age", [41, 2**63 - 1], "INT64"),
    "income": column("income", [1.5, None]),
    "member": column("member", [True, False], "BOOL"),
    "plan": column("plan", ["basic", None], "BYTES"),
}


def call(declared: Declared = DECLARED, **changes: Any) -> Call:
    inputs = [*{**FULL, **changes}.values()] if declared is DECLARED else [*changes.values()]
    return read(json.dumps({"inputs": inputs}).encode(), declared)


def test_columns_come_in_their_declared_types_and_order() -> None:
    """Integers are exact to 64 bits; null is NaN in a float column and None in a text column."""
    found = call()
    assert list(found.columns) == ["age", "income", "member", "plan"]
    assert found.columns["age"].tolist() == [41, 2**63 - 1]
    assert found.columns["age"].dtype == np.int64
    assert found.columns["income"][0] == 1.5
    assert np.isnan(found.columns["income"][1])
    assert found.columns["member"].tolist() == [True, False]
    assert found.columns["plan"].tolist() == ["basic", None]


def test_whole_numbers_are_taken_for_a_float_column_and_small_ones_for_an_int_column() -> None:
    """INT32, UINT8 and the like widen; FP32 rounds as FP32 does."""
    found = call(
        age=column("age", [1, 255], "UINT8"), income=column("income", [3, 4], "INT32")
    ).columns
    assert found["age"].dtype == np.int64
    assert found["income"].dtype == np.float64
    single = call(income=column("income", [0.1, 1.0], "FP32")).columns["income"]
    assert single[0] == float(np.float32(0.1))


def test_a_column_may_have_the_shape_n_by_1() -> None:
    """[n, 1] is what many clients send for a column; nested data is taken too."""
    tall = {"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [[1], [2]]}
    assert call(age=tall).columns["age"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (column("age", [1, None], "INT64"), ["'age'", "index 1", "cannot be missing"]),
        (column("age", [1, 2.0], "INT64"), ["'age'", "index 1", "2.0", "whole number"]),
        (column("age", [1, True], "INT64"), ["'age'", "index 1", "true"]),
        (column("age", [1, 2**63], "INT64"), ["'age'", "index 1", "does not fit INT64"]),
        (column("age", [1, 300], "UINT8"), ["'age'", "index 1", "300", "UINT8"]),
        (column("age", [1, 2**64 - 1], "UINT64"), ["'age'", "index 1", "INT64"]),
        (column("age", [1.0, 2.0], "FP64"), ["'age'", "declared int", "INT64", "FP64"]),
        (column("income", [1, "2"]), ["'income'", "index 1", '"2"']),
        (column("income", [True, 1.0]), ["'income'", "index 0", "true"]),
        (column("income", [1, 10**400]), ["'income'", "index 1", "does not fit FP64"]),
        (column("income", [1, 1e39], "FP32"), ["'income'", "index 1", "FP32"]),
        (column("member", [True, 1], "BOOL"), ["'member'", "index 1"]),
        (column("member", [None, True], "BOOL"), ["'member'", "index 0", "cannot be missing"]),
        (column("plan", ["a", 1], "BYTES"), ["'plan'", "index 1"]),
        (column("plan", ["a", "b"], "STRING"), ["'plan'", "STRING", "BYTES"]),
        (column("plan", [1, 2], "INT64"), ["'plan'", "declared category", "BYTES"]),
        (column("age", [1], "INT64"), ["rows"]),
        (column("agee", [1, 2], "INT64"), ["'age'", "missing", "'agee'"]),
        ({"name": "age", "shape": [3], "datatype": "INT64", "data": [1, 2]}, ["'age'", "3 values"]),
        ({"name": "age", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}, ["[n, 1]"]),
        ({"name": "age", "shape": [-1], "datatype": "INT64", "data": []}, ["shape"]),
        ({"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [[1], 2]}, ["unevenly"]),
        ({"name": "age", "shape": [1], "datatype": "INT64"}, ["data must be a list"]),
        ({"name": "age", "shape": [1], "data": [1]}, ["datatype"]),
        ({"shape": [1], "datatype": "INT64", "data": [1]}, ["name"]),
    ],
)
def test_a_wrong_tensor_is_refused_with_its_name_and_index(tensor: Any, words: list[str]) -> None:
    """The message alone must be enough to mend the request."""
    changes = {"age": tensor} if tensor.get("name") in (None, "agee") else {tensor["name"]: tensor}
    with pytest.raises(BadRequest) as caught:
        call(**changes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have_are_refused(token: str) -> None:
    """They are sent as null."""
    body = json.dumps({"inputs": [column("x", [12345.0])]}).replace("12345.0", token)
    with pytest.raises(BadRequest, match="null"):
        read(body.encode(), Declared({"x": "float"}))


def test_a_missing_whole_number_reaches_the_model_as_nan_where_the_tensor_says_so() -> None:
    """The gateway marks the tensors that it makes of plain rows ``nullable``; others are strict."""
    marked = {"parameters": {"nullable": True}}
    taken = call(
        age=column("age", [41, None], "INT64") | marked,
        member=column("member", [None, True], "BOOL") | marked,
    )
    found = taken.columns
    assert taken.holes == {"age": [41, None], "member": [None, True]}
    assert found["age"].dtype == np.float64
    assert found["age"][0] == 41.0
    assert np.isnan(found["age"][1])
    assert np.isnan(found["member"][0])
    for wrong in ([2**63, None], [1.5, None], [True, None]):
        with pytest.raises(BadRequest, match="index 0"):
            call(age=column("age", wrong, "INT64") | marked)


def test_a_declared_matrix_is_taken_apart_into_typed_columns() -> None:
    """Whole numbers and truth values come as floats in a matrix, for it has one datatype."""
    declared = Declared({"age": "int", "income": "float"}, "input-0", ("age", "income"))
    matrix = {"name": "input-0", "shape": [2, 2], "datatype": "FP32", "data": [41, 1.5, 42, None]}
    found = call(declared, m=matrix)
    assert found.columns["age"].tolist() == [41, 42]
    assert found.columns["age"].dtype == np.int64
    assert found.rows == 2
    assert found.matrix is not None
    for data, word in (([41.5, 1, 2, 3], "whole"), ([1, 2], "shape")):
        wrong = {**matrix, "data": data, "shape": [len(data) // 2, 2]}
        if word == "shape":
            wrong["shape"] = [2, 1]
        with pytest.raises(BadRequest, match=word):
            call(declared, m=wrong)


def test_an_undeclared_model_gets_whatever_tensors_came() -> None:
    """In the shapes and types that they were sent in."""
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    found = call(Declared({}), x=tensor)
    assert found.columns["x"].shape == (1, 4)
    assert found.columns["x"].dtype == np.float32


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"inputs": []}', b"{", b"\xff", b"[" * 9999])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    """With a sentence, never with another exception."""
    with pytest.raises(BadRequest) as caught:
        read(body, DECLARED)
    assert caught.value.code == "RP-101"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["age", "income", "member", "plan", "m", "other"]),
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "datatype": st.sampled_from(["INT64", "FP32", "UINT8", "BOOL", "BYTES", "FP16", "X"])
        | JSON,
        "data": st.lists(JSON, max_size=4) | JSON,
    }
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TENSORS | JSON, max_size=4), st.booleans())
def test_whatever_comes_is_taken_or_refused_and_nothing_else(inputs: Any, declared: bool) -> None:
    """Any JSON at all gives columns of equal length or a BadRequest, never another exception."""
    known = Declared(DECLARED.inputs, "m", ("age", "plan")) if declared else Declared({})
    try:
        found = read(json.dumps({"inputs": inputs}).encode(), known)
    except BadRequest as error:
        assert str(error)
        return
    assert {len(array) for array in found.columns.values()} <= {found.rows}
