"""`capture`: a share of the bodies, none beyond a size; every request is a fact all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redpoll.capture import materialise
from redpoll.catalog import Capture, Model
from redpoll.facts import Answer, Request
from redpoll.host.counters import Counters
from tests.gateway.rig import Rig, answer, infer, run


def left_out(counters: Counters, part: str, reason: str) -> float:
    return counters.cell("redpoll_capture_left_out_total", ("m", part, reason)).value


async def served(rig: Rig, body: bytes, status: int = 200, said: bytes = b"") -> tuple:
    """One request and its answer, as they are sealed."""
    rig.send(body)
    await rig.tick()
    rig.backends["v1"].answer(status, said or answer(0.5))
    await rig.tick()
    asked, answered = [materialise(entry) for entry in rig.journal.read()][-2:]
    assert isinstance(asked, Request) and isinstance(answered, Answer)
    return asked, answered


def test_everything_is_kept_by_default(tmp_path: Path) -> None:
    """And nothing is asked about it on a request's way."""

    async def go() -> None:
        rig = Rig(tmp_path)
        assert rig.gateway.models["m"].keeping is None
        asked, answered = await served(rig, infer(1.5))
        assert (asked.capture, asked.capture_probability) == ("full", 1.0)
        assert (asked.inputs, answered.outputs) == ('{"x":[1.5]}', '{"y":[0.5]}')

    run(go)


def test_a_share_of_the_bodies_is_kept_and_says_its_probability(tmp_path: Path) -> None:
    """Of 600 requests about 150; weighted by their probability they are 600 again."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", capture=Capture(share=0.25)))
        found = [await served(rig, infer(1.5)) for _ in range(600)]
        kept = [one for one in found if one[0].capture == "full"]
        assert 100 < len(kept) < 210  # within 4.5 standard deviations
        for asked, answered in found:
            assert asked.capture_probability == 0.25
            assert (asked.inputs is None) is (asked.capture == "none")
            assert (answered.outputs is None) is (asked.capture == "none")
            assert answered.status == "ok"
        missing = 600 - len(kept)
        assert left_out(rig.counters, "request", "share") == missing
        assert left_out(rig.counters, "answer", "share") == missing

    run(go)


def test_an_errors_text_is_kept_whatever_the_share(tmp_path: Path) -> None:
    """Somebody will have to understand it at three in the morning."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", capture=Capture(share=0.0)))
        asked, answered = await served(rig, infer(1.5), 500, b'{"error": "no such plan"}')
        assert (asked.capture, asked.inputs, asked.body) == ("none", None, None)
        assert json.loads(answered.outputs) == {"error": "no such plan"}

    run(go)


def test_a_body_beyond_the_bound_is_cut_and_its_answer_left_out(tmp_path: Path) -> None:
    """The request's first bytes stay, as bytes; an answer that long is not there; both count."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", capture=Capture(max_body_bytes=200)))
        body = infer(*[1.5] * 60)
        asked, answered = await served(rig, body, 200, answer(*[0.5] * 60))
        assert (asked.capture, asked.inputs, asked.body) == ("cut", None, body[:200])
        assert asked.encoding == "application/octet-stream; cut"
        assert asked.rows == 60
        assert (answered.status, answered.outputs) == ("ok", None)
        asked, answered = await served(rig, infer(1.5))
        assert (asked.capture, asked.inputs, answered.outputs) == (
            "full", '{"x":[1.5]}', '{"y":[0.5]}',
        )  # fmt: skip
        _, answered = await served(rig, infer(1.5), 500, b'{"error": "' + b"x" * 400)
        assert len(json.loads(answered.outputs)["error"]) == 200
        assert left_out(rig.counters, "request", "size") == 1
        assert left_out(rig.counters, "answer", "size") == 2

    run(go)


@pytest.mark.parametrize(("bound", "capture"), [(30, "cut"), (1000, "full")])
def test_no_redacted_value_is_in_what_is_left_of_a_cut_body(
    bound: int, capture: str, tmp_path: Path
) -> None:
    """What is cut are the other columns, never the body as it was sent."""

    async def go() -> None:
        model = Model(
            name="m",
            inputs={"note": "text", "x": "text"},
            redact=("note",),
            capture=Capture(max_body_bytes=bound),
        )
        rig = Rig(tmp_path, model)
        body = json.dumps(
            {
                "inputs": [
                    {"name": "note", "shape": [1], "datatype": "BYTES", "data": ["secret"]},
                    {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["y" * 90]},
                ]
            }
        ).encode()
        asked, _ = await served(rig, body)
        assert asked.capture == capture
        kept = asked.body if capture == "cut" else (asked.inputs or "").encode()
        assert kept and b"yyy" in kept and b"secret" not in kept

    run(go)


def test_requests_are_looked_at_one_by_one_where_bodies_may_be_left_out(tmp_path: Path) -> None:
    """The express lane keeps everything: it is not for these."""

    async def go() -> None:
        plain = Rig(tmp_path, Model(name="m"))
        _, call = plain.send(infer(1.5))
        assert call.head.ticket is not None
        rig = Rig(tmp_path, Model(name="m", capture=Capture(max_body_bytes=200)))
        _, call = rig.send(infer(1.5))
        assert call.head.ticket is None
        assert not rig.gateway.models["m"].passes_on

    run(go)
