"""Moulds: bodies that differ only in their values are read without being decoded, and as exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.capture import OIP_ANSWER, OIP_REQUEST, Filler, bodies, materialise, moulds
from redpoll.facts import Answer, Entry, Request

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
NAMES = st.text(min_size=1, max_size=6)


def body(
    row: dict[str, Any], part: str = "inputs", separators: tuple[str, str] = (",", ":"), **more: Any
) -> bytes:
    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [value]}
        for name, value in row.items()
    ]
    document = {**more, part: tensors}
    return json.dumps(document, separators=separators, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def columns(kind: type[Request] | type[Answer], raws: list[bytes]) -> list[dict[str, Any]]:
    """Facts of one kind and model, filled at once: as field by name."""
    fact = Request("p", "", 0) if kind is Request else Answer("p", "v1")
    names = fact.__struct_fields__
    fields = [[getattr(fact, name)] * len(raws) for name in names]
    form = OIP_REQUEST if kind is Request else OIP_ANSWER
    found = Filler().fill(kind, fields, raws, [form] * len(raws))
    return [dict(zip(names, values, strict=True)) for values in zip(*found, strict=True)]


def same(kind: type[Request] | type[Answer], raws: list[bytes]) -> None:
    form = OIP_REQUEST if kind is Request else OIP_ANSWER
    fact = Request("p", "", 0) if kind is Request else Answer("p", "v1")
    for raw, found in zip(raws, columns(kind, raws), strict=True):
        alone = materialise(Entry("s", 1, 1, 1, "m", fact, raw, form))
        for name, value in found.items():
            expected = getattr(alone, name)
            if name in ("inputs", "outputs", "reported") and value is not None:
                value, expected = json.loads(value), json.loads(expected)
                assert list(value) == list(expected)
            assert value == expected, (name, raw)


@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.data(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
)
def test_what_a_mould_gives_is_what_the_decoder_gives(
    names: list[str], data: st.DataObject, separators: tuple[str, str]
) -> None:
    """Any names, values and spacing; with and without an id, in front or behind."""
    raws = []
    for _ in range(4):
        row = {name: data.draw(SCALARS) for name in names}
        more = data.draw(st.sampled_from([{}, {"id": "n-7"}, {"id": 'a"b\\'}, {"parameters": {}}]))
        raws.append(body(row, separators=separators, **more))
    same(Request, raws)
    same(Answer, [raw.replace(b'"inputs"', b'"outputs"') for raw in raws])


def test_bodies_that_differ_in_their_values_share_a_mould() -> None:
    """Else every body would be decoded, and nothing were won."""
    found = moulds.Moulds(bodies.one_request)
    one = found.cast(body({"age": 41, "plan": "basic"}, id="r-1"))
    assert one == ('{"age":[41],"plan":["basic"]}', "r-1", "{}")
    assert found.cast(body({"age": None, "plan": "crème"}, id="ünï")) == (
        '{"age":[null],"plan":["crème"]}', "ünï", "{}",
    )  # fmt: skip
    assert len(found._known) == 1


def test_a_number_keeps_its_spelling() -> None:
    """1.50 is as true as 1.5."""
    raw = body({"x": 0.25}).replace(b"0.25", b"1.50")
    assert columns(Request, [raw])[0]["inputs"] == '{"x":[1.50]}'


@pytest.mark.parametrize(
    "raw",
    [
        body({"x": 'say "no"'}),
        body({"x": 10**19}),
        body({"x": 1}).replace(b"[1],\"datatype", b"[2],\"datatype"),
        body({"x": 1}).replace(b'"data":[1]', b'"data":[1,2]'),
        body({"x": 1}).replace(b'"data":[1]', b'"data":[[1]]'),
        body({"x": 1}).replace(b'"data":[1]', b'"data":[01]'),
        body({"x": 1}).replace(b'"data":[1]', b'"data":[NaN]'),
        body({"x": 1}).replace(b'"data":[1]', b'"data":[1e999]'),
        body({"x": "\x01"}),
        body({"x": 1}) + b" x",
        body({"x": "ab"}).replace(b"ab", b"\xff\xfe"),
        body({"x": 1}, id="b").replace(b'"b"', b'"\xff"'),
    ],
)  # fmt: skip
def test_what_fits_nearly_is_left_to_the_decoder(raw: bytes) -> None:
    """After a mould of the plain body was made: an escape, a long number, another shape, no JSON."""
    plain = [body({"x": 1}), body({"x": "ab"}), body({"x": 2}, id="a")]
    same(Request, [*plain, raw, *plain])


def test_a_place_that_only_looks_like_a_value_makes_no_mould() -> None:
    """`data` and `id` inside parameters are not the tensors' and the body's own."""
    row = body({"x": 1, "y": 2})
    hidden = row.replace(
        b'"datatype":"BYTES","data":[1]',
        b'"parameters":{"data":[9]},"datatype":"BYTES","data":["a\\u0041"]',
    )
    assert moulds.mould_of(hidden, bodies.one_request) is None
    within = row.replace(b'"name":"y"', b'"parameters":{"id":"q"},"name":"y"')
    same(Request, [within, within.replace(b'"q"', b'"other"'), row])
    twice = body({"x": 1, "y": 2}, id="r", parameters={"id": "q"})
    same(Request, [twice, twice.replace(b'"q"', b'"z"')])


def test_what_a_backend_reports_is_part_of_the_mould() -> None:
    """Another number reported is another mould, or none: never the number of the first answer."""
    raws = [body({"y": 0.5}, "outputs", parameters={"cost": n}) for n in (1, 2, 1, 3)]
    same(Answer, raws)


def test_shapes_beyond_the_bound_are_read_and_moulds_stay_few() -> None:
    """A client that never sends the same columns twice costs no more than reading, and no memory."""
    found = moulds.Moulds(bodies.one_request)
    made = [found.cast(body({f"x{n}": n})) for n in range(3 * moulds.PAUSE)]
    assert len(found._known) == moulds.MOULDS_MAX
    assert sum(one is not None for one in made) < 2 * moulds.MOULDS_MAX
    assert found.cast(b"no json") is None
