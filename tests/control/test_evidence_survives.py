"""The controller can die at any moment; what it knows and decides is what the journal says."""

from __future__ import annotations

import random
import shutil

import pytest
from msgspec.structs import replace

from redpoll.catalog import Plan, Step
from redpoll.control import engine
from redpoll.control.audit import refold
from redpoll.errors import RedpollError
from redpoll.facts import Answer
from redpoll.rollout import assign, machine_fold
from redpoll.rollout.machine_fold import decide
from redpoll.rollout.machine_state import ModelState
from tests.control.rig import QUICK, Rig

SLOW = Plan(
    steps=(Step(weight=0.2, pause_s=2.0), Step(weight=0.5, pause_s=2.0)), min_requests=10_000
)


def told(rig: Rig) -> list[tuple]:
    """What was decided, without ids and times of writing."""
    return [(d.subject_id, d.action, d.to_state, d.sentence) for d in rig.engine.decisions]


def nameless(rig: Rig) -> ModelState:
    """The state without its streams' names, which are random."""
    return replace(rig.state, rollout=replace(rig.rollout, cursors={}))


@pytest.mark.parametrize("unit", ["request", "user"])
@pytest.mark.parametrize("views", ["kept", "lost", "broken"])
def test_killed_and_started_again_the_evidence_is_the_same_to_the_bit(tmp_path, unit, views):
    """With its checkpoint, without any, or with one that cannot be read."""
    calm = Rig(tmp_path / "calm", plan=SLOW, unit=unit)
    wild = Rig(tmp_path / "wild", plan=SLOW, unit=unit)
    for rig in (calm, wild):
        rig.rates["v2"] = 0.03
        rig.live()
        rig.start()
    for second in range(12):
        calm.run(1)
        wild.run(1)
        if second in (2, 3, 9):
            if views == "lost":
                shutil.rmtree(wild.data.views)
                wild.data.views.mkdir()
            elif views == "broken":
                (wild.data.views / "control.msgpack").write_bytes(b"\x00half a checkpoint")
            wild.reboot()
    assert nameless(wild) == nameless(calm)
    assert wild.watch.evidence.state() == calm.watch.evidence.state()
    assert wild.watch.reading == calm.watch.reading
    assert wild.watch.reading.requests > 500


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments_the_rollout_ends_as_if_undisturbed(tmp_path, seed):
    """The end, and everything that evidence decided, is what a later fold of the journal gives."""
    rig = Rig(tmp_path, seed=seed, plan=replace(QUICK, min_requests=150))
    rig.rates["v2"] = 0.01 if seed % 2 else 0.12
    rig.live()
    rig.start()
    dice = random.Random(seed)
    for _ in range(200):
        if not rig.rollout.active:
            break
        rig.run(0.3)
        if dice.random() < 0.3:
            if dice.random() < 0.5:
                shutil.rmtree(rig.data.views)
                rig.data.views.mkdir()
            rig.reboot()
    assert rig.rollout.state == ("promoted" if seed % 2 else "rolled_back")
    again = refold(rig.journal, "churn-1")
    assert again.agrees, again.checked
    assert (again.state, again.sentence) == (rig.rollout.state, rig.rollout.sentence)


def test_a_controller_that_was_away_decides_bucket_by_bucket_what_it_missed(tmp_path, monkeypatch):
    """At the same bucket as one that saw the facts come; only its Decision's time is later."""
    there, away = Rig(tmp_path / "there", plan=SLOW), Rig(tmp_path / "away", plan=SLOW)
    for rig in (there, away):
        rig.rates["v2"] = 0.2
        rig.live()
        rig.start()
        rig.run(1)
    away.die()
    there.run(12)
    away.engine.tick = lambda: False
    away.run(12)
    away.engine = away.boot()
    monkeypatch.setattr(engine, "BUCKETS_A_STEP", 5)
    assert away.engine.tick(), "so much waits that pages get their turn in between"
    while away.engine.tick():
        pass
    assert there.rollout.state == away.rollout.state == "rolled_back"
    for key in ("last_closed_us", "candidate_requests", "gates"):
        assert there.rollout.last[key] == away.rollout.last[key]


def test_a_decision_takes_effect_only_when_it_is_on_disk(tmp_path):
    """The disk refuses: neither state nor routes move, and nothing is decided twice afterwards."""
    rig = Rig(tmp_path)
    rig.live()
    rig.start()
    rig.run(1)
    before, route = rig.state, rig.route()

    def refuse() -> None:
        raise RedpollError("RP-300", "the disk is full")

    sync, rig.engine.writer.sync = rig.engine.writer.sync, refuse
    with pytest.raises(RedpollError, match="full"):
        rig.tell("abort")
    for _ in range(3):
        with pytest.raises(RedpollError, match="full"):
            rig.engine.tick()
    assert rig.state == before and rig.route() == route
    rig.engine.writer.sync = sync
    rig.engine.tick()
    assert rig.rollout.state == "aborted" and rig.route().candidate is None
    rig.reboot()
    assert [d.action for d in rig.engine.decisions].count("abort") == 1


def test_nothing_closes_while_a_live_gateway_is_silent(tmp_path):
    """A second gateway that has frames still to write may have requests of that moment."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.start()
    other = rig.open_gateway()
    rig.run(2)
    held = rig.watch.reading.last_closed_us
    assert rig.watch.reading.requests < 20, "only up to the other gateway's last frame"
    other.beat()
    other.flush()
    rig.run(0.2)
    assert rig.watch.reading.last_closed_us > held
    rig.run(2)
    stuck = rig.watch.reading.last_closed_us
    other.abandon()
    rig.run(0.2)
    assert rig.watch.reading.last_closed_us > stuck, "a dead stream that was read holds nobody"


def test_a_request_without_answer_holds_its_bucket_until_the_sealer_calls_it_lost(tmp_path):
    """The gateway died: what it had open waits, and then counts as bad for its arm."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.start()
    rig.run(1)
    lost, version = rig.request(answer=False)
    asked_us = rig.clock.now_us()
    rig.gateway.abandon()
    rig.gateway = rig.open_gateway()
    rig.run(2)
    assert rig.watch.reading.last_closed_us <= asked_us
    sealer = rig.journal.open("sealer")
    sealer.append("churn", Answer(lost, version, status="lost", latency_us=0))
    sealer.flush()
    rig.run(0.3)
    reading = rig.watch.reading
    assert reading.last_closed_us > asked_us + 1_000_000
    arm = reading.candidate if version == "v2" else reading.stable
    assert arm.by_status["lost"] == 1


def test_a_refold_sees_a_decision_that_the_facts_do_not_give(tmp_path):
    """Somebody wrote a promotion that no evidence had asked for."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.start()
    rig.run(3)
    forged = decide(
        rig.state.active,
        "promote",
        "promoted",
        rig.engine.now_us(),
        "v2 promoted.",
        reading=rig.watch.reading,
    )
    rig.engine.perform([forged])
    again = refold(rig.journal, "churn-1")
    assert not again.agrees
    assert [one.action for one in again.checked if not one.agrees] == ["promote"]
    assert "no decision" in again.checked[-1].why


def test_an_answer_counts_only_once_no_stream_can_hold_an_older_one(tmp_path):
    """A failure that another gateway noted first, and wrote late, counts; live as when refolded."""
    rig = Rig(tmp_path)
    rig.rates |= {"v1": 0.0, "v2": 0.0}
    rig.live()
    rig.start()
    rig.run(0.5)
    other = rig.open_gateway()
    prediction, version = rig.request(answer=False)
    rig.clock.advance(200_000)
    other.beat()
    other.flush()
    rig.clock.advance(10_000)
    other.append("churn", Answer(prediction, version, status="error", latency_us=9_000))
    rig.clock.advance(10_000)
    rig.answer(prediction, version)
    rig.gateway.flush()
    rig.engine.tick()
    other.flush()
    rig.clock.advance(200_000)
    for gateway in (other, rig.gateway):
        gateway.beat()
        gateway.flush()
    rig.engine.tick()
    reading = rig.watch.reading
    assert (reading.stable.bad, reading.candidate.bad) in ((1, 0), (0, 1))
    other.abandon()
    assert rig.finish() == "promoted"
    again = refold(rig.journal, "churn-1")
    assert again.agrees, again.checked


def test_decisions_with_the_limits_of_single_tests_are_still_found_to_agree(tmp_path, monkeypatch):
    """As older Decisions of rollouts by unit hold them: 403 of 400 is what 40.3 of 40 is."""
    rig = Rig(tmp_path, unit="user")
    whole = machine_fold.summary

    def older(reading, evidence=10.0):
        found = whole(reading)
        for gate in found.get("gates", ()):
            gate["evidence"] *= evidence
            gate["limit"] *= 10.0
        return found

    monkeypatch.setattr(machine_fold, "summary", older)
    rig.live()
    rig.start()
    assert rig.finish() == "promoted"
    monkeypatch.undo()
    again = refold(rig.journal, "churn-1")
    assert again.agrees, again.checked
    monkeypatch.setattr(machine_fold, "summary", lambda reading: older(reading, 11.0))
    assert not refold(rig.journal, "churn-1").agrees


def test_a_rollout_that_no_journal_knows_is_named(tmp_path):
    """RP-400, whatever the id looks like."""
    rig = Rig(tmp_path)
    for name in ("churn-9", "", "-", "nothing"):
        with pytest.raises(RedpollError) as unknown:
            refold(rig.journal, name)
        assert unknown.value.code == "RP-400"


def test_a_second_rollout_of_the_same_version_begins_with_nothing(tmp_path):
    """Retried after an abort: new id, new salt, no evidence carried over."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.start()
    rig.run(2)
    first = rig.rollout
    rig.tell("abort")
    rig.start()
    rig.run(1)
    assert rig.rollout.id == "churn-2" and rig.rollout.salt != first.salt
    assert 0 < rig.watch.reading.requests < 60
    assert told(rig)[-1][:2] == ("churn-2", "ready")


def test_a_split_that_is_not_as_drawn_pauses_the_rollout(tmp_path):
    """Half of the candidate's requests never get to the gateway: no gate is believed."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.start()
    rig.run(1)
    whole, rig.request = rig.request, lambda unit=None: skipping(rig, whole)
    rig.run(40)
    assert (rig.rollout.state, rig.rollout.cause) == ("paused", "split")
    assert "not what was drawn" in rig.rollout.sentence
    assert refold(rig.journal, "churn-1").agrees
    rig.request = whole
    rig.tell("resume")
    rig.run(10)
    assert rig.rollout.state == "running" and rig.rollout.evidence_set == 1
    assert rig.watch.reading.requests < 600, "what was counted before is set aside"
    assert refold(rig.journal, "churn-1").agrees


def skipping(rig: Rig, whole) -> None:
    """A request, unless it would be every other one of the candidate's."""
    route = rig.route()
    prediction = rig.ids.prediction_id(7, rig.clock.now_us())
    rig.ids._tails.append(prediction[19:].encode())  # put back: the next id is this one
    if (
        assign.arm(route.salt, prediction, route.weight) == "candidate"
        and rig.random.random() < 0.5
    ):
        rig.ids.prediction_id(7, rig.clock.now_us())
        return
    whole()


@pytest.mark.parametrize("unit", ["request", "user"])
def test_a_step_down_begins_a_new_epoch_and_keeps_the_evidence(tmp_path, unit):
    """50 %, then 10 %: new salt, units bet anew, wealth stays, and a refold gives the same."""
    down = Plan(steps=(Step(weight=0.5), Step(weight=0.1), Step(weight=0.5)), min_requests=60)
    rig = Rig(tmp_path, plan=down, unit=unit)
    rig.live()
    rig.start()
    rig.run(1)
    first = rig.rollout
    while rig.rollout.step == 0:
        rig.run(1)
    second = rig.rollout
    assert (second.epoch, second.weight) == (1, 0.1) and second.salt != first.salt
    before = rig.watch.reading.requests
    rig.run(2)
    rig.reboot()
    rig.run(1)
    assert rig.watch.reading.epoch == 1 and rig.watch.reading.requests > before
    assert rig.finish() == "promoted"
    assert refold(rig.journal, "churn-1").agrees
