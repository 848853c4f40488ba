"""Everything has a bound: requests under way, waiting ones, time; and leaving frees a place."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from redpoll.catalog import Limits, Model, ModelLimits, Version
from redpoll.gateway.call import Call
from redpoll.rollout.assign import arm
from redpoll.testing.backends import FakeBackend
from tests.gateway.rig import Rig, answer, infer, run

ROLLOUT = {"candidate": "v2", "weight": 0.5, "salt": "s", "rollout_id": "m-1"}
CANDIDATE = next(f"u-{n}" for n in range(99) if arm("s", f"u-{n}", 0.5) == "candidate")
STABLE = next(f"u-{n}" for n in range(99) if arm("s", f"u-{n}", 0.5) == "stable")


def small(in_flight: int, queue: int, **more) -> Model:
    return Model(name="m", limits=ModelLimits(in_flight=in_flight, queue=queue), **more)


def all_free(rig: Rig) -> bool:
    gateway = rig.gateway
    tally = gateway.tally("m")
    lanes = gateway.models["m"].lanes.values()
    return not any(
        (gateway.taken, gateway.flying, gateway.waiting, tally.taken, tally.flying, tally.waiting)
    ) and not any(lane.waiting or lane.flying for lane in lanes)


@pytest.mark.parametrize("server_wide", [False, True])
def test_past_the_bound_a_request_is_refused_at_once(tmp_path: Path, server_wide: bool) -> None:
    """Two under way, three waiting, the sixth is 503 with Retry-After in the very same tick."""

    async def go() -> None:
        limits = Limits(in_flight=2, queue=3) if server_wide else Limits()
        model = Model(name="m") if server_wide else small(2, 3)
        rig = Rig(tmp_path, model, limits=limits)
        heard = [rig.send(infer(float(n)))[0] for n in range(5)]
        await rig.tick()
        assert len(rig.backends["v1"].asked) == 2
        late, _ = rig.send(infer(9.0))
        await rig.tick(1)
        assert (late.status, late.said["code"]) == (503, "RP-108")
        assert int(late.headers["retry-after"]) >= 1
        for _ in range(5):
            rig.backends["v1"].answer()
            await rig.tick()
        assert [one.status for one in heard] == [200] * 5
        assert all_free(rig)
        again = await rig.ask(infer(1.0))
        assert again.status == 200
        refused = [a for a in rig.answers() if a.status == "refused"]
        assert [(a.error_code, a.attempts) for a in refused] == [("RP-108", 0)]
        assert len(rig.requests()) == len(rig.answers()) == 7
        assert rig.count("redpoll_refused_total", "m", "overload") == 1

    run(go)


def test_waiting_ones_are_served_in_order_and_their_wait_is_noted(tmp_path: Path) -> None:
    """First come, first served; queue_us says how long."""

    async def go() -> None:
        rig = Rig(tmp_path)
        rig.backends["v1"].room = 1
        for n in range(4):
            rig.send(infer(float(n)))
        await rig.tick()
        order = []
        for _ in range(4):
            await asyncio.sleep(0.01)
            order.append(json.loads(rig.backends["v1"].asked[0].payload)["inputs"][0]["data"][0])
            rig.backends["v1"].answer()
            await rig.tick()
        assert order == [0.0, 1.0, 2.0, 3.0]
        waits = [a.queue_us for a in rig.answers()]
        assert waits == sorted(waits)
        assert waits[3] > 25_000
        assert all(a.latency_us >= a.queue_us for a in rig.answers())

    run(go)


def test_a_slow_candidate_fills_its_queue_and_what_is_then_refused_counts_in_its_arm(
    tmp_path: Path,
) -> None:
    """A bound hit after the draw is evidence; the stable's requests go on meanwhile."""

    async def go() -> None:
        rig = Rig(tmp_path, small(100, 2, unit="user"), **ROLLOUT)
        rig.backends["v2"].room = 1
        heard = [rig.send(infer(1.0), redpoll_unit=CANDIDATE)[0] for _ in range(5)]
        await rig.tick()
        assert [one.status for one in heard if one.calls] == [503, 503]
        stable = await rig.ask(infer(1.0), redpoll_unit=STABLE)
        assert stable.status == 200
        arms = {r.prediction_id: r.arm for r in rig.requests()}
        refused = [a for a in rig.answers() if a.status == "refused"]
        assert [(arms[a.prediction_id], a.version) for a in refused] == [("candidate", "v2")] * 2
        for _ in range(3):
            rig.backends["v2"].answer()
            await rig.tick()
        assert all_free(rig)

    run(go)


def test_the_servers_queue_is_a_bound_of_its_own(tmp_path: Path) -> None:
    """Where one slow backend lets few fly, no more wait than may wait on this server."""

    async def go() -> None:
        rig = Rig(tmp_path, limits=Limits(in_flight=100, queue=2))
        rig.backends["v1"].room = 1
        heard = [rig.send(infer(1.0))[0] for _ in range(5)]
        await rig.tick()
        assert [one.status for one in heard if one.calls] == [503, 503]
        for _ in range(3):
            rig.backends["v1"].answer()
            await rig.tick()
        assert all_free(rig)

    run(go)


def test_a_client_that_leaves_frees_its_place_at_once(tmp_path: Path) -> None:
    """Under way, waiting, or not even asked yet: `abandoned`, and the next one starts."""

    async def go() -> None:
        rig = Rig(tmp_path)
        backend = rig.backends["v1"]
        backend.room = 1
        heard_first, first = rig.send(infer(1.0))
        await rig.tick()
        _, second = rig.send(infer(2.0))
        _, third = rig.send(infer(3.0))
        await rig.tick()
        _, unasked = rig.send(infer(4.0))
        rig.gateway.leave(unasked)
        rig.gateway.leave(second)
        rig.gateway.leave(first)
        assert backend.cancelled == [first]
        assert [ask is third for ask in backend.asked] == [True]
        await rig.tick()
        assert not heard_first.calls
        backend.answer()
        await rig.tick()
        assert [a.status for a in rig.answers()] == ["abandoned"] * 3 + ["ok"]
        assert all_free(rig)
        rig.gateway.leave(first)  # twice makes no difference
        await rig.tick()
        assert len(rig.answers()) == 4

    run(go)


@pytest.mark.parametrize(
    ("header", "timeout_ms", "expected"), [(None, 30, 30), ("20", 5000, 20), ("5000", 30, 30)]
)
def test_a_deadline_is_the_versions_time_out_or_the_requests_whichever_is_less(
    tmp_path: Path, header: str | None, timeout_ms: int, expected: int
) -> None:
    """504, status `timeout`, the backend's call given up."""

    async def go() -> None:
        rig = Rig(tmp_path)
        version = Version(name="v1", backend="http://h/v2/models/m", timeout_ms=timeout_ms)
        rig.reroute(live="v1", versions={"v1": version})
        more = {"redpoll_deadline_ms": header} if header else {}
        heard, call = rig.send(infer(1.0), **more)
        await rig.tick()
        await asyncio.sleep(expected / 1000 * 0.5)
        if time.monotonic_ns() - call.arrived_ns < expected * 1_000_000:
            assert not heard.calls
        await asyncio.sleep(expected / 1000 * 0.5 + 0.06)
        assert (heard.status, heard.said["code"]) == (504, "RP-109")
        assert str(expected) in heard.said["error"]
        assert rig.backends["v1"].cancelled == [call]
        (only,) = rig.answers()
        assert (only.status, only.error_code) == ("timeout", "RP-109")
        assert only.latency_us >= expected * 1000
        assert all_free(rig)

    run(go)


def test_deadlines_count_waiting_too_and_do_not_disturb_the_order(tmp_path: Path) -> None:
    """One that waited too long is 504 without having been sent."""

    async def go() -> None:
        rig = Rig(tmp_path)
        rig.backends["v1"].room = 1
        first, _ = rig.send(infer(1.0))
        await rig.tick()
        impatient, _ = rig.send(infer(2.0), redpoll_deadline_ms="15")
        patient, _ = rig.send(infer(3.0))
        await asyncio.sleep(0.06)
        assert impatient.status == 504
        assert not first.calls
        rig.backends["v1"].answer()
        await rig.tick()
        rig.backends["v1"].answer()
        await rig.tick()
        assert (first.status, patient.status) == (200, 200)
        by_status = {a.status: a.attempts for a in rig.answers()}
        assert by_status == {"ok": 1, "timeout": 0}
        assert all_free(rig)

    run(go)


def test_draining_refuses_new_ones_and_finishes_the_others(tmp_path: Path) -> None:
    """503 RP-110 with Retry-After, no facts; `drained` is set with the last answer."""

    async def go() -> None:
        rig = Rig(tmp_path)
        heard, _ = rig.send(infer(1.0))
        await rig.tick()
        rig.gateway.draining = True
        late = await rig.ask(infer(1.0), of="v2")
        assert (late.status, late.said["code"]) == (503, "RP-110")
        assert "retry-after" in late.headers
        assert not rig.gateway.drained.is_set()
        rig.backends["v1"].answer()
        await rig.tick()
        assert heard.status == 200
        assert rig.gateway.drained.is_set()
        assert len(rig.requests()) == 1

    run(go)


def test_what_is_not_finished_when_draining_ends_times_out(tmp_path: Path) -> None:
    """It has an answer in the journal, and the client one too."""

    async def go() -> None:
        rig = Rig(tmp_path)
        heard, _ = rig.send(infer(1.0))
        await rig.tick()
        rig.gateway.draining = True
        rig.gateway.deadlines.expire_all()
        await rig.tick()
        assert heard.status == 504
        assert [a.status for a in rig.answers()] == ["timeout"]
        assert rig.gateway.drained.is_set()

    run(go)


def test_a_full_disk_refuses_everything_and_forgets_nothing(tmp_path: Path, caplog) -> None:
    """503 RP-300; no ask leaves unjournalled; it goes on by itself once the disk is well again."""

    async def go() -> None:
        rig = Rig(tmp_path)
        flying, _ = rig.send(infer(1.0))
        await rig.tick()
        rig.writer.refuses = True
        fresh, _ = rig.send(infer(2.0))
        rig.backends["v1"].answer(200, answer(0.5))
        await rig.tick()
        for heard in (fresh, flying):
            assert (heard.status, heard.said["code"]) == (503, "RP-300")
            assert len(heard.calls) == 1
        assert not rig.backends["v1"].asked
        later = await rig.ask(infer(3.0))
        assert (later.status, later.said["code"]) == (503, "RP-300")
        assert rig.gateway.well() is not None
        assert all_free(rig)
        rig.writer.refuses = False
        await asyncio.sleep(0.4)
        assert rig.gateway.well() is None
        assert (await rig.ask(infer(4.0))).status == 200
        ends = {a.prediction_id: a.status for a in rig.answers()}
        assert set(ends) == {r.prediction_id for r in rig.requests()}
        assert sorted(ends.values()) == ["ok", "ok", "refused"]

    run(go)
    assert "full" in caplog.text


def test_a_gateway_that_is_asked_by_many_at_once_ends_every_call_once(tmp_path: Path) -> None:
    """Random ends in random order: the counts return to zero, each request has one live answer."""
    import random

    async def go() -> None:
        rig = Rig(tmp_path, small(5, 10, unit="user"), **ROLLOUT)
        dice = random.Random(7)
        backends: list[FakeBackend] = list(rig.backends.values())
        backends[1].room = 2
        calls = []
        for step in range(1500):
            heard, call = rig.send(infer(1.0), redpoll_unit=f"u-{step % 50}")
            calls.append((heard, call))
            if dice.random() < 0.5:
                await rig.tick(1)
            for backend in backends:
                while backend.asked and dice.random() < 0.6:
                    at = dice.randrange(len(backend.asked))
                    pick = dice.random()
                    if pick < 0.5:
                        backend.answer(200, answer(1.0), at)
                    elif pick < 0.6:
                        backend.answer(500, b"{}", at)
                    elif pick < 0.7:
                        backend.fail(at=at)
                    elif pick < 0.8 and isinstance(backend.asked[at], Call):
                        rig.gateway.leave(backend.asked[at])
                    else:
                        break
        while rig.gateway.taken or any(backend.asked for backend in backends):
            for backend in backends:
                if backend.asked:
                    backend.answer()
            await rig.tick()
        await rig.tick()
        assert all_free(rig)
        live = [a.prediction_id for a in rig.answers() if a.role == "live"]
        assert sorted(live) == sorted(r.prediction_id for r in rig.requests())
        assert len(set(live)) == len(live) == 1500
        assert all(len(heard.calls) <= 1 for heard, _ in calls)
        abandoned = {a.prediction_id for a in rig.answers() if a.status == "abandoned"}
        assert all(bool(h.calls) != (c.prediction_id in abandoned) for h, c in calls)

    run(go)
