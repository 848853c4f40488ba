"""Whole bodies with binary tensors: what is right is read, and every lie is a clear 4xx."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.errors import RedpollError
from redpoll.tensors import binary
from redpoll.tensors.oip import Infer
from tests.protocols.bodies import NUMPY, body, floats, tensor, texts

GOOD, HEAD = body(
    floats("x", 1.5, -2.0),
    ({"name": "n", "datatype": "INT64", "shape": [2], "data": [7, 8]}, b""),
    tensor("t", "BYTES", [2, 1], texts(b"\xff\xfe", "ü".encode())),
    id="r-1",
    parameters={"binary_data_output": True},
)


def error_of(given_bytes: bytes, head_bytes: int) -> RedpollError:
    with pytest.raises(RedpollError) as caught:
        binary.read(given_bytes, head_bytes)
    assert 400 <= caught.value.status < 500
    return caught.value


def test_tensors_in_json_and_raw_ones_come_in_one_body() -> None:
    """The bytes belong to the raw ones, in their order."""
    infer = binary.read(GOOD, HEAD)
    assert infer.id == "r-1"
    assert [(t.name, t.shape, t.data) for t in infer.inputs] == [
        ("x", [2], [1.5, -2.0]),
        ("n", [2], [7, 8]),
        ("t", [2, 1], [b"\xff\xfe", "ü"]),
    ]
    assert binary.asked(infer) == binary.Asked(True, {})


def test_a_body_that_is_cut_anywhere_or_has_a_byte_too_many_is_refused() -> None:
    """At every length."""
    for end in range(len(GOOD)):
        error_of(GOOD[:end], HEAD)
    assert "1 bytes are left behind" in error_of(GOOD + b"x", HEAD).message


def test_a_wrong_length_of_the_json_is_refused() -> None:
    """Every one but the right one, and those that leave a JSON that is one by chance."""
    for head_bytes in range(len(GOOD) + 10):
        if head_bytes != HEAD:
            error_of(GOOD, head_bytes)
    assert error_of(GOOD, len(GOOD) + 1).code == "RP-120"


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (
            {"parameters": {"binary_data_size": 9}},
            "RP-120",
            "9 bytes (binary_data_size), but 8 are",
        ),
        ({"parameters": {"binary_data_size": 7}}, "RP-120", "not 7"),
        ({"parameters": {"binary_data_size": -1}}, "RP-120", "no size in bytes"),
        ({"parameters": {"binary_data_size": "8"}}, "RP-120", "no size in bytes"),
        ({"parameters": {"binary_data_size": 2**70}}, "RP-120", "no size in bytes"),
        ({"parameters": {"binary_data_size": True}}, "RP-120", "no size in bytes"),
        ({"parameters": {}}, "RP-107", "`data` must be a list"),
        ({"data": [1.0, 2.0]}, "RP-120", "both `data` and `binary_data_size`"),
        ({"shape": [3]}, "RP-120", "3 values of FP32 are 12 bytes, not 8"),
        ({"shape": []}, "RP-107", "`shape` is empty"),
        ({"shape": [-2]}, "RP-107", "list of sizes"),
        ({"shape": [2**40] * 31}, "RP-120", "not 8"),
        ({"shape": [2**40] * 5000}, "RP-107", "at most 32"),
        ({"datatype": "FP23"}, "RP-107", "Did you mean 'FP32'?"),
        ({"datatype": "FP64"}, "RP-120", "2 values of FP64 are 16 bytes, not 8"),
        ({"datatype": "BYTES"}, "RP-120", "says that it has"),
        ({"datatype": None}, "RP-107", "datatype"),
        ({"name": 3}, "RP-101", "`name`"),
    ],
)
def test_a_lie_about_a_tensor_is_refused_and_said(
    change: dict[str, Any], code: str, says: str
) -> None:
    """What is said, and what the body holds."""
    one, raw = floats("x", 1.5, -2.0)
    error = error_of(*body((one | change, raw)))
    assert (error.code, says in error.message) == (code, True), error.message


def test_two_tensors_cannot_share_bytes_or_a_name() -> None:
    """Sizes add up to the body: what one takes, no other has."""
    one, raw = floats("x", 1.5, -2.0)
    error = error_of(*body((one, raw), (one | {"name": "y"}, b"")))
    assert "input 'y' says that it has 8 bytes (binary_data_size), but 0 are left" in error.message
    assert "came twice" in error_of(*body((one, raw), (one, raw))).message


def test_a_raw_tensor_without_the_header_is_told_about_it() -> None:
    """As JSON alone the body makes no sense."""
    one, raw = floats("x", 1.5)
    head = json.dumps({"inputs": [one]}).encode()
    from redpoll.tensors import oip

    with pytest.raises(RedpollError, match="Inference-Header-Content-Length") as caught:
        oip.read(head)
    assert caught.value.code == "RP-120"


@settings(deadline=None)
@given(st.data())
def test_no_body_whatever_breaks_the_reader(data: st.DataObject) -> None:
    """A good body with some bytes changed, cut or doubled: read, or a 4xx; nothing else."""
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        piece = data.draw(st.binary(max_size=6))
        changed[at : at + data.draw(st.integers(0, 6))] = piece
        changed = changed or bytearray(b"{")
    head_bytes = data.draw(st.one_of(st.just(HEAD), st.integers(0, len(changed) + 5)))
    try:
        infer = binary.read(bytes(changed), head_bytes)
    except RedpollError as error:
        assert 400 <= error.status < 500
        return
    for one in infer.inputs:
        assert len(one.data) == np.prod(one.shape)
    binary.exact(infer)
    binary.asked(infer)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*sorted(NUMPY), "BYTES"]), st.integers(0, 4), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_what_is_written_from_the_words_of_the_extension_is_read_as_it_was(
    columns: list[tuple[str, int, int]], random: Any
) -> None:
    """Shapes, names and values of all datatypes, against numpy."""
    tensors, arrays = [], []
    for at, (datatype, rows, width) in enumerate(columns):
        count = rows * width
        if datatype == "BYTES":
            elements = [random.randbytes(random.randrange(5)) for _ in range(count)]
            raw, array = texts(*elements), np.array([*elements, None], dtype=object)[:-1]
        else:
            raw = random.randbytes(count * np.dtype(NUMPY[datatype]).itemsize)
            raw = bytes(b & 1 for b in raw) if datatype == "BOOL" else raw
            array = np.frombuffer(raw, NUMPY[datatype])
        tensors.append(tensor(f"c{at}", datatype, [rows, width], raw))
        arrays.append(array)
    infer: Infer = binary.read(*body(*tensors))
    for one, array in zip(infer.inputs, arrays, strict=True):
        values: list[Any] = list(one.data)
        if one.datatype == "BYTES":
            assert [v.encode() if isinstance(v, str) else v for v in values] == list(array)
        else:
            assert np.array_equal(np.array(values), array, equal_nan=one.datatype.startswith("FP"))


def test_an_answer_goes_from_json_to_raw_and_back() -> None:
    """Null is NaN there; what has no place in its datatype stays JSON."""
    said = {
        "model_name": "m",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2], "data": [1.5, None]},
            {"name": "n", "datatype": "INT64", "shape": [2], "data": [1, None]},
            {"name": "t", "datatype": "BYTES", "shape": [1, 2], "data": [["a", "ü"]]},
        ],
    }
    raw, head_bytes = binary.answer_as_binary(json.dumps(said).encode(), binary.Asked(True, {}))
    assert head_bytes is not None
    head = json.loads(raw[:head_bytes])
    assert [one.get("parameters") for one in head["outputs"]] == [
        {"binary_data_size": 8},
        None,
        {"binary_data_size": len(texts(b"a", "ü".encode()))},
    ]
    assert raw[head_bytes:] == struct.pack("<f", 1.5) + b"\0\0\xc0\x7f" + texts(b"a", "ü".encode())
    back = json.loads(binary.answer_as_json(raw, head_bytes))
    said["outputs"][2]["data"] = ["a", "ü"]
    assert back == said


def test_only_the_outputs_that_are_wanted_raw_become_so() -> None:
    """`binary_data` of an output counts more than `binary_data_output` of the request."""
    said = json.dumps({"outputs": [{"name": n, "datatype": "INT8", "shape": [1], "data": [1]} for n in "ab"]}).encode()  # fmt: skip
    raw, head_bytes = binary.answer_as_binary(said, binary.Asked(True, {"a": False}))
    assert head_bytes is not None and ["data" in one for one in json.loads(raw[:head_bytes])["outputs"]] == [True, False]  # fmt: skip
    assert binary.answer_as_binary(said, binary.Asked(False, {})) == (said, None)


@settings(deadline=None)
@given(st.data())
def test_no_answer_whatever_breaks_the_reader(data: st.DataObject) -> None:
    """What a backend sends is read, or it is RP-201."""
    good, head_bytes = body(floats("y", 1.0, 2.0), tensor("t", "BYTES", [1], texts(b"\xff")), of="outputs")  # fmt: skip
    changed = bytearray(good)
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    length = data.draw(st.one_of(st.just(head_bytes), st.integers(0, len(good) + 3)))
    for reads in (binary.read_answer, binary.answer_as_json):
        try:
            reads(bytes(changed), length)
        except RedpollError as error:
            assert error.code == "RP-201"
