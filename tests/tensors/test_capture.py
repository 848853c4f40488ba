"""What came over the wire, as the columns of a sealed fact; and what is kept out of it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from redpoll.capture import (
    OIP_ANSWER,
    OIP_REQUEST,
    ROWS_REQUEST,
    TEXT,
    TEXT_BYTES_MAX,
    materialise,
)  # fmt: skip
from redpoll.capture.redact import MASK, Masks
from redpoll.catalog import Tensor
from redpoll.facts import Answer, Entry, Fact, Outcome, Request

REQUEST, ANSWER = Request("p", "r", 0), Answer("p", "v1")


def made(fact: Fact, raw: bytes, raw_format: int, tensor: Tensor | None = None) -> Any:
    return materialise(Entry("s", 1, 1, 1, "m", fact, raw, raw_format), tensor)


def oip(*tensors: dict, **more: Any) -> bytes:
    return json.dumps({"inputs": list(tensors), **more}).encode()


X = {"name": "x", "shape": [2], "datatype": "INT64", "data": [2**63 - 1, -(2**63)]}
MATRIX = {"name": "input-0", "shape": [2, 2], "datatype": "FP64", "data": [1, 2.5, None, 4]}


def test_a_request_gets_its_inputs_by_column() -> None:
    """Columns × rows, integers exact, floats floats."""
    fact = made(REQUEST, oip(X, MATRIX), OIP_REQUEST)
    assert fact.rows == 2
    assert json.loads(fact.inputs) == {"x": X["data"], "input-0": [[1.0, 2.5], [None, 4.0]]}
    assert (fact.body, fact.encoding) == (None, None)


def test_a_declared_matrix_is_taken_apart_into_its_columns() -> None:
    """So that the log has the columns that the model declares."""
    fact = made(REQUEST, oip(MATRIX), OIP_REQUEST, Tensor(name="input-0", columns=("a", "b")))
    assert json.loads(fact.inputs) == {"a": [1.0, None], "b": [2.5, 4.0]}


def test_plain_rows_become_columns_too() -> None:
    """In order of first sight; what a row lacks is null; one row stands by itself."""
    fact = made(REQUEST, b'{"rows":[{"a":1},{"b":"x","a":2.0}],"id":"k"}', ROWS_REQUEST)
    assert fact.inputs == '{"a":[1,2.0],"b":[null,"x"]}'
    assert fact.rows == 2
    assert made(REQUEST, b'{"a":1}', ROWS_REQUEST).inputs == '{"a":[1]}'


def test_the_request_id_of_the_body_is_taken_where_the_fact_has_none() -> None:
    """What the gateway wrote wins."""
    without = Request("p", "", 0)
    assert made(without, oip(X, id="k"), OIP_REQUEST).request_id == "k"
    assert made(REQUEST, oip(X, id="k"), OIP_REQUEST).request_id == "r"
    assert made(without, b'{"rows":[{"a":1}],"id":"k"}', ROWS_REQUEST).request_id == "k"


@given(st.binary(max_size=40), st.sampled_from([OIP_REQUEST, ROWS_REQUEST, 77]))
def test_a_body_that_cannot_be_read_is_kept_as_it_is(raw: bytes, raw_format: int) -> None:
    """Nothing that a client sent can stop the sealer."""
    fact = made(REQUEST, raw, raw_format)
    assert fact.inputs is not None or (fact.body == raw and fact.encoding)


def test_an_answer_gets_its_outputs_and_what_the_backend_reports() -> None:
    """Outputs by column; the numbers among its parameters are reported."""
    raw = b'{"outputs":[{"name":"p","shape":[2],"datatype":"FP64","data":[0.5,null]}],"parameters":{"cost":1.5,"n":3,"ok":true,"s":"x"}}'
    fact = made(ANSWER, raw, OIP_ANSWER)
    assert json.loads(fact.outputs) == {"p": [0.5, None]}
    assert json.loads(fact.reported) == {"cost": 1.5, "n": 3}


@given(st.binary(max_size=40), st.sampled_from([OIP_ANSWER, TEXT]))
def test_an_answer_that_cannot_be_read_is_kept_as_an_errors_text(
    raw: bytes, raw_format: int
) -> None:
    """Under the key `error`."""
    fact = made(ANSWER, raw, raw_format)
    assert set(json.loads(fact.outputs)) == {"error"}


def test_an_errors_own_sentence_is_taken_out_of_its_document_and_bounded() -> None:
    """{"error": …} is what nearly every server sends."""
    assert made(ANSWER, b'{"error":"no","code":"x"}', TEXT).outputs == '{"error":"no"}'
    assert made(ANSWER, b'{"detail":"no"}', TEXT).outputs == '{"error":"{\\"detail\\":\\"no\\"}"}'
    assert len(made(ANSWER, b"x" * 200_000, TEXT).outputs) < TEXT_BYTES_MAX + 100


def test_other_facts_and_facts_without_a_body_stay_as_they_are() -> None:
    """Also a request whose columns the gateway made itself."""
    outcome = Outcome("o", "p", None, 0, "redo")
    assert made(outcome, b"", 0) is outcome
    ready = Request("p", "r", 1, inputs='{"a":[1]}')
    assert made(ready, b"", 0) is ready


VALUES = st.text(min_size=2, max_size=8).filter(lambda t: len(t.strip()) > 1) | st.integers(
    100, 10**9
)


@given(st.lists(VALUES, min_size=1, max_size=4), st.text("<>=", max_size=10))
def test_no_redacted_value_is_left_in_a_text(values: list[Any], around: str) -> None:
    """Written plainly, as JSON or as Python writes it."""
    masks = Masks({"note": values})
    for value in values:
        for written in (str(value), json.dumps(value), repr(value), ascii(value)):
            inner = written.strip("'\"")
            cleaned = masks.text(f"{around} {written} {around}").replace(MASK, "")
            assert set(inner) <= set("<>= ") or inner not in cleaned


def test_redacted_values_leave_outputs_but_other_numbers_stay() -> None:
    """An output named like the input goes; texts are masked; a class 1 is not a redacted 1."""
    masks = Masks({"note": ["secret words"], "income": [51234.0, 1]})
    cleaned = masks.outputs(
        {
            "churn": [1, 0],
            "note": ["secret words"],
            "why": ["because of secret words and 51234"],
            "v": [["secret words"]],
        }
    )
    assert cleaned == {"churn": [1, 0], "why": [f"because of {MASK} and {MASK}"], "v": [[MASK]]}


def test_numbers_are_masked_as_words_not_inside_others() -> None:
    """41 is masked, 4100 and 3.41 are not."""
    masks = Masks({"age": [41]})
    assert (
        masks.text("age 41, 4100, 3.41, 41.0; x=41.")
        == f"age {MASK}, 4100, 3.41, {MASK}; x={MASK}."
    )


def test_empty_and_missing_values_mask_nothing() -> None:
    """Else every text would be one mask."""
    masks = Masks({"note": ["", None, " ", True]})
    assert masks.text("all of this stays: True") == "all of this stays: True"
