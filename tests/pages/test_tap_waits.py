"""What the tap does when the other half of a prediction does not come, or the disk refuses."""

from __future__ import annotations

import asyncio
import json

import pytest

from redpoll.errors import RedpollError
from redpoll.gateway import tap
from redpoll.gateway.tap import Event, Tap
from tests.gateway.rig import Rig, answer, infer, run


def event(kind: str, number: str, data: bytes, time_us: int | None = None) -> Event:
    return Event(kind, number, "m", "default", time_us, {}, None, data)


def done(said: list[RedpollError | None]) -> tap.Done:
    return said.append


def test_a_request_that_nobody_answers_is_closed_and_says_why(tmp_path, monkeypatch):
    """KServe tells answers of status 200 only: silence is not left open for ever."""
    monkeypatch.setattr(tap, "UNANSWERED_S", 0.1)
    monkeypatch.setattr(tap, "SWEEP_S", 0.02)

    async def test() -> None:
        rig = Rig(tmp_path)
        said: list[RedpollError | None] = []
        Tap(rig.gateway).hear(event("request", "k-1", infer(1.0)), done(said))
        await asyncio.sleep(0.4)
        (closed,) = rig.answers()
        assert said == [None] and (closed.status, closed.version) == ("lost", "v1")
        assert "status 200" in json.loads(closed.outputs)["error"]
        assert rig.count("redpoll_requests_total", "m", "v1", "none", "lost") == 1

    run(test)


def test_memory_is_bounded_however_many_halves_come(tmp_path, monkeypatch):
    """The oldest of too many is settled at once, and its sender told."""
    monkeypatch.setattr(tap, "EARLY_MAX", 3)
    monkeypatch.setattr(tap, "OPEN_MAX", 3)

    async def test() -> None:
        rig = Rig(tmp_path)
        tapping, said = Tap(rig.gateway), []
        for at in range(5):
            tapping.hear(event("response", f"a-{at}", answer(1.0)), done(said))
        await rig.tick()
        assert said == [None, None] and len(rig.answers()) == 2
        for at in range(5):
            tapping.hear(event("request", f"r-{at}", infer(1.0)), done(said))
        await rig.tick()
        assert [one.status for one in rig.answers()] == ["ok", "ok", "lost", "lost"]
        assert {len(tapping._open), len(tapping._early)} == {3}

    run(test)


def test_nothing_is_said_to_be_taken_that_the_disk_refused(tmp_path):
    """The sender hears that the journal cannot be written."""

    async def test() -> None:
        rig = Rig(tmp_path)
        rig.gateway.recorder.error = RedpollError("RP-300", "The disk is full; free some space.")
        with pytest.raises(RedpollError, match="full"):
            Tap(rig.gateway).hear(event("request", "k-1", infer(1.0)), done([]))
        rig.gateway.recorder.error = None
        rig.gateway.draining = True
        with pytest.raises(RedpollError, match="shutting down"):
            Tap(rig.gateway).hear(event("request", "k-1", infer(1.0)), done([]))
        assert rig.requests() == []

    run(test)


def test_clocks_that_go_backwards_make_no_negative_latency(tmp_path):
    """Then the time between the two events counts, as they were heard here."""

    async def test() -> None:
        rig = Rig(tmp_path)
        tapping = Tap(rig.gateway)
        tapping.hear(event("request", "k-1", infer(1.0), 2_000_000), done([]))
        tapping.hear(event("response", "k-1", answer(1.0), 1_000_000), done([]))
        await rig.tick()
        assert 0 <= rig.answers()[0].latency_us < 1_000_000

    run(test)
