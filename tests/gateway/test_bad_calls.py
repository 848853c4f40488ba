"""Calls that cannot be served as they are, and mistakes on the way."""

from __future__ import annotations

import json
from pathlib import Path

from redpoll.catalog import Model
from tests.gateway.rig import Heard, Rig, infer, run

ROLLOUT = {"candidate": "v2", "weight": 0.3, "salt": "s", "rollout_id": "m-1"}


def test_versions_that_cannot_answer_are_said_to(tmp_path: Path) -> None:
    """404 for an unknown one, 503 for one that is stopped (with the command) or none that is live."""

    async def go() -> None:
        kinds = {"v1": "sklearn:m.pkl", "v2": "sklearn:n.pkl"}
        rig = Rig(tmp_path, kinds=kinds, stopped=("v2",))
        heard = await rig.ask(infer(1.0), version="v22")
        assert (heard.status, heard.said["code"]) == (404, "RP-103")
        assert "'v2'" in heard.said["error"]
        heard = await rig.ask(infer(1.0), version="v2")
        assert (heard.status, heard.said["code"]) == (503, "RP-114")
        assert "redpoll rollout start m v2" in heard.said["error"]
        assert heard.headers["retry-after"]
        rig.reroute(live=None)
        heard = await rig.ask(infer(1.0))
        assert (heard.status, heard.said["code"]) == (503, "RP-113")
        heard = await rig.ask(infer(1.0), model="n")
        assert (heard.status, heard.said["code"]) == (404, "RP-102")
        assert {a.status for a in rig.answers()} == {"refused"}
        assert len(rig.requests()) == 3  # an unknown model has no number, hence no id

    run(go)


def test_bad_bodies_are_400_and_leave_whole_facts_without_the_body(tmp_path: Path) -> None:
    """Arm none, no inputs: refused before the draw."""

    async def go() -> None:
        rig = Rig(tmp_path, **ROLLOUT)
        for raw in (b"", b"{", b'{"inputs":[]}', infer(1.0).replace(b"1.0", b"NaN")):
            heard = await rig.ask(raw, redpoll_unit="u-1")
            assert heard.status == 400
        assert len(rig.requests()) == len(rig.answers()) == 4
        assert {(r.arm, r.inputs, r.body) for r in rig.requests()} == {("none", None, None)}
        assert rig.count("redpoll_refused_total", "m", "malformed_body") == 3
        assert rig.count("redpoll_refused_total", "m", "tensor") == 1
        assert rig.gateway.taken == 0

    run(go)


def test_a_bad_header_is_400(tmp_path: Path) -> None:
    """A deadline that is no number, a group that is no name, an id without end."""

    async def go() -> None:
        rig = Rig(tmp_path)
        bad = [
            {"redpoll_deadline_ms": "soon"}, {"redpoll_deadline_ms": "0"},
            {"redpoll_deadline_ms": "-5"}, {"redpoll_deadline_ms": "1.5"},
            {"redpoll_group_9": "x"}, {"redpoll_subject": "x" * 600}, {"x_request_id": "x" * 600},
            {"redpoll_unit": "x" * 600},
        ]  # fmt: skip
        for headers in bad:
            heard = await rig.ask(infer(1.0), **headers)
            assert (heard.status, heard.said["code"]) == (400, "RP-101"), headers

    run(go)


def test_declared_inputs_are_checked_before_anybody_is_asked(tmp_path: Path) -> None:
    """Unknown, missing, another datatype, another shape, rows that differ."""

    async def go() -> None:
        rig = Rig(tmp_path, Model(name="m", inputs={"age": "int", "rate": "float", "plan": "text"}))
        good = [("age", "INT64", [1]), ("rate", "FP64", [1.0]), ("plan", "BYTES", ["a"])]

        def body(*tensors: tuple) -> bytes:
            return json.dumps({"inputs": [
                {"name": name, "datatype": kind, "shape": [len(data)], "data": data}
                for name, kind, data in tensors]}).encode()  # fmt: skip

        assert (await rig.ask(body(*good))).status == 200
        lossless = [("age", "INT32", [1]), ("rate", "FP32", [1.0]), good[2]]
        assert (await rig.ask(body(*lossless))).status == 200
        whole = [good[0], ("rate", "INT64", [1]), good[2]]
        assert (await rig.ask(body(*whole))).status == 200
        bad = [
            (good[:2], "missing"), ([*good, ("agee", "INT64", [1])], "'age'"),
            ([("age", "FP64", [1.0]), *good[1:]], "declared 'int': send INT64."),
            ([good[0], ("rate", "BYTES", ["a"]), good[2]], "declared 'float': send FP64."),
            ([*good[:2], ("plan", "INT64", [1])], "declared 'text': send BYTES."),
            ([("age", "INT64", [1, 2]), *good[1:]], "rows"),
        ]  # fmt: skip
        for tensors, word in bad:
            heard = await rig.ask(body(*tensors))
            assert heard.status == 400, tensors
            assert word in heard.said["error"]

    run(go)


def test_the_units_column_need_not_be_an_input_of_the_model(tmp_path: Path) -> None:
    """It is read and not sent to the model where rows are plain."""

    async def go() -> None:
        rig = Rig(
            tmp_path, Model(name="m", unit="user", unit_from="input:user", inputs={"age": "int"})
        )
        _, call = rig.predict({"age": 1, "user": "ann"})
        await rig.tick()
        assert call.unit == "ann"
        asked = json.loads(rig.backends["v1"].asked[0].payload)
        assert [t["name"] for t in asked["inputs"]] == ["age"]
        assert rig.requests()[0].inputs == '{"age":[1],"user":["ann"]}'

    run(go)


def test_one_clients_broken_transport_costs_no_other_its_reply(tmp_path: Path) -> None:
    """All replies of the tick are tried, and all asks."""

    async def go() -> None:
        rig = Rig(tmp_path)
        broken = Heard(closed=True)
        first, _ = rig.send(infer(1.0))
        rig.send(infer(2.0), heard=broken)
        third, _ = rig.send(infer(3.0))
        await rig.tick()
        for _ in range(3):
            rig.backends["v1"].answer()
        fourth, _ = rig.send(infer(4.0))
        await rig.tick()
        assert first.status == third.status == 200
        assert len(rig.backends["v1"].asked) == 1
        rig.backends["v1"].answer()
        await rig.tick()
        assert fourth.status == 200
        assert len(rig.answers()) == 4

    run(go)


def test_a_mistake_of_our_own_is_500_and_the_request_still_has_its_end(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    """Nothing may stay open: a bucket would never close."""

    async def go() -> None:
        rig = Rig(tmp_path)
        monkeypatch.setattr("redpoll.gateway.replies.judge", lambda *_: 1 / 0)
        monkeypatch.setattr("redpoll.gateway.express.skim", lambda *_: 1 / 0)
        heard = await rig.ask(infer(1.0))
        assert (heard.status, heard.said["code"]) == (500, "RP-600")
        assert [a.status for a in rig.answers()] == ["error"]
        assert rig.gateway.taken == rig.gateway.flying == 0

    run(go)
    assert "ZeroDivisionError" in caplog.text
