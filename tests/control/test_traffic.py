"""The last minute, shared causes, numbers for Prometheus."""

from __future__ import annotations

import json
import os
import re

import pytest

from redpoll.catalog import Plan, Step
from redpoll.control import causes, render
from redpoll.control.deploys import Deploys
from redpoll.control.meters import Meters
from redpoll.control.traffic import Traffic, bin_of, middle_ms
from redpoll.facts import Answer, Deploy
from redpoll.host import counters
from tests.control.rig import START_US, Rig

SLOW = Plan(steps=(Step(weight=0.2),), min_requests=10_000)


def answer(traffic: Traffic, at_s: float, status: str = "ok", latency_us: int = 10_000) -> None:
    fact = Answer("p", "v1", status=status, latency_us=latency_us)
    traffic.of("churn").answer(START_US + int(at_s * 1e6), fact)


def test_the_last_minute_forgets_what_is_older():
    """Rates, errors and quantiles are of the last 60 seconds only."""
    traffic = Traffic()
    for second in range(120):
        answer(traffic, second, "error" if second < 60 else "ok", 50_000 if second < 60 else 10_000)
    (view,) = traffic.view("churn", ["v1"], START_US + 119_500_000)
    assert view.requests == 61 and view.bad <= 1
    assert view.requests_per_second == pytest.approx(1.0, abs=0.05)
    assert view.p95_ms == pytest.approx(10.0, rel=0.05)


def test_a_rate_is_over_what_is_known():
    """Ten requests in the first two seconds are five a second, not a sixth of one."""
    traffic = Traffic()
    for i in range(10):
        answer(traffic, i / 5)
    (view,) = traffic.view("churn", ["v1"], START_US + 2_000_000)
    assert view.requests_per_second == 5.0


def test_a_latency_lies_in_its_bin():
    """Within 5 %, from microseconds to minutes."""
    for latency_us in (1, 17, 999, 12_345, 3_000_000, 600_000_000):
        assert middle_ms(bin_of(latency_us)) * 1000 == pytest.approx(latency_us, rel=0.05, abs=0.5)


def test_the_share_of_requests_with_a_unit():
    """Of the last ten minutes; None where there was nothing."""
    traffic = Traffic()
    assert traffic.of("churn").unit_share(START_US) == (None, 0)
    for i in range(10):
        traffic.of("churn").request(START_US, i < 7)
    assert traffic.of("churn").unit_share(START_US) == (0.7, 10)


def test_what_is_kept_is_what_is_taken_back():
    """Minutes, hours and latencies survive a checkpoint."""
    one, two = Traffic(), Traffic()
    for i in range(300):
        answer(one, i, "timeout" if i % 50 == 0 else "ok", 1000 + i)
    two.load(json.loads(json.dumps(one.state())))
    assert json.dumps(two.state()) == json.dumps(one.state())
    assert one.hour("churn", "v1", START_US + 300_000_000) == (300, 6)
    assert two.hour("churn", "v1", START_US + 300_000_000) == (300, 6)


def test_a_rise_of_both_arms_is_said(tmp_path):
    """The stable failed ten times as often since the start as before: look at what they share."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.rates |= {"v1": 0.15, "v2": 0.15}
    rig.start()
    rig.run(8)
    told = causes.sentences(rig.rollout, rig.watch, rig.engine.deploys)
    assert told[0].startswith("Both arms: v1 failed")
    assert "No worker" in told[1] and "v2 got" in told[2]


def test_two_arms_that_fail_are_no_good_news(tmp_path):
    """However few requests there are; and *Now* wants a person for a model that mostly fails."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    assert render.overview(rig.engine).models[0].needs == ""
    rig.start()
    rig.rates |= {"v1": 1.0, "v2": 1.0}
    rig.run(2)
    told = causes.sentences(rig.rollout, rig.watch, rig.engine.deploys)
    assert re.match(r"Both arms: v1 failed (\d+) of \1 and v2 failed (\d+) of \2\.", told[0])
    assert "no harm" not in rig.view.sentence
    assert re.search(r"no gate failed yet \(both fail: v2 (\d+) of \1, v1 ", rig.view.sentence)
    rig.run(30)
    needs = render.overview(rig.engine).models[0].needs
    assert "requests to churn failed in the last minute" in needs and "error" in needs


def test_a_live_version_that_crashes_again_and_again_needs_a_person(tmp_path):
    """Also while its worker loads once more, which it does nearly all the time."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    crashing = {"model": "churn", "version": "v1", "state": "starting", "last_exit": "no pickle"}
    for restarts, needs in (
        (0, ""),
        (1, "v1, which is live for churn, does not answer: its worker"),
    ):
        told = {"churn/v1/0/d0": crashing | {"restarts": restarts}}
        rig.data.workers.write_text(json.dumps(told))
        rig.engine.health.refresh()
        found = render.overview(rig.engine).models[0].needs
        assert found.startswith(needs) and bool(found) == bool(needs)


def test_crashes_after_its_end_are_not_an_ended_rollouts(tmp_path):
    """What a page says of it stays what it was."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.start()
    rig.run(3)
    rig.engine.deploys.add("churn", rig.clock.now_us(), Deploy("v2", "crash"))
    rig.run(1)
    rig.tell("abort")
    before = causes.sentences(rig.rollout, rig.watch, rig.engine.deploys)
    assert before[1] == "Crashes of workers from its start to its end: of v2 one, of v1 none."
    rig.run(1)
    rig.engine.deploys.add("churn", rig.clock.now_us(), Deploy("v1", "crash"))
    assert causes.sentences(rig.rollout, rig.watch, rig.engine.deploys)[1] == before[1]


def test_a_rise_of_one_arm_is_not_a_shared_cause(tmp_path):
    """The stable is as it was."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.rates["v2"] = 0.02
    rig.start()
    rig.run(8)
    told = causes.sentences(rig.rollout, rig.watch, rig.engine.deploys)
    assert told[0].startswith("Not both arms")


def test_a_version_that_comes_up_with_another_fingerprint_has_changed():
    """Whether the supervisor says so or not; the same one again is no change."""
    deploys = Deploys()
    for at, print_ in ((1, "aa"), (2, "aa"), (3, "bb")):
        deploys.add("churn", at, Deploy("v2", "ready", fingerprint=print_))
        changed = deploys.changed("churn", ("v2", "v1"), 1)
        assert changed == ("v2" if at == 3 else None)
    assert deploys.changed("churn", ("v1",), 1) is None
    assert deploys.changed("churn", ("v2",), 4) is None
    again = Deploys()
    again.load(json.loads(json.dumps(deploys.state())))
    assert again.changed("churn", ("v2",), 1) == "v2"
    assert again.fingerprint("churn", "v2") == "bb"


def test_a_changed_fingerprint_pauses_a_running_rollout(tmp_path):
    """By a Deploy fact in the supervisor's stream; what changed before the start does not count."""
    rig = Rig(tmp_path, plan=SLOW)
    supervisor = rig.journal.open("supervise")
    supervisor.append("churn", Deploy("v2", "changed", fingerprint="old"))
    supervisor.flush()
    rig.live()
    rig.start()
    rig.run(2)
    assert rig.rollout.state == "running"
    supervisor.append("churn", Deploy("v2", "changed", fingerprint="new"))
    supervisor.flush()
    rig.run(0.2)
    assert (rig.rollout.state, rig.rollout.weight, rig.rollout.cause) == ("paused", 0.0, "changed")
    rig.reboot()
    rig.run(1)
    rig.tell("resume")
    rig.run(2)
    assert rig.rollout.state == "running" and 0 < rig.watch.reading.requests <= 110


def test_a_candidate_that_crashes_on_and_on_pauses(tmp_path):
    """Crashes are counted from Deploy facts, so that a restart of control forgets none."""
    rig = Rig(tmp_path, plan=SLOW)
    rig.live()
    rig.start()
    rig.run(1)
    supervisor = rig.journal.open("supervise")
    for _ in range(19):
        supervisor.append("churn", Deploy("v2", "crash"))
    supervisor.flush()
    rig.run(0.2)
    rig.reboot()
    assert rig.rollout.state == "running"
    supervisor.append("churn", Deploy("v2", "crash"))
    supervisor.flush()
    rig.run(0.2)
    assert rig.rollout.state == "paused" and "20 times" in rig.rollout.sentence


def test_numbers_for_prometheus(tmp_path):
    """State, weights, gates and rollouts that ended, under their public names."""
    rig = Rig(tmp_path, plan=SLOW)
    meters = Meters(rig.engine)
    rig.live()
    rig.start()
    rig.run(2)
    meters.save()
    text = counters.render(rig.data.metrics).decode()
    assert 'redpoll_rollout_state{model="churn",state="running"} 1' in text
    assert 'redpoll_route_weight_ratio{model="churn",version="v2"} 0.2' in text
    assert 'redpoll_gate_answer{model="churn",gate="latency",answer="undecided"} 1' in text
    assert 'redpoll_gate_evidence_ratio{model="churn",gate="error_rate"}' in text
    rig.tell("abort")
    meters.save()
    text = counters.render(rig.data.metrics).decode()
    assert 'redpoll_rollouts_total{model="churn",strategy="canary",result="aborted"} 1' in text
    assert "redpoll_gate_answer" not in text, "no gate runs any more"


def test_other_processes_say_how_far_they_are(tmp_path):
    """Route generations of live gateways and lost facts of all; a broken file is passed over."""
    rig = Rig(tmp_path)
    rig.live()
    table = rig.engine.publisher.current.generation
    said = {
        "process": "gateway",
        "pid": os.getpid(),
        "series": [
            ["redpoll_route_generation", ["gateway"], table, None],
            ["redpoll_journal_lost_total", ["request", "disk"], 3, None],
        ],
    }
    (rig.data.metrics / "gateway.json").write_text(json.dumps(said))
    (rig.data.metrics / "broken.json").write_text("{")
    (rig.data.metrics / "odd.json").write_text('{"series": [[1]], "process": "x", "pid": 1}')
    rig.engine.signals.refresh()
    rig.start()
    assert rig.engine.signals.facts_lost == 3
    assert rig.view.gateways == {"gateway": rig.state.generation - 1}, "one table behind"
