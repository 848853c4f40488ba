"""Rollouts while the journal loses facts."""

from __future__ import annotations

from pathlib import Path

from redpoll.control.audit import refold
from redpoll.facts import LOST, NO_MODEL, Sample
from tests.control.rig import Rig


def told(rig: Rig, count: float) -> None:
    labels = {"fact": "request", "reason": "disk"}
    rig.gateway.append(NO_MODEL, Sample(LOST, labels, count))
    rig.gateway.flush()


def test_a_rollout_pauses_while_facts_are_lost_and_goes_on_by_itself(tmp_path: Path) -> None:
    """With their number, at its weight; 10 s after the last loss; a new controller does not pause it again."""
    rig = Rig(tmp_path)
    rig.live()
    rig.start()
    rig.run(1)
    rig.gateway.append(NO_MODEL, Sample("queue_depth", {}, 5.0))
    rig.run(0.2)
    assert rig.rollout.state == "running"
    told(rig, 1300.0)
    told(rig, 7.0)
    rig.run(0.2)
    assert (rig.rollout.state, rig.rollout.cause, rig.rollout.weight) == ("paused", "lost", 0.2)
    assert "1,307 facts could not be written" in rig.rollout.sentence
    rig.run(8)
    told(rig, 1.0)
    rig.run(9)
    assert rig.rollout.state == "paused", "less than 10 s since the newest loss"
    rig.run(1.2)
    assert (rig.rollout.state, rig.rollout.cause) == ("running", None)
    said = [one.sentence for one in rig.engine.decisions if one.action == "resume"]
    assert said == ["v2 goes on at 20%: the journal takes all facts again."]
    rig.reboot()
    rig.run(0.3)
    assert rig.rollout.state == "running", "what was lost before does not pause it again"
    assert rig.finish() == "promoted"
    assert refold(rig.journal, rig.rollout.id).agrees


def test_gates_stay_on_watch_and_a_persons_pause_is_left_to_the_person(tmp_path: Path) -> None:
    """A candidate that fails is rolled back out of such a pause."""
    rig = Rig(tmp_path)
    rig.live()
    rig.start()
    rig.run(1)
    rig.tell("pause")
    told(rig, 5.0)
    rig.run(12)
    assert (rig.rollout.state, rig.rollout.cause) == ("paused", "person")
    rig.tell("resume")
    rig.run(0.2)
    told(rig, 5.0)
    rig.rates["v2"] = 0.9
    rig.run(0.3)
    assert rig.rollout.cause == "lost"
    rig.run(6)
    assert rig.rollout.state == "rolled_back"
    assert refold(rig.journal, rig.rollout.id).agrees
