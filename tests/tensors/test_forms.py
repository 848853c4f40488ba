"""Forms of bodies: what fits one is right, has its rows and its id, and none of it was decoded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from redpoll.errors import RedpollError
from redpoll.tensors import oip
from redpoll.tensors.datatypes import KINDS
from redpoll.tensors.forms import Form, Forms, form_of

ODD = ["1e999", "-0", "01", "1.", ".5", "+1", "NaN", "1e5", "0.1e-7", "-9223372036854775809", "256"]
ODD += ["-1", "null", "true", '"a"', '"\\u0041"', '"é"', "{}", "[1]", "", "1 ", "1,2", '"a","b"']
VALUES = {
    "float": ["0.5", "-1e3", "7", "null", "123456789.25"],
    "int": ["0", "41", "-7", "99"],
    "bool": ["true", "false"],
    "bytes": ['"a"', '"premium"', "null", '"a b-c"', '""'],
}


def tensor(name: str, datatype: str, values: list[str]) -> str:
    return (
        f'{{"name":"{name}","shape":[{len(values)}],"datatype":"{datatype}",'
        f'"data":[{",".join(values)}]}}'
    )


@st.composite
def two_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body, and one like it but for values and id, which may be nonsense."""
    layout = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))
    rows = draw(st.integers(1, 2))
    made = []
    before, behind = draw(st.sampled_from([("{", "}"), ("{ ", " }\n"), (" {", ',"outputs":[]}')]))
    with_id = draw(st.sampled_from(["", "front", "back"]))
    for wild in (False, True):
        tensors = []
        for at, datatype in enumerate(layout):
            low = 0 if datatype.startswith("U") else None
            known = [v for v in VALUES[KINDS[datatype].kind] if low is None or v[0] != "-"]
            values = st.sampled_from(known + ODD if wild else known)
            tensors.append(tensor(f"x{at}", datatype, [draw(values) for _ in range(rows)]))
        inputs = f'"inputs":[{",".join(tensors)}]'
        number = draw(st.sampled_from(['"a-1"', '""', '"x\\"y"', "7", "null", f'"{"n" * 513}"']))
        number = number if wild else '"r-7"'
        front = f'"id":{number},' if with_id == "front" else ""
        back = f',"id":{number}' if with_id == "back" else ""
        made.append(f"{before}{front}{inputs}{back}{behind}".encode())
    return made[0], made[1]


def learned(body: bytes) -> Form:
    form = form_of(body, oip.read(body))
    assert form is not None
    return form


@settings(max_examples=300, deadline=None)
@given(two_bodies())
def test_what_fits_a_form_would_have_been_read_the_same(bodies: tuple[bytes, bytes]) -> None:
    """Never is a body taken that is wrong, and never are its rows or its id others than read."""
    first, second = bodies
    form = learned(first)
    assert form.match(first) is not None
    found = form.match(second)
    if found is None:
        return
    read = oip.read(second)  # raises where it is wrong
    assert read.inputs[0].shape[0] == form.rows
    assert read.id == (found[1].decode() if form.has_id else None)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**17), 10**17))
@example(1e-300, 0)
def test_values_as_programs_write_them_fit(real: float, whole: int) -> None:
    """Otherwise forms would be right, and of no use. Exponents of three digits are read."""
    form = learned(b'{"inputs":[%b]}' % tensor("x", "FP64", ["0.5", "1"]).encode())
    if "e" not in repr(real) or len(repr(real).partition("e")[2].lstrip("+-")) < 3:
        body = b'{"inputs":[%b]}' % tensor("x", "FP64", [repr(real), "-3"]).encode()
        assert (form.match(body) is not None) == (
            len(str(int(abs(real)))) <= 18 or "e" in repr(real)
        )
    whole_form = learned(b'{"inputs":[%b]}' % tensor("x", "INT64", ["5"]).encode())
    assert whole_form.match(b'{"inputs":[%b]}' % tensor("x", "INT64", [str(whole)]).encode())


TENSOR = tensor("x", "FP64", ["0.5"])


@pytest.mark.parametrize(
    "body",
    [
        '{"id":"a","id":"b","inputs":[T]}',
        '{"id":"a","parameters":{"id":"a"},"inputs":[T]}',
        '{"i\\u0064":"a","parameters":{"id":"b"},"inputs":[T]}',
        '{"inputs":[],"inputs":[T]}',
        '{"inputs":[{"data":[1],"name":"x","shape":[1],"datatype":"FP64","data":[0.5]}]}',
        '{"inputs":[{"da\\u0074a":[0.5],"name":"x","shape":[1],"datatype":"FP64"}]}',
        '{"inputs":[{"name":"[0.5]","shape":[1],"datatype":"FP64","data":[0.5]}]}',
        '{"inputs":[{"name":"x","shape":[2,1],"datatype":"FP64","data":[[0.5],[1.5]]}]}',
    ],
)
def test_odd_bodies_have_a_form_that_is_right_or_none(body: str) -> None:
    """Keys twice, escaped, nested: where a form is kept, what it opens is the value that is read."""
    raw = body.replace("T", TENSOR).encode()
    form = form_of(raw, oip.read(raw))
    if form is None:
        return
    for other in (raw.replace(b"0.5", b"7.25"), raw.replace(b'"a"', b'"c"'), raw):
        found = form.match(other)
        if found is None:
            continue
        read = oip.read(other)
        assert read.inputs[0].shape[0] == form.rows
        assert read.id == (found[1].decode() if form.has_id else None)
        assert not form.plain or b'"id"' not in other


def test_forms_are_learned_when_they_come_again_and_few_are_kept() -> None:
    """The first sight teaches nothing; a hundred kinds do not make a hundred patterns."""
    forms = Forms()

    def sent(names: str) -> bytes:
        return b'{"inputs":[%b]}' % ",".join(tensor(n, "FP64", ["1"]) for n in names).encode()

    def ask(body: bytes) -> bool:
        if forms.find(body) is not None:
            return True
        forms.missed(body, oip.read(body), None)
        return False

    assert [ask(sent("a")) for _ in range(3)] == [False, False, True]
    for names in (chr(n) for n in range(98, 122)):
        for _ in range(200):
            ask(sent(names))
    held: list[Any] = forms._forms
    assert 1 < len(held) <= 8


def test_a_large_body_has_no_form() -> None:
    """Matching is for many small requests."""
    body = json.dumps(
        {"inputs": [{"name": "x", "shape": [900], "datatype": "FP64", "data": [0.5] * 900}]}
    ).encode()
    assert form_of(body, oip.read(body)) is None
    with pytest.raises(RedpollError):
        oip.read(body[:-1])
