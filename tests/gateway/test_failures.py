"""When a backend fails: what the client gets, what counts, and the stable's second look."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from redpoll.catalog import Model, Output, Version
from redpoll.gateway.call import ROWS
from redpoll.gateway.second_look import LOOKS_MAX
from redpoll.rollout.assign import arm
from tests.gateway.rig import Rig, answer, infer, run

ROLLOUT = {"candidate": "v2", "weight": 0.5, "salt": "s", "rollout_id": "m-1"}
CANDIDATE = next(f"u-{n}" for n in range(99) if arm("s", f"u-{n}", 0.5) == "candidate")
STABLE = next(f"u-{n}" for n in range(99) if arm("s", f"u-{n}", 0.5) == "stable")


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 502, 503])
@pytest.mark.parametrize("wire", ["oip", "rows"])
def test_an_error_of_a_remote_backend_is_passed_on_as_it_is(
    tmp_path: Path, status: int, wire: str
) -> None:
    """Status and body; in the journal it is an `error` with its text, a 4xx too."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        body = b'{"detail": "no such thing \xc3\xa4"}'
        more = {"wire": ROWS} if wire == "rows" else {}
        sent = b'{"x":1}' if wire == "rows" else infer(1.0)
        heard = await rig.ask(sent, body, "v2", status, redpoll_unit=CANDIDATE, **more)
        assert heard.status == status
        assert heard.calls[0].reply_body == body
        assert heard.headers["redpoll-version"] == "v2"
        live = rig.answers()[0]
        assert (live.status, live.error_code, live.version) == ("error", "RP-200", "v2")
        assert "no such thing" in live.outputs
        assert rig.requests()[0].arm == "candidate"
        assert rig.count("redpoll_requests_total", "m", "v2", "candidate", "error") == 1

    run(go)


def test_an_exception_in_our_own_worker_is_502(tmp_path: Path) -> None:
    """Its sentence is passed on; a worker's 400 stays the client's fault."""

    async def go() -> None:
        rig = Rig(tmp_path, kinds={"v1": "sklearn:m.pkl"})
        said = b'{"error":"ValueError: unknown category","code":"RP-200"}'
        heard = await rig.ask(infer(1.0), said, status=500)
        assert (heard.status, heard.said["code"]) == (502, "RP-200")
        bad = b'{"error":"output has 3 rows","code":"RP-201"}'
        heard = await rig.ask(infer(1.0), bad, status=500)
        assert (heard.status, heard.said["code"]) == (502, "RP-201")
        heard = await rig.ask(infer(1.0), b'{"error":"wrong","code":"RP-107"}', status=400)
        assert heard.status == 400
        assert [a.status for a in rig.answers()] == ["error", "invalid", "error"]
        assert json.loads(rig.answers()[0].outputs) == {"error": "ValueError: unknown category"}

    run(go)


def test_a_connection_that_failed_is_502_with_its_reason(tmp_path: Path) -> None:
    """RP-200, status `error`, the attempts counted."""

    async def go() -> None:
        rig = Rig(tmp_path)
        heard, _ = rig.send(infer(1.0))
        await rig.tick()
        rig.backends["v1"].fail("RP-200", "The backend at h failed: reset.")
        await rig.tick()
        assert (heard.status, heard.said["code"]) == (502, "RP-200")
        (only,) = rig.answers()
        assert (only.status, only.error_code, only.attempts) == ("error", "RP-200", 1)
        assert json.loads(only.outputs) == {"error": "The backend at h failed: reset."}

    run(go)


OUTPUT = Output(name="churn", type="binary", score="p")


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (Model(name="m"), b"<html>"),
        (Model(name="m"), b'{"predictions":[1]}'),
        (Model(name="m"), b'{"outputs":{}}'),
        (Model(name="m"), b'{"outputs":[NaN]}'),
        (Model(name="m"), b""),
        (Model(name="m", output=OUTPUT), answer(1, name="churn", datatype="INT64")),
        (Model(name="m", output=OUTPUT), answer(0.5, name="p")),
        (Model(name="m", output=Output(name="y", type="float")), answer(0.5, 0.5)),
    ],
)
def test_an_answer_that_cannot_be_read_or_lacks_an_output_is_invalid(
    tmp_path: Path, model: Model, body: bytes
) -> None:
    """502 RP-201; what came is kept for whoever looks into it."""

    async def go() -> None:
        rig = Rig(tmp_path, model)
        heard = await rig.ask(infer(1.0), body)
        assert (heard.status, heard.said["code"]) == (502, "RP-201")
        assert heard.headers["redpoll-version"] == "v1"
        (only,) = rig.answers()
        assert (only.status, only.error_code) == ("invalid", "RP-201")
        assert "could not be used" in json.loads(only.outputs)["error"]

    run(go)


def test_outputs_that_were_not_asked_for_may_be_missing(tmp_path: Path) -> None:
    """`outputs` in a request selects."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", output=OUTPUT))
        heard = await rig.ask(infer(1.0, outputs=[{"name": "churn"}]), answer(1, name="churn"))
        assert heard.status == 200
        heard = await rig.ask(infer(1.0, outputs=[{"name": "p"}]), answer(1, name="churn"))
        assert heard.status == 502
        heard = await rig.ask(infer(1.0, outputs="churn"))
        assert heard.status == 400

    run(go)


def test_capturing_never_changes_an_answer(tmp_path: Path) -> None:
    """Byte for byte what the backend sent, odd white space and all."""

    async def go() -> None:
        body = (
            b'{ "outputs" : [ {"name":"y","shape":[1],"datatype":"FP64","data":[0.10]} ],\n "x":1 }'
        )
        for model in (Model(name="m"), Model(name="m", output=Output(name="y", type="float"))):
            rig = Rig(tmp_path, model)
            heard = await rig.ask(infer(1.0), body)
            assert heard.calls[0].reply_body == body

    run(go)


def test_after_a_candidates_failure_the_stable_is_asked_once_off_the_way(tmp_path: Path) -> None:
    """Its answer has role `shadow`; the client's reply does not wait for it."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        heard = await rig.ask(infer(3.0), b"{}", "v2", 500, redpoll_unit=CANDIDATE)
        assert heard.status == 500
        await rig.tick()
        (ask,) = rig.backends["v1"].asked
        assert json.loads(ask.payload)["inputs"][0]["data"] == [3.0]
        rig.backends["v1"].answer(200, answer(0.75))
        await rig.tick()
        live, shadow = rig.answers()
        assert (live.role, live.version, live.status) == ("live", "v2", "error")
        assert (shadow.role, shadow.version, shadow.status) == ("shadow", "v1", "ok")
        assert shadow.prediction_id == live.prediction_id
        assert shadow.outputs == '{"y":[0.75]}'
        assert rig.count("redpoll_answers_total", "m", "v1", "shadow", "ok") == 1
        assert len(heard.calls) == 1

    run(go)


def test_second_looks_are_few_and_never_in_anybodys_way(tmp_path: Path) -> None:
    """One at a time, twenty a rollout, none where the stable is busy or may not be asked again."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        stable = rig.backends["v1"]

        async def fail() -> None:
            await rig.ask(infer(1.0), b"{}", "v2", 500, redpoll_unit=CANDIDATE)
            await rig.tick()

        await fail()
        await fail()
        assert len(stable.asked) == 1
        stable.fail()
        for _ in range(LOOKS_MAX + 5):
            await fail()
            if stable.asked:
                stable.answer(200, answer(0.5))
        shadows = [a for a in rig.answers() if a.role == "shadow"]
        assert len(shadows) == LOOKS_MAX
        assert shadows[0].status == "error"

        rig = Rig(tmp_path, **ROLLOUT)
        once = Version(name="v1", backend="http://h/v2/models/m", resend=False)
        rig.reroute(live="v1", versions={"v1": once}, **ROLLOUT)
        await rig.ask(infer(1.0), b"{}", "v2", 500, redpoll_unit=CANDIDATE)
        await rig.tick()
        assert not rig.backends["v1"].asked
        rig.reroute(live="v1", **ROLLOUT)
        await rig.ask(infer(1.0), b"{}", "v1", 500, redpoll_unit=STABLE)
        await rig.ask(infer(1.0), answer(1.0), "v2", redpoll_unit=CANDIDATE)
        await rig.tick()
        assert not rig.backends["v1"].asked
        assert not rig.backends["v2"].asked

    run(go)


def test_a_busy_stable_is_asked_once_it_has_a_moment(tmp_path: Path) -> None:
    """A worker answers one at a time: a second look waits for a gap, it does not queue."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        stable = rig.backends["v1"]
        stable.room = 0
        await rig.ask(infer(1.0), b"{}", "v2", 500, redpoll_unit=CANDIDATE)
        await rig.tick()
        assert not stable.asked
        stable.room = 1
        await asyncio.sleep(0.05)
        assert len(stable.asked) == 1
        stable.answer(200, answer(0.5))
        await rig.tick()
        assert [(a.role, a.status) for a in rig.answers()][-1] == ("shadow", "ok")

    run(go)


def test_a_second_look_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """It times out like anything else, and another may follow."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        quick = Version(name="v1", backend="http://h/v2/models/m", timeout_ms=20)
        rig.reroute(live="v1", versions={"v1": quick}, **ROLLOUT)
        await rig.ask(infer(1.0), b"{}", "v2", 500, redpoll_unit=CANDIDATE)
        await asyncio.sleep(0.06)
        assert len(rig.backends["v1"].cancelled) == 1
        assert [(a.role, a.status) for a in rig.answers()] == [
            ("live", "error"),
            ("shadow", "timeout"),
        ]
        await rig.ask(infer(1.0), b"{}", "v2", 500, redpoll_unit=CANDIDATE)
        await rig.tick()
        assert len(rig.backends["v1"].asked) == 1
        await asyncio.sleep(0.06)

    run(go)


SECRET = {"note": "patient Zoë Müller, 41", "income": 51234}


@pytest.mark.parametrize("wire", ["oip", "rows"])
def test_redacted_fields_never_reach_the_journal(tmp_path: Path, wire: str) -> None:
    """Not as input, not echoed by outputs or errors, not in a refusal's text; the model gets them."""

    async def go() -> None:
        model = Model(name="m", unit="user", redact=("note", "income"),
                      inputs={"age": "int", "note": "text", "income": "int"})  # fmt: skip
        rig = Rig(tmp_path, model, **ROLLOUT)
        row = {"age": 7} | SECRET
        if wire == "rows":
            sent, more = json.dumps(row).encode(), {"wire": ROWS}
        else:
            kinds = {"age": "INT64", "note": "BYTES", "income": "INT64"}
            tensors = [
                {"name": k, "shape": [1], "datatype": kinds[k], "data": [v]} for k, v in row.items()
            ]
            sent, more = json.dumps({"inputs": tensors}).encode(), {}

        async def ask(reply: bytes, of: str = "v2", status: int = 200, unit: str = CANDIDATE):
            return await rig.ask(sent, reply, of, status, redpoll_unit=unit, **more)

        heard, _ = rig.send(sent, redpoll_unit=CANDIDATE, **more)
        await rig.tick()
        assert "Zo" in rig.backends["v2"].asked[0].payload.decode()
        why = {
            "name": "why",
            "shape": [1],
            "datatype": "BYTES",
            "data": [f"{SECRET['note']} earns 51234"],
        }
        echo = {"name": "note", "shape": [1], "datatype": "BYTES", "data": [SECRET["note"]]}
        y = {"name": "y", "shape": [1], "datatype": "INT64", "data": [1]}
        rig.backends["v2"].answer(200, json.dumps({"outputs": [why, echo, y]}).encode())
        await rig.tick()
        assert "Zo" in heard.calls[0].reply_body.decode()  # the client may see what it sent
        await ask(json.dumps({"error": f"bad value {SECRET['note']!r}"}).encode(), status=500)
        await rig.tick()
        rig.backends["v1"].answer(200, json.dumps({"outputs": [why]}).encode())
        await ask(f"<p>{SECRET['note']}</p>".encode(), of="v1", unit=STABLE)
        await rig.ask(sent.replace(b"7", b'"seven"', 1), redpoll_unit=CANDIDATE, **more)
        await rig.tick()
        assert len(rig.answers()) >= 5
        for entry in rig.journal.read():
            text = repr(entry)
            for leak in ("Zoë", "Zo\\u00eb", "Zo\\xc3", "Müller", "M\\u00fcller", "51234"):
                assert leak not in text, text
        assert rig.requests()[0].inputs == '{"age":[7]}'
        assert json.loads(rig.answers()[0].outputs) == {
            "why": ["[redacted] earns [redacted]"],
            "y": [1],
        }

    run(go)


def test_a_redacted_unit_routes_by_its_hash_and_a_redacted_group_is_not_kept(
    tmp_path: Path,
) -> None:
    """The same person still goes the same way; the name is nowhere."""

    async def go() -> None:
        model = Model(name="m", unit="user", unit_from="input:user", redact=("user", "sex"),
                      groups={"sex": "input:sex", "plan": "input:plan"})  # fmt: skip
        rig = Rig(tmp_path, model, **ROLLOUT)
        for user in ("ann", "ann", "bob"):
            _, call = rig.predict({"user": user, "sex": "f", "plan": "basic", "x": 1})
            await rig.tick()
            rig.backends[call.lane.version].answer()
            await rig.tick()
        first, second, third = rig.requests()
        assert first.unit == second.unit != third.unit
        assert first.arm == arm("s", first.unit, 0.5)
        assert first.groups == {"plan": "basic"}
        assert "ann" not in repr(list(rig.journal.read()))

    run(go)
