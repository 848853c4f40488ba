"""Values and their bytes: every datatype, bit for bit, against numpy."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.tensors import raw
from tests.protocols.bodies import NUMPY, texts


@settings(deadline=None)
@given(st.sampled_from(sorted(NUMPY)), st.binary(max_size=64))
def test_any_bytes_are_the_values_that_numpy_reads(datatype: str, given_bytes: bytes) -> None:
    """And give the same bytes again, unless a NaN has bits that no JSON can carry: that is told."""
    width = raw.WIDTHS[datatype]
    given_bytes = given_bytes[: len(given_bytes) // width * width]
    count = len(given_bytes) // width
    if datatype == "BOOL":
        given_bytes = bytes(byte & 1 for byte in given_bytes)
    values = raw.decode(datatype, given_bytes, count)
    assert np.array_equal(np.array(values), np.frombuffer(given_bytes, NUMPY[datatype]), equal_nan=datatype in raw.FLOATS)  # fmt: skip
    as_json = [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    again = raw.encode(datatype, as_json) == given_bytes
    assert again == raw.exact_in_json(datatype, given_bytes, values)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=6))
def test_elements_of_bytes_may_be_any_bytes(elements: list[bytes]) -> None:
    """Text where it is UTF-8, bytes where not; written again they are the same."""
    packed = texts(*elements)
    values = raw.decode("BYTES", packed, len(elements))
    assert [v.encode() if isinstance(v, str) else v for v in values] == elements
    assert raw.encode("BYTES", values) == packed
    for element, value in zip(elements, values, strict=True):
        try:
            assert element.decode() == value
        except UnicodeDecodeError:
            assert value == element


@settings(deadline=None)
@given(st.binary(min_size=2, max_size=40).map(lambda b: b[: len(b) // 2 * 2]))
def test_bf16_is_the_upper_half_of_a_single_precision_number(given_bytes: bytes) -> None:
    """Numpy has none: the bits are put where FP32 has them."""
    count = len(given_bytes) // 2
    wide = (np.frombuffer(given_bytes, "<u2").astype("<u4") << 16).view("<f4")
    values = raw.decode("BF16", given_bytes, count)
    assert np.array_equal(np.array(values, "<f4"), wide, equal_nan=True)
    if not np.isnan(wide).any():
        assert raw.encode("BF16", values) == given_bytes


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_is_rounded_to_the_nearest_bf16(value: float) -> None:
    """No other BF16 is nearer."""
    (bits,) = struct.unpack("<H", raw.encode("BF16", [value]))
    (near,) = raw.decode("BF16", struct.pack("<H", bits), 1)
    for other in (bits - 1, bits + 1):
        if 0 <= other < 2**16:
            (far,) = raw.decode("BF16", struct.pack("<H", other), 1)
            if math.isfinite(far) and math.isfinite(near):
                assert abs(near - value) <= abs(far - value)


@settings(deadline=None)
@given(st.sampled_from(raw.DATATYPES), st.binary(max_size=40), st.integers(0, 12))
def test_bytes_that_are_not_so_many_values_are_told(
    datatype: str, given_bytes: bytes, count: int
) -> None:
    """Decoding gives exactly as many values as were asked for, or says why not."""
    try:
        values = raw.decode(datatype, given_bytes, count)
    except raw.Unfit as error:
        assert str(error)
        return
    assert len(values) == count


@pytest.mark.parametrize(
    ("datatype", "packed", "count", "says"),
    [
        ("FP32", b"\0" * 7, 2, "2 values of FP32 are 8 bytes, not 7"),
        ("BOOL", b"\0\2", 2, "byte 0 or 1, not 2"),
        ("BYTES", b"\x05\0\0\0ab", 1, "says that it has 5 bytes; 2 are left"),
        ("BYTES", texts(b"a") + b"x", 1, "1 bytes are left behind"),
        ("BYTES", b"", 1, "4 bytes at least"),
        ("BYTES", b"\xff\xff\xff\xff", 1, "says that it has 4294967295 bytes"),
    ],
)
def test_what_is_wrong_with_bytes_is_said(
    datatype: str, packed: bytes, count: int, says: str
) -> None:
    """In numbers."""
    with pytest.raises(raw.Unfit, match=says.replace("(", r"\(")):
        raw.decode(datatype, packed, count)


@pytest.mark.parametrize(
    ("datatype", "values"),
    [("INT8", [128]), ("UINT8", [-1]), ("INT64", [None]), ("BOOL", [1]), ("FP32", [1e39]), ("BYTES", [1]), ("BYTES", ["\ud800"]), ("FP8", [1.0])],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused(datatype: str, values: list[object]) -> None:
    """Never wrapped, cut or replaced."""
    with pytest.raises(raw.Unfit):
        raw.encode(datatype, values)
