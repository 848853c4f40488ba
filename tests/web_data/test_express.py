"""The express lane beside the general way: the same replies and the same facts, byte by byte."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.catalog import Model, Output
from redpoll.facts import CODES, Fact
from redpoll.gateway.call import Head
from redpoll.host.wire import Remembered
from redpoll.ids import IdMaker
from redpoll.journal.frames import encode_fact, label
from redpoll.journal.port import Encoded
from redpoll.tensors.forms import Forms
from redpoll.testing.backends import FakeBackend
from redpoll.web.http import Connection
from tests.web_data.rig import FakeTransport, Plane, infer, request, run

PLAIN = Model(name="m", unit="user")
MODELS = [
    PLAIN,
    Model(name="m"),
    Model(name="m", unit="user", unit_missing="reject"),
    Model(name="m", unit="user", unit_from="input:t"),
    Model(name="m", unit="user", inputs={"x": "float", "t": "category"}),
    Model(name="m", unit="user", output=Output(name="y", type="number")),
    Model(name="m", unit="user", inputs={"x": "float", "t": "category"}, redact=("t",)),
]
ROLLOUT = {"candidate": "v2", "weight": 0.5, "salt": "s", "rollout_id": "m-1"}
ANSWERS = [
    b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[0.5]}]}',
    b'{"id":"z","outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[1]}]}',
    b'{"outputs":[]}',
    b"no JSON",
]


class Sent(NamedTuple):
    """One request, and what the backend makes of it."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int
    answer: bytes


class Kept:
    """A writer that keeps the bytes of every fact, however it comes."""

    stream = "gateway-000000000000"

    def __init__(self) -> None:
        self.facts: list[Encoded] = []

    def append(self, model: str, fact: Fact, raw: bytes = b"", raw_format: int = 0) -> int:
        self.facts.append((label(model, CODES[type(fact)], raw_format), encode_fact(fact), raw))
        return len(self.facts)

    def extend(self, facts: Sequence[Encoded]) -> None:
        self.facts += facts

    def beat(self) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


class Forgetful(Remembered[Head]):
    """Knows no head again."""

    def put(self, head: bytes, value: Head) -> None:
        """Forget it."""


class House:
    """One gateway, its journal's bytes, and one client's connection for each request."""

    def __init__(self, folder: Path, model: Model, general: bool) -> None:
        self.plane = Plane(folder, model, live="v1", **ROLLOUT)
        gateway = self.plane.gateway
        self.kept = Kept()
        gateway.recorder._writer = self.kept  # type: ignore[assignment]
        gateway.recorder._append = self.kept.append
        gateway.ids = IdMaker(Random(7).randbytes)
        self.served = gateway.models["m"]
        self.general = general
        if general:  # every head is new, no form of a body is known, every answer is looked at
            self.plane.clients.heads = self.plane.clients.shapes = Forgetful(0)
            self.served.forms = Forms()
            self.served.forms.missed = lambda *_: None  # type: ignore[method-assign]
            self.served.passes_on = False
        self.clients: list[tuple[Connection, FakeTransport]] = []
        self.asked: list[tuple[bytes, bytes]] = []
        self.told: list[bytes] = []

    async def say(self, batch: list[Sent]) -> list[bytes]:
        """What these clients are told, who all ask in one turn of the loop."""
        while len(self.clients) < len(batch):
            self.clients.append(self.plane.connect())
        heard = self.clients[: len(batch)]
        for (connection, _), sent in zip(heard, batch, strict=True):
            headers = {name.replace("-", "_"): value for name, value in sent.headers}
            connection.data_received(request("POST", sent.path, sent.body, **headers))
        self.plane.hold = True
        await self.plane.settle(2)
        for backend in self.plane.rig.backends.values():
            self._answer(backend, batch)
        await self.plane.settle(3)
        told = [bytes(transport.out) for _, transport in heard]
        self.told += told
        self.clients = [(c, t) for c, t in self.clients if not (t.ended or t.closed)]
        for _, transport in self.clients:
            transport.out.clear()
        return told

    def named(self, text: bytes) -> bytes:
        """With prediction ids by who was told them: it is open who gets which."""
        for at, told in enumerate(self.told):
            found = re.search(rb"redpoll-prediction-id: (\S+)", told)
            if found is not None:
                text = text.replace(found.group(1), b"prediction-%026d" % at)
        return text

    def everything(self) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """What was told, journalled and asked."""
        facts = [self.named(repr(fact).encode()) for fact in self.kept.facts]
        asked = [self.named(repr(ask).encode()) for ask in self.asked]
        return [self.named(told) for told in self.told], facts, asked

    def _answer(self, backend: FakeBackend, batch: list[Sent]) -> None:
        while backend.asked:
            ask: Any = backend.asked[0]
            self.asked.append((ask.lines, ask.payload))
            body = getattr(ask, "body", None)
            found = [sent for sent in batch if sent.body == body] or batch
            backend.answer(found[0].status, found[0].answer)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "FP64": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "FP32": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT8": st.integers(0, 255) | st.integers(-1, 256),
    "UINT64": st.integers(0, 2**64 - 1),
    "BOOL": st.booleans(),
    "BYTES": st.none() | st.text(max_size=6) | st.sampled_from(["ann", 'a"b', "\\", "é", ""]),
}


@st.composite
def shapes(draw: st.DrawFn) -> list[tuple[str, str, int]]:
    """Names, datatypes and rows of tensors that several requests have in common."""
    names = draw(st.lists(st.sampled_from(["x", "t", "data", "id"]), min_size=1, unique=True))
    rows = draw(st.sampled_from([1, 1, 1, 2, 0]))
    return [(name, draw(st.sampled_from(sorted(VALUES))), rows) for name in names]


@st.composite
def bodies(draw: st.DrawFn, shape: list[tuple[str, str, int]]) -> bytes:
    tensors = [
        {
            "name": name,
            "shape": [rows],
            "datatype": kind,
            "data": [draw(VALUES[kind]) for _ in range(rows)],
        }
        for name, kind, rows in shape
    ]
    said: dict[str, Any] = {"inputs": tensors}
    identity = draw(st.sampled_from([None, None, "a-1", "é", "x" * 600, '"', ""]))
    if identity is not None:
        said = {"id": identity, **said} if draw(st.booleans()) else {**said, "id": identity}
    if draw(st.integers(0, 4)) == 0:
        said["outputs"] = [{"name": "y"}]
    if draw(st.integers(0, 4)) == 0:
        said["parameters"] = {"id": "p", "data": [1]}
    ascii_, spaced = draw(st.booleans()), draw(st.booleans())
    body = json.dumps(said, ensure_ascii=ascii_, separators=None if spaced else (",", ":")).encode()
    if draw(st.integers(0, 5)) == 0:  # a byte too few, too many, or another one
        at = draw(st.integers(0, len(body) - 1))
        put = draw(st.sampled_from([b"", b" ", b"0", b"-", b'"', b",", b"}", b"e9", b"\\"]))
        body = body[:at] + put + body[at + draw(st.integers(0, 1)) :]
    return body


HEADERS = st.tuples(
    st.sampled_from([None, "ann", "bob", "é"]).map(lambda v: ("redpoll-unit", v)),
    st.sampled_from([None, None, "900", "soon"]).map(lambda v: ("redpoll-deadline-ms", v)),
    st.sampled_from([None, None, None, "r-1"]).map(lambda v: ("x-request-id", v)),
    st.sampled_from([None, None, None, "north"]).map(lambda v: ("redpoll-group-area", v)),
    st.sampled_from([None, None, "p"]).map(lambda v: ("redpoll-subject", v)),
)
PATHS = st.sampled_from(
    ["/v2/models/m/infer"] * 6
    + ["/v2/models/m/versions/v2/infer", "/v2/models/m/versions/v9/infer", "/v2/models/n/infer"]
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Sent]:
    """Requests of few kinds, again and again, as programs send them."""
    kinds = draw(st.lists(shapes(), min_size=1, max_size=2))
    heads = draw(st.lists(st.tuples(PATHS, HEADERS), min_size=1, max_size=3))
    sent = []
    for _ in range(draw(st.integers(4, 12))):
        path, headers = draw(st.sampled_from(heads))
        plain = tuple((name, value) for name, value in headers if value is not None)
        body = draw(bodies(draw(st.sampled_from(kinds))))
        status = draw(st.sampled_from([200, 200, 200, 200, 500, 400]))
        sent.append(Sent(path, plain, body, status, draw(st.sampled_from(ANSWERS))))
    return sent


async def both(model: Model, batches: list[list[Sent]]) -> tuple[House, House]:
    """The same said to an express and a general gateway, at one and the same moment."""
    moment = time.monotonic_ns()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module in ("express", "gateway", "asking"):
            patch.setattr(f"redpoll.gateway.{module}.monotonic_ns", lambda: moment)
        for module in ("express", "gateway"):
            patch.setattr(f"redpoll.gateway.{module}.time_ns", lambda: 1_700_000_000_000_000_000)
        patch.setattr("redpoll.host.tick.monotonic_ns", lambda: moment)
        # Second looks wait for a quiet moment, each gateway's its own.
        patch.setattr("redpoll.gateway.second_look.SecondLooks.consider", lambda *_: None)
        express, general = (House(Path(folder), model, which) for which in (False, True))
        for batch in batches:
            await express.say(batch)
            await general.say(batch)
    return express, general


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MODELS), conversations())
def test_express_and_general_way_cannot_be_told_apart(model: Model, sent: list[Sent]) -> None:
    """One request after another: reply, facts and what the backend is sent are the same bytes."""

    async def go() -> None:
        express, general = await both(model, [[one] for one in sent])
        assert express.everything() == general.everything()

    run(go)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODELS), conversations())
def test_many_in_one_turn_are_told_what_each_would_be_told(model: Model, sent: list[Sent]) -> None:
    """All at once, twice: the same replies to each, and the same facts in whatever order."""

    async def go() -> None:
        express, general = await both(model, [sent, sent])
        (told, facts, asked), other = express.everything(), general.everything()
        assert told == other[0]
        assert (sorted(facts), sorted(asked)) == (sorted(other[1]), sorted(other[2]))

    run(go)


def test_what_comes_again_takes_the_express_lane(tmp_path: Path) -> None:
    """Else the tests above would say nothing: here all do whose head came before."""

    async def go() -> None:
        house = House(tmp_path, PLAIN, general=False)
        taken = house.plane.gateway.take_alone
        alone: list[bytes] = []

        def take_alone(client: Any, head: Head, body: bytes) -> None:
            alone.append(body)
            taken(client, head, body)

        house.plane.gateway.take_alone = take_alone  # type: ignore[method-assign]
        answer = b'{"outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[0.5]}]}'
        headers = (("redpoll-unit", "ann"),)
        for value in range(50):
            sent = Sent("/v2/models/m/infer", headers, infer(value + 0.5), 200, answer)
            (told,) = await house.say([sent])
            assert told.startswith(b"HTTP/1.1 200")
        assert alone == [infer(0.5)]  # a body of another length makes no other head
        assert house.served.forms.find(infer(77.5)) is not None
        assert house.served.forms.first.plain

    run(go)
