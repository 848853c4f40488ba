"""Reading inference requests: what is taken, and what is said about what is not."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.errors import RedpollError
from redpoll.tensors import oip
from redpoll.tensors.datatypes import KINDS, datatype_of


def body(*tensors: dict, **more: object) -> bytes:
    return json.dumps({"inputs": list(tensors), **more}).encode()


def tensor(data: list, datatype: str = "FP64", name: str = "x", shape: list | None = None) -> dict:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def refusal(raw: bytes) -> RedpollError:
    with pytest.raises(RedpollError) as caught:
        oip.read(raw)
    assert caught.value.status in (400, 415)
    return caught.value


INTS = {name: (kind.low, kind.high) for name, kind in KINDS.items() if kind.kind == "int"}


@given(st.data(), st.sampled_from(sorted(INTS)))
def test_integers_are_exact_to_the_last_bit_of_their_datatype(
    data: st.DataObject, datatype: str
) -> None:
    """Every value in range arrives as it is; one step beyond either end is refused with its index."""
    low, high = INTS[datatype]
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=4))
    values += [low, high]
    assert oip.read(body(tensor(values, datatype))).inputs[0].data == values
    for outside in (low - 1, high + 1):
        error = refusal(body(tensor([*values, outside], datatype)))
        assert error.code == "RP-107"
        assert f"index {len(values)}" in error.message


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1))
def test_floats_arrive_as_they_are_and_null_is_missing(values: list) -> None:
    """Floats keep every bit; null stays null."""
    assert oip.read(body(tensor(values))).inputs[0].data == values


def test_whole_numbers_in_a_float_tensor_are_floats() -> None:
    """41 in an FP64 tensor is 41.0, so that the journal's column has one type."""
    read = oip.read(body(tensor([41, 0.5]))).inputs[0].data
    assert read == [41.0, 0.5]
    assert all(type(value) is float for value in read)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_tokens_that_are_no_finite_number_are_refused_with_what_to_send(token: str) -> None:
    """JSON has no such numbers: the error says null or binary tensors."""
    raw = body(tensor([1.0])).replace(b"1.0", token.encode())
    error = refusal(raw)
    assert error.code == "RP-107"
    assert "null" in error.message
    assert "binary tensors" in error.message


@pytest.mark.parametrize(
    ("datatype", "data", "at"),
    [
        ("INT64", [1, None], 1),
        ("BOOL", [True, False, None], 2),
        ("INT64", [1.5], 0),
        ("INT64", [1.0], 0),
        ("INT64", [True], 0),
        ("BOOL", [1], 0),
        ("FP64", ["1"], 0),
        ("FP64", [True], 0),
        ("BYTES", [1], 0),
        ("BYTES", ["a", ["b"]], 1),
    ],
)
def test_a_value_of_another_type_is_named_by_tensor_and_index(
    datatype: str, data: list, at: int
) -> None:
    """Nothing is silently converted; null has no place among integers and truth values."""
    error = refusal(body(tensor(data, datatype, name="age")))
    assert error.code == "RP-107"
    assert '"age"' in error.message
    assert f"index {at}" in error.message


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2], [1.0]),
        ([2, 2], [1.0, 2.0, 3.0]),
        ([0], [1.0]),
        ([], [1.0]),
        ([-1], [1.0]),
        ([1.0], [1.0]),
    ],
)
def test_a_shape_that_lies_about_its_data_is_refused(shape: list, data: list) -> None:
    """As is a shape without rows, or with sizes that are none."""
    assert refusal(body(tensor(data) | {"shape": shape})).code == "RP-107"


def test_data_that_is_nested_like_its_shape_is_read_row_by_row() -> None:
    """OIP allows both; ragged rows are refused."""
    read = oip.read(body(tensor([[1, 2], [3, 4]], shape=[2, 2]))).inputs[0]
    assert read.data == [1.0, 2.0, 3.0, 4.0]
    deep = oip.read(body(tensor([[[1], [2]], [[3], [4]]], "INT64", shape=[2, 2, 1]))).inputs[0]
    assert deep.data == [1, 2, 3, 4]
    assert "different lengths" in refusal(body(tensor([[1, 2], [3]], shape=[2, 2]))).message
    assert "unevenly" in refusal(body(tensor([[1, 2], 3], shape=[2, 2]))).message


def test_names_are_unique_and_there_is_at_least_one_tensor() -> None:
    """Two tensors of one name would hide one another."""
    assert "came twice" in refusal(body(tensor([1.0]), tensor([2.0]))).message
    assert "at least one" in refusal(body()).message


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}", b'{"inputs":3}', b'{"inputs":[3]}',
     b'{"inputs":[{}]}', b'{"inputs":[{"name":"a","shape":[1],"datatype":3,"data":[1]}]}',
     b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP64"}]}', b'{"id":7,"inputs":[]}',
     b'{"inputs":[{"name":3,"shape":[1],"datatype":"FP64","data":[1]}]}', b"[" * 100_000,
     b'{"inputs":[{"name":"a","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}'],
)  # fmt: skip
def test_what_is_no_inference_request_is_refused_in_words(raw: bytes) -> None:
    """Never a crash, always a sentence."""
    assert len(refusal(raw).message) > 20


def test_a_misspelt_key_or_datatype_is_named() -> None:
    """The error says what was probably meant."""
    assert "'input'" in refusal(b'{"input":[]}').message
    assert "FP64" in refusal(body(tensor([1.0], "FP46"))).message


def test_binary_tensors_are_refused_clearly() -> None:
    """Without the header that says where the JSON ends."""
    binary = {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
    error = refusal(body(binary))
    assert error.code == "RP-120"
    assert "Inference-Header-Content-Length" in error.message


def test_ids_are_bounded_and_outputs_are_names() -> None:
    """A very long id is refused; wanted outputs are read where they are needed."""
    assert oip.read(body(tensor([1.0]), id="r-1")).id == "r-1"
    assert "characters" in refusal(body(tensor([1.0]), id="x" * 600)).message
    read = oip.read(body(tensor([1.0]), outputs=[{"name": "a", "parameters": {}}, {"name": "b"}]))
    assert oip.wanted_outputs(read) == ["a", "b"]
    assert oip.wanted_outputs(oip.read(body(tensor([1.0])))) is None
    with pytest.raises(RedpollError):
        oip.wanted_outputs(oip.read(body(tensor([1.0]), outputs=["a"])))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(["name", "shape", "datatype", "data", "parameters"])
ODD_TENSORS = st.dictionaries(
    KEYS, JSON | st.sampled_from(["FP64", "INT64", "BYTES", [1], [2, 2], "x"]), max_size=5
)


@given(st.lists(ODD_TENSORS | JSON, max_size=3), JSON)
def test_whatever_json_comes_the_answer_is_a_record_or_a_refusal(
    tensors: list, number: object
) -> None:
    """And where both ways of reading take it, the fast way and the slow way agree."""
    raw = json.dumps({"inputs": tensors, "id": number}).encode()
    try:
        fast = oip.read(raw)
    except RedpollError as error:
        assert error.status in (400, 415)
        return
    slow = oip._read_slowly(raw)
    assert [(t.name, t.shape, t.data, t.datatype) for t in fast.inputs] == [
        (t.name, t.shape, t.data, t.datatype) for t in slow.inputs
    ]
    for one in fast.inputs:
        assert math.prod(one.shape) == len(one.data)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_json_are_refused(raw: bytes) -> None:
    """Any bytes at all."""
    with pytest.raises(RedpollError):
        oip.read(raw)


def test_declared_types_have_the_datatypes_of_the_reference() -> None:
    """`float` FP64, `int` INT64, `bool` BOOL, everything else BYTES."""
    expected = {"float": "FP64", "int": "INT64", "bool": "BOOL", "category": "BYTES", "text": "BYTES",
                "time": "BYTES", "image": "BYTES", "audio": "BYTES", "embedding": "BYTES"}  # fmt: skip
    assert {kind: datatype_of(kind) for kind in expected} == expected
