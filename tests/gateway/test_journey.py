"""One request's journey: drawn, journalled, asked, journalled, answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redpoll import ids
from redpoll.catalog import Model, Output
from redpoll.gateway.call import ROWS
from redpoll.rollout.assign import arm
from tests.gateway.rig import Rig, answer, infer, run

# A unit of the candidate, with the salt and weight below.
UNIT = next(f"u-{n}" for n in range(99) if arm("s", f"u-{n}", 0.3) == "candidate")
ROLLOUT = {"candidate": "v2", "weight": 0.3, "salt": "s", "rollout_id": "m-1"}


def test_the_journal_has_the_request_before_the_backend_and_the_answer_before_the_client(
    tmp_path: Path,
) -> None:
    """Request, flush, ask; answer, flush, reply: in this order and no other."""

    async def go() -> None:
        rig = Rig(tmp_path)
        heard, _ = rig.send(infer(1.0), redpoll_unit="u")
        assert rig.writer.log == ["Request"]
        assert not rig.backends["v1"].asked
        await rig.tick()
        assert rig.writer.log == ["Request", "flush"]
        assert len(rig.backends["v1"].asked) == 1
        rig.backends["v1"].answer(200, answer(0.5))
        assert not heard.calls
        await rig.tick()
        assert rig.writer.log == ["Request", "flush", "Answer", "flush"]
        assert heard.status == 200

    run(go)


def test_one_flush_serves_a_whole_tick(tmp_path: Path) -> None:
    """Thirty requests of one tick cost one write, their answers another."""

    async def go() -> None:
        rig = Rig(tmp_path)
        all_heard = [rig.send(infer(1.0))[0] for _ in range(30)]
        await rig.tick()
        assert rig.writer.flushes == 1
        while rig.backends["v1"].asked:
            rig.backends["v1"].answer()
        await rig.tick()
        assert rig.writer.flushes == 2
        assert all(heard.status == 200 for heard in all_heard)

    run(go)


def test_facts_say_everything_about_a_request_and_its_answer(tmp_path: Path) -> None:
    """Columns as the reference has them."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        heard = await rig.ask(
            infer(1.0, 2.0, id="order-7"), answer(0.5, 0.25), of="v2",
            redpoll_unit=UNIT, redpoll_subject="p-9", redpoll_group_age_band="30-39",
            traceparent=f"00-{trace}-00f067aa0ba902b7-01", x_request_id="ignored",
        )  # fmt: skip
        request, reply = rig.facts()
        assert request.request_id == "order-7"
        assert (request.rows, request.unit, request.subject) == (2, UNIT, "p-9")
        assert request.groups == {"age_band": "30-39"}
        assert (request.arm, request.arm_probability, request.rollout_id) == (
            "candidate",
            0.3,
            "m-1",
        )
        assert (request.route_generation, request.version_requested) == (3, None)
        assert json.loads(request.draws) == [
            {"purpose": "arm", "choice": "candidate", "probability": 0.3},
            {"purpose": "route", "choice": "v2", "probability": 1.0},
        ]
        assert request.inputs == '{"x":[1.0,2.0]}'
        assert (request.trace_id, request.capture) == (trace, "full")
        assert ids.model_number(request.prediction_id) == 7
        assert (reply.prediction_id, reply.version) == (request.prediction_id, "v2")
        assert (reply.role, reply.status, reply.error_code) == ("live", "ok", None)
        assert (reply.attempts, reply.decided_by) == (1, "model")
        assert reply.outputs == '{"y":[0.5,0.25]}'
        assert reply.latency_us >= reply.queue_us >= 0
        assert heard.headers["redpoll-prediction-id"] == request.prediction_id
        assert heard.headers["redpoll-version"] == "v2"
        assert heard.headers["redpoll-decided-by"] == "model"
        assert heard.headers["x-request-id"] == "order-7"

    run(go)


def test_backends_get_ids_and_the_trace_but_no_groups_nor_subject(tmp_path: Path) -> None:
    """What a client says about a person stays here."""

    async def go() -> None:
        rig = Rig(tmp_path)
        _, call = rig.send(
            infer(1.0, id="k"), redpoll_unit="u", redpoll_subject="p", redpoll_group_sex="f",
            authorization="Bearer x", traceparent=f"00-{'a' * 32}-{'b' * 16}-01", tracestate="v=1",
        )  # fmt: skip
        await rig.tick()
        lines = rig.backends["v1"].asked[0].lines.decode().split("\r\n")
        assert dict(line.split(": ") for line in lines if line) == {
            "x-request-id": "k",
            "redpoll-prediction-id": call.prediction_id,
            "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
            "tracestate": "v=1",
        }

    run(go)


def test_a_unit_goes_where_the_pure_function_says_and_always_to_the_same_arm(
    tmp_path: Path,
) -> None:
    """Sticky: arm = hash(salt, unit) < w; growing the weight only adds units to the candidate."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        before: dict[str, str] = {}
        for weight in (0.3, 0.6):
            rig.reroute(live="v1", **(ROLLOUT | {"weight": weight}))
            for n in range(60):
                unit = f"user-{n}"
                _, call = rig.send(infer(1.0), redpoll_unit=unit)
                assert call.arm == arm("s", unit, weight)
                assert before.get(unit, "stable") == "stable" or call.arm == "candidate"
                before[unit] = call.arm
                assert call.lane.version == ("v2" if call.arm == "candidate" else "v1")
        await rig.tick()

    run(go)


def test_with_unit_request_each_request_is_drawn_by_its_own_id(tmp_path: Path) -> None:
    """By the same function; a unit that comes along is kept in the fact."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m"), **ROLLOUT)
        arms = []
        for _ in range(200):
            _, call = rig.send(infer(1.0), redpoll_unit="u")
            assert call.arm == arm("s", call.prediction_id, 0.3)
            arms.append(call.arm)
        await rig.tick()
        assert 30 < arms.count("candidate") < 90
        assert {request.unit for request in rig.requests()} == {"u"}

    run(go)


def test_what_is_no_evidence_has_arm_none(tmp_path: Path) -> None:
    """No rollout, weight 0, a named version, a missing unit, no rows."""

    async def go() -> None:
        rig = Rig(tmp_path)
        await rig.ask(infer(1.0), redpoll_unit=UNIT)
        rig.reroute(live="v1", **(ROLLOUT | {"weight": 0.0}))
        await rig.ask(infer(1.0), redpoll_unit=UNIT)
        rig.reroute(live="v1", **ROLLOUT)
        await rig.ask(infer(1.0), of="v2", version="v2", redpoll_unit=UNIT)
        await rig.ask(infer(1.0))
        for request in rig.requests():
            assert (request.arm, request.arm_probability, request.rollout_id) == ("none", 0.0, None)
        assert [request.version_requested for request in rig.requests()] == [None, None, "v2", None]
        assert [a.version for a in rig.answers()] == ["v1", "v1", "v2", "v1"]
        assert rig.count("redpoll_units_missing_total", "m") == 1

    run(go)


def test_a_missing_unit_is_served_by_the_stable_or_refused_as_declared(tmp_path: Path) -> None:
    """unit_missing = "reject": 400, in the journal with arm none, no backend asked."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", unit="user", unit_missing="reject"), **ROLLOUT)
        heard = await rig.ask(infer(1.0))
        assert (heard.status, heard.said["code"]) == (400, "RP-112")
        request, reply = rig.facts()
        assert (request.arm, request.rows, request.capture) == ("none", 0, "none")
        assert (reply.status, reply.error_code, reply.attempts) == ("refused", "RP-112", 0)

    run(go)


def test_the_unit_comes_from_where_the_model_says(tmp_path: Path) -> None:
    """Another header, or a column: one value for all rows, else there is none."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", unit="user", unit_from="header:X-User"))
        _, call = rig.send(infer(1.0), x_user="ann", redpoll_unit="other")
        assert call.unit == "ann"
        model = Model(name="m", unit="user", unit_from="input:user", groups={"plan": "input:plan"})
        rig = Rig(tmp_path, model)
        cases = [
            ([7, 7], "7"), (["a", "a"], "a"), ([1.5, 1.5], "1.5"), (["a", "b"], None),
            ([None, None], None), (["", ""], None),
        ]  # fmt: skip
        for values, unit in cases:
            rows = [{"user": value, "plan": "basic"} for value in values]
            _, call = rig.predict({"rows": rows})
            assert call.unit == unit
            assert call.groups == {"plan": "basic"}
        tensor = {"name": "user", "shape": [1], "datatype": "BYTES", "data": ["bob"]}
        _, call = rig.send(json.dumps({"inputs": [tensor]}).encode())
        assert call.unit == "bob"
        await rig.tick()

    run(go)


def test_plain_rows_are_asked_as_tensors_and_answered_as_rows(tmp_path: Path) -> None:
    """With prediction id and version; the journal keeps the rows' columns."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", inputs={"age": "int", "plan": "category"}))
        heard, call = rig.predict({"rows": [{"age": 41, "plan": "a"}, {"age": None}], "id": "k"})
        await rig.tick()
        asked = json.loads(rig.backends["v1"].asked[0].payload)
        assert asked["id"] == "k"
        assert [t["datatype"] for t in asked["inputs"]] == ["FP64", "BYTES"]  # a server of others
        rig.backends["v1"].answer(200, answer(0.5, None))
        await rig.tick()
        assert heard.said == {
            "prediction_id": call.prediction_id, "version": "v1", "rows": [{"y": 0.5}, {"y": None}],
        }  # fmt: skip
        assert rig.requests()[0].inputs == '{"age":[41,null],"plan":["a",null]}'

    run(go)


def test_our_own_workers_get_missing_integers_as_nullable_columns(tmp_path: Path) -> None:
    """They can tell a DataFrame from an array."""

    async def go() -> None:
        model = Model(name="m", inputs={"age": "int"})
        rig = Rig(tmp_path, model, kinds={"v1": "sklearn:m.pkl"})
        rig.predict({"age": None})
        await rig.tick()
        asked = json.loads(rig.backends["v1"].asked[0].payload)
        assert asked["inputs"][0]["parameters"] == {"nullable": True}

    run(go)


def test_other_servers_always_get_an_id(tmp_path: Path) -> None:
    """Some answer 500 without one; a body that has one goes as it is, byte for byte."""

    async def go() -> None:
        rig = Rig(tmp_path)
        _, call = rig.send(infer(1.0))
        rig.send(infer(1.0, id="k"))
        rig.send(infer(1.0), x_request_id='a"b')
        await rig.tick()
        bare, named, quoted = (ask.payload for ask in rig.backends["v1"].asked)
        assert json.loads(bare) == json.loads(infer(1.0)) | {"id": call.prediction_id}
        assert named == infer(1.0, id="k")
        assert json.loads(quoted)["id"] == 'a"b'

    run(go)


@pytest.mark.parametrize("hostile", ["a\r\nset-cookie: x", "ä", " x ", "\x00", "日本", "a\ud800b"])
def test_a_hostile_id_is_kept_in_the_journal_and_harmless_in_headers(
    tmp_path: Path, hostile: str
) -> None:
    """Percent-encoded where it is not plain ASCII: it can never begin another header."""

    async def go() -> None:
        rig = Rig(tmp_path)
        if "\ud800" in hostile:
            heard = await rig.ask(infer(1.0, id=hostile))
            assert heard.status == 400
            return
        heard = await rig.ask(infer(1.0, id=hostile))
        assert heard.status == 200
        assert rig.requests()[0].request_id == hostile
        assert b"\r\nset-cookie" not in heard.calls[0].reply_lines
        assert heard.calls[0].reply_lines.count(b"\r\n") == 5
        assert heard.headers["x-request-id"].isascii()

    run(go)


def test_no_rows_ask_nobody_and_are_no_evidence(tmp_path: Path) -> None:
    """200 with zero rows, arm none even in a rollout; the declared outputs stand there, empty."""

    async def go() -> None:
        model = Model(name="m", unit="user",
                      output=Output(name="churn", type="binary", score="p"))  # fmt: skip
        rig = Rig(tmp_path, model, **ROLLOUT)
        empty = {"name": "x", "shape": [0], "datatype": "FP64", "data": []}
        heard = await rig.ask(
            json.dumps({"id": "k", "inputs": [empty]}).encode(), redpoll_unit=UNIT
        )
        assert heard.status == 200
        assert heard.said["id"] == "k"
        assert [(t["name"], t["shape"], t["data"]) for t in heard.said["outputs"]] == [
            ("churn", [0], []), ("p", [0], []),
        ]  # fmt: skip
        heard = await rig.ask(b'{"rows":[]}', wire=ROWS, redpoll_unit=UNIT)
        assert heard.said["rows"] == []
        assert {r.arm for r in rig.requests()} == {"none"}
        assert {(a.status, a.attempts) for a in rig.answers()} == {("ok", 0)}
        assert not any(backend.asked for backend in rig.backends.values())

    run(go)
