"""What a model returned, as tensors: datatypes, nulls, and what cannot be sent."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from redpoll.backends.worker.answers import BadAnswer, encode


def sent(value: Any, rows: int = 2, declared: str | None = None) -> tuple[str, list[int], Any]:
    body = encode({"model_name": "m"}, {"y": value}, rows, {"y": declared} if declared else {})
    (tensor,) = json.loads(body, parse_constant=pytest.fail)["outputs"]
    return tensor["datatype"], tensor["shape"], tensor["data"]


@pytest.mark.parametrize(
    ("value", "datatype", "data"),
    [
        (np.array([1.0, 2.5]), "FP64", [1.0, 2.5]),
        (np.array([1, np.nan], np.float32), "FP32", [1.0, None]),
        ([float("inf"), float("-inf")], "FP64", [None, None]),
        (np.array([1, 2], np.int32), "INT32", [1, 2]),
        (np.array([1, 2**63], np.uint64), "UINT64", [1, 2**63]),
        (np.array([2**63 - 1, -(2**63)]), "INT64", [2**63 - 1, -(2**63)]),
        (np.array([True, False]), "BOOL", [True, False]),
        (np.array(["a", "ü"]), "BYTES", ["a", "ü"]),
        (np.array([b"a", b"b"]), "BYTES", ["a", "b"]),
        (np.array(["a", None], dtype=object), "BYTES", ["a", None]),
        (np.array([1, 2], dtype=object), "INT64", [1, 2]),
        (np.array([1, None], dtype=object), "FP64", [1.0, None]),
        (np.array([np.float64("nan"), np.int64(3)], dtype=object), "FP64", [None, 3.0]),
        (np.array(["2026-11-24", "NaT"], "datetime64[D]"), "BYTES", ["2026-11-24", None]),
        (["half of a pair \ud800", "b"], "BYTES", ["half of a pair \ud800", "b"]),
    ],
)
def test_an_output_is_sent_in_the_datatype_that_its_values_have(
    value: Any, datatype: str, data: list[Any]
) -> None:
    """A NaN or an infinity is null; integers stay exact."""
    assert sent(value) == (datatype, [2], data)


def test_a_declared_float_stays_a_float() -> None:
    """Also where the model answers with whole numbers."""
    datatype, _, data = sent(np.array([1, 2]), declared="float")
    assert datatype == "FP64"
    assert all(isinstance(value, float) for value in data)


def test_a_declared_json_output_is_written_as_text() -> None:
    """Anything that JSON can say; a string passes as it is."""
    value = np.array([{"a": [1]}, '{"b": 2}'], dtype=object)
    assert sent(value, declared="json")[2] == ['{"a": [1]}', '{"b": 2}']


@pytest.mark.parametrize(
    ("value", "declared", "datatype", "data"),
    [
        ([True, False], "int", "INT64", [1, 0]),
        ([1.0, 0.0], "int", "INT64", [1, 0]),
        ([1.5, 0.0], "int", "FP64", [1.5, 0.0]),
        ([np.nan, 0.0], "int", "FP64", [None, 0.0]),
        ([1e300, 0.0], "int", "FP64", [1e300, 0.0]),
        ([1, 0], "bool", "BOOL", [True, False]),
        ([2, 0], "bool", "INT64", [2, 0]),
        (["yes", "no"], "int", "BYTES", ["yes", "no"]),
    ],
)
def test_a_class_is_sent_as_its_positive_one_where_that_loses_nothing(
    value: list[Any], declared: str, datatype: str, data: list[Any]
) -> None:
    """A model that returns ``share > 0.5`` answers 1 where ``positive = 1``."""
    assert sent(np.array(value), declared=declared) == (datatype, [2], data)


def test_matrices_keep_their_shape_and_columns_lose_the_one() -> None:
    """[n, 1] is a column; [n, k] is sent flat with its shape."""
    assert sent(np.array([[1.0], [2.0]]))[1] == [2]
    assert sent(np.array([[1.0, 2.0], [3.0, 4.0]]))[1:] == ([2, 2], [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("value", "declared", "words"),
    [
        (np.array([1.0, 2.0, 3.0]), None, "shape"),
        (5.0, None, "shape"),
        (np.array(["a", 1], dtype=object), None, "mixes int, str"),
        (np.array([True, None], dtype=object), None, "truth value"),
        (np.array([1j, 2j]), None, "complex"),
        (np.array(["a", "b"]), "float", "declared float"),
        (np.array([object(), 1], dtype=object), "json", "declared json"),
        ([[1.0], [1.0, 2.0]], None, "no array"),
    ],
)
def test_what_no_tensor_can_carry_is_the_models_mistake(
    value: Any, declared: str | None, words: str
) -> None:
    """And is said so, with the output's name."""
    with pytest.raises(BadAnswer, match=words) as caught:
        sent(value, declared=declared)
    assert "'y'" in str(caught.value)
