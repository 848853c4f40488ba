"""Whatever bytes come: clear 4xx replies or a closed connection. `make fuzz` is the long version."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from pathlib import Path

import psutil
import pytest

from redpoll.catalog import Limits, Model
from redpoll.testing.fake_oip import Answer, FakeOip
from redpoll.web import heads, plane
from tests.fuzz import hunt
from tests.fuzz.corpus import AGE, INFER, PLAN, SETUPS, Asked, X, ask, binary, oip
from tests.fuzz.wounds import Case, case
from tests.web_data.process import GatewayProcess, until
from tests.web_data.rig import Plane, request, run

SEED = 20261125
BLOCKS = 10  # of 2,000 inputs, for each of the five setups: 100,000
SOCKETS, AT_ONCE = 3000, 64
GROWTH_MAX_BYTES = 96_000_000


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SETUPS)), ids=[setup.name for setup in SETUPS])
def test_a_hundred_thousand_wounded_requests_do_no_harm(number: int) -> None:
    """No exception, no hang, no 5xx, replies whole, no place lost, one answer for every request."""
    seen: Counter[int] = Counter()
    for block in range(number, BLOCKS * len(SETUPS), len(SETUPS)):
        result = hunt.run(SEED, block)
        assert not result.findings, f"seed {SEED}: {result.findings}"
        seen += result.statuses
    # The fuzz reaches deep: good answers and every kind of refusal are among what it saw.
    assert {200, 202, 400, 404, 405, 413, 415} <= seen.keys()
    assert seen[200] > 1000


@pytest.mark.parametrize("fault", ["exception", "loop", "status"])
def test_a_planted_fault_is_found_with_what_shows_it_again(
    fault: str, monkeypatch, tmp_path
) -> None:
    """A fuzz that finds nothing must be one that would have found it."""
    monkeypatch.setattr("tests.fuzz.target.HANG_CPU_S", 0.3)
    read = heads.read

    def bad(head):
        if len(head.headers.get(b"redpoll-unit", b"")) > 100:
            if fault == "exception":
                raise KeyError("planted")
            while fault == "loop":
                pass
        read(head)

    if fault == "status":
        monkeypatch.setattr(
            plane, "_reply_error", lambda c, *_: c.reply(500, b"", b'{"error":"planted"}')
        )
    else:
        monkeypatch.setattr(heads, "read", bad)
    found = [f for block in (0, 5, 10, 15) for f in hunt.run(SEED, block, 400).findings]
    assert found
    found[0].save(tmp_path / "found.json")
    assert hunt.replay(*hunt.load(tmp_path / "found.json"))
    monkeypatch.undo()
    assert hunt.replay(*hunt.load(tmp_path / "found.json")) == ""


FOUND = [
    # Parts of a request that are passed over at first are not looked at for UTF-8, or depth.
    ("one column", ask("POST", INFER, oip(X, parameters={"binary_data_output": True, "p": "?"}))),
    ("one column", ask("POST", INFER, oip(X, outputs=[{"name": "y?", "parameters": {"binary_data": True}}]))),
    ("declared", ask("POST", INFER, oip(X, AGE, PLAN, outputs=[{"name": "y?"}]))),
    ("open", binary(("x", "FP64", [1], bytes(8)), outputs=[{"name": "?"}])),
]  # fmt: skip


@pytest.mark.parametrize(("setup", "one"), FOUND, ids=range(len(FOUND)))
def test_what_the_fuzz_has_found_stays_mended(setup: str, one: Asked) -> None:
    """With bytes that are no UTF-8, and half a surrogate pair, in the place of the mark."""
    for mark in (b"\xff", b"\\ud800"):
        sent = one.copy()
        sent.body = one.body.replace(b"?", mark)
        sent.set(b"content-length", b"%d" % len(sent.body))
        if (head := one.get(b"inference-header-content-length")) is not None:
            sent.set(b"inference-header-content-length", b"%d" % (int(head) + len(mark) - 1))
        assert hunt.replay(setup, [Case([sent.encode()])]) == ""


async def _speak(port: int, one: Case) -> bytes:
    """Everything that one connection hears until it is closed, or quiet for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = bytearray()
    try:
        for piece in one.pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        while not one.leaves:
            got = await asyncio.wait_for(reader.read(65536), 0.25)
            if not got:
                break
            heard += got
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()
    return bytes(heard)


async def _speak_all(port: int) -> Counter[int]:
    dice, seen = random.Random(SEED), Counter[int]()
    cases = iter([case(dice) for _ in range(SOCKETS)])

    async def speak() -> None:
        for one in cases:
            heard = await _speak(port, one)
            for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", heard):
                assert int(status) < 500, (one.pieces, heard)
                seen[int(status)] += 1

    await asyncio.gather(*(speak() for _ in range(AT_ONCE)))
    return seen


@pytest.mark.slow
def test_thousands_of_wounded_requests_on_real_sockets_leave_a_gateway_as_it_was(tmp_path) -> None:
    """The process lives, holds nothing, has no trace of an exception in its log, and its journal is whole."""
    limits = Limits(body_bytes=4000, header_bytes=3000)
    with FakeOip() as model:
        model.decide = lambda _: Answer(200, b'{"outputs":[]}')
        with GatewayProcess(tmp_path, {"v1": model.url}, Model(name="m"), limits=limits) as gateway:
            assert gateway.process is not None
            process = psutil.Process(gateway.process.pid)
            before = process.memory_info().rss
            seen = asyncio.run(_speak_all(gateway.port))
            assert gateway.ask("GET", "/readyz")[0] == 200
            assert process.memory_info().rss - before < GROWTH_MAX_BYTES
            until(lambda: len(process.net_connections()) < AT_ONCE)
            gateway.term()
            _, log = gateway.process.communicate(timeout=20)
            assert gateway.process.returncode == 0
            assert b"Traceback" not in log and b"mistake" not in log, log.decode()
            asked = sorted(r.prediction_id for r in gateway.requests())
            assert asked == sorted(a.prediction_id for a in gateway.answers())
            assert len(set(asked)) == len(asked) > 500
    assert {200, 202, 400, 404, 405, 413} <= seen.keys()


def test_names_that_clients_make_up_do_not_become_metrics_without_end(tmp_path: Path) -> None:
    """A model that declares no outcomes takes any name; so many are counted by name, the rest as `_`."""

    async def go() -> None:
        server = Plane(tmp_path)
        for first in range(0, 400, 50):
            lines = [
                b'{"name":"n%d","request_id":"r","model":"m"}' % number
                for number in range(first, first + 50)
            ]
            (reply,), _ = await server.say(request("POST", "/v1/outcomes", b"\n".join(lines)))
            assert reply.said["accepted"] == 50
        counters = server.gateway.counters
        named = [labels for name, labels in counters._cells if name == "redpoll_outcomes_total"]
        assert len(named) == plane.OUTCOME_NAMES_MAX + 1
        assert server.rig.count("redpoll_outcomes_total", "m", "n0", "accepted") == 1
        rest = server.rig.count("redpoll_outcomes_total", "m", "_", "accepted")
        assert rest == 400 - plane.OUTCOME_NAMES_MAX

    run(go)
