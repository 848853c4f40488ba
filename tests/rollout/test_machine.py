"""The machine's rules, one by one."""

from __future__ import annotations

import json
import math

import pytest
from msgspec.structs import replace

from redpoll.catalog import Gate, Plan, Step
from redpoll.errors import RedpollError
from redpoll.rollout import commands, machine
from redpoll.rollout.commands import Start
from redpoll.rollout.machine_state import Health
from tests.rollout.machines import (
    PLAN,
    READY,
    SECOND,
    T0,
    VERSIONS,
    asked,
    live,
    reading,
    running,
    started,
    step,
    take,
    tell,
)


def test_a_candidate_takes_nothing_before_it_is_ready():
    """Pending: no weight, and no Decision until the candidate is ready."""
    state = started()
    assert state.active.state == "pending" and state.active.weight == 0.0
    assert machine.step(state, None, Health(ready=False, detail="still loading"), T0 + SECOND) == ()
    ready = step(state, None, T0 + 2 * SECOND)
    assert (ready.active.state, ready.active.weight, ready.active.step) == ("running", 0.1, 0)


def test_a_candidate_that_never_gets_ready_ends_rolled_back_with_the_reason():
    """After `load` and some grace, with what its worker said; the stable served all along."""
    state = started()
    health = Health(ready=False, load_s=60.0, detail="ImportError: no module named lightgbm")
    assert machine.step(state, None, health, T0 + 60 * SECOND) == ()
    late = step(state, None, T0 + 66 * SECOND, health)
    assert late.rollout.state == "rolled_back" and late.live == "v1"
    assert "lightgbm" in late.rollout.sentence and "60 s" in late.rollout.sentence


def test_a_wait_that_nobody_watched_does_not_count_against_the_candidate():
    """The controller was away for an hour: the load time counts from its return."""
    back = T0 + 3600 * SECOND
    health = Health(ready=False, load_s=60.0, since_us=back)
    assert machine.step(started(), None, health, back + 50 * SECOND) == ()
    assert machine.step(started(), None, health, back + 66 * SECOND) != ()


def test_a_step_wants_its_requests_and_its_pause():
    """Either alone does not advance; both do, and the next step's weight is in force at once."""
    state = running()
    few = reading(T0 + 60 * SECOND, {0.1: 99})
    early = reading(T0 + 9 * SECOND, {0.1: 1000})
    assert machine.step(state, few, READY, T0 + 60 * SECOND) == ()
    assert machine.step(state, early, READY, T0 + 9 * SECOND) == ()
    both = step(state, reading(T0 + 10 * SECOND, {0.1: 100}), T0 + 11 * SECOND)
    assert (both.active.weight, both.active.step, both.active.state) == (0.5, 1, "running")
    assert both.active.salt == "first-salt", "weights that grow keep their epoch"


def test_the_pause_passes_by_evidence_and_not_by_the_clock_on_the_wall():
    """Hours pass while no bucket closes: nothing advances."""
    stuck = reading(T0 + 1 * SECOND, {0.1: 5000})
    assert machine.step(running(), stuck, READY, T0 + 7200 * SECOND) == ()


def test_requests_of_an_earlier_step_do_not_count_for_the_next():
    """Two steps of one weight: the second wants its own requests."""
    plan = replace(PLAN, steps=(Step(weight=0.1), Step(weight=0.1)))
    second = step(running(plan), reading(T0 + SECOND, {0.1: 150}), T0 + SECOND)
    assert second.active.step == 1
    assert machine.step(second, reading(T0 + 9 * SECOND, {0.1: 249}), READY, T0 + 9 * SECOND) == ()
    done = step(second, reading(T0 + 9 * SECOND, {0.1: 250}), T0 + 9 * SECOND)
    assert done.rollout.state == "promoted"


def test_the_last_step_promotes_and_keeps_the_former_version_warm():
    """The candidate is live, the stable's workers stay for keep_warm."""
    second = step(running(), reading(T0 + 10 * SECOND, {0.1: 100}), T0 + 10 * SECOND)
    done = step(second, reading(T0 + 20 * SECOND, {0.1: 100, 0.5: 100}), T0 + 20 * SECOND)
    assert (done.rollout.state, done.live, done.active) == ("promoted", "v2", None)
    assert done.warm["v1"] == T0 + 20 * SECOND + int(PLAN.keep_warm_s * 1e6)
    assert done.was_live == {"v1": T0 + 20 * SECOND}


def test_a_gate_that_fails_rolls_back_at_once():
    """Before any pause or min_requests; the sentence has the gate's own words."""
    state = step(running(), reading(T0 + SECOND, {0.1: 7}, fails=("error_rate",)), T0 + SECOND)
    assert (state.rollout.state, state.live) == ("rolled_back", "v1")
    assert "error_rate is worse." in state.rollout.sentence
    assert state.rollout.last["gates"][0]["evidence"] == pytest.approx(913, rel=1e-4)


def test_on_fail_pause_keeps_the_weight_and_says_it_once():
    """The rollout waits; the same failing gate brings no second Decision."""
    seen = reading(T0 + SECOND, {0.1: 7}, fails=("error_rate",))
    state = step(running(replace(PLAN, on_fail="pause")), seen, T0 + SECOND)
    assert (state.active.state, state.active.weight, state.active.cause) == ("paused", 0.1, "gate")
    assert machine.step(state, seen, READY, T0 + 2 * SECOND) == ()


def test_resume_accepts_the_failed_gate_and_another_one_still_acts():
    """A person who resumes has accepted that gate, and that one only."""
    plan = replace(PLAN, on_fail="pause")
    state = step(running(plan), reading(T0 + SECOND, {0.1: 7}, fails=("error_rate",)), T0 + SECOND)
    state = tell(state, "resume", T0 + 2 * SECOND)
    assert state.active.waived == ("error_rate",)
    still = reading(T0 + 3 * SECOND, {0.1: 9}, fails=("error_rate",))
    assert machine.step(state, still, READY, T0 + 3 * SECOND) == ()
    both = reading(T0 + 4 * SECOND, {0.1: 9}, fails=("error_rate", "latency"))
    assert step(state, both, T0 + 4 * SECOND).active.state == "paused"


def test_no_evidence_no_decision():
    """No reading, or a reading without requests: neither back nor on, however long."""
    for seen in (None, reading(T0 + 7200 * SECOND, {})):
        assert machine.step(running(), seen, READY, T0 + 7200 * SECOND) == ()


def test_a_manual_pause_asks_for_a_person_when_the_step_is_done():
    """It runs until its evidence is there, then waits; promote goes to the next step."""
    plan = replace(PLAN, steps=(Step(weight=0.1, pause_s=None), Step(weight=0.5)))
    state = running(plan)
    assert machine.step(state, reading(T0 + SECOND, {0.1: 99}), READY, T0 + SECOND) == ()
    state = step(state, reading(T0 + 2 * SECOND, {0.1: 100}), T0 + 2 * SECOND)
    assert (state.active.state, state.active.cause) == ("paused", "step")
    more = reading(T0 + 999 * SECOND, {0.1: 9000})
    assert machine.step(state, more, READY, T0 + 999 * SECOND) == ()
    for name in ("promote", "resume"):
        on = tell(state, name, T0 + 5 * SECOND)
        assert (on.active.state, on.active.weight) == ("running", 0.5)


def test_advance_on_pass_waits_for_proof():
    """Not failed is not enough; every gate must pass."""
    state = running(replace(PLAN, advance_on="pass"))
    unsure = reading(T0 + 20 * SECOND, {0.1: 900}, passes=("error_rate",))
    assert machine.step(state, unsure, READY, T0 + 20 * SECOND) == ()
    sure = reading(T0 + 20 * SECOND, {0.1: 900}, passes=("error_rate", "latency"))
    assert step(state, sure, T0 + 20 * SECOND).active.step == 1


def test_a_split_that_is_off_pauses_and_gates_do_not_act():
    """Evidence of 1,000 against the split: nothing that compares the arms is believed."""
    off = reading(T0 + SECOND, {0.1: 70}, fails=("error_rate",), split=math.log(1000))
    state = step(running(), off, T0 + SECOND)
    assert (state.active.state, state.active.cause) == ("paused", "split")
    assert "share" in state.active.sentence
    assert machine.step(state, off, READY, T0 + 2 * SECOND) == ()
    with pytest.raises(RedpollError, match="split"):
        tell(state, "promote")
    again = tell(state, "resume", T0 + 3 * SECOND)
    assert again.active.evidence_set == 1 and again.active.salt == "salt-by-hand"
    assert again.active.evidence_generation == again.generation


def test_a_changed_fingerprint_pauses_at_zero_and_sets_the_evidence_aside():
    """Even a gate that fails does not act on evidence about another program; resume starts anew."""
    second = step(running(), reading(T0 + 10 * SECOND, {0.1: 100}), T0 + 10 * SECOND)
    worse = reading(T0 + 11 * SECOND, {0.1: 100, 0.5: 9}, fails=("error_rate",))
    changed = Health(ready=True, changed="v2")
    state = step(second, worse, T0 + 11 * SECOND, changed)
    assert (state.active.state, state.active.weight, state.active.cause) == (
        "paused",
        0.0,
        "changed",
    )
    assert machine.step(state, worse, changed, T0 + 12 * SECOND) == ()
    with pytest.raises(RedpollError, match="nothing to promote"):
        tell(state, "promote")
    again = tell(state, "resume", T0 + 13 * SECOND)
    assert (again.active.step, again.active.weight) == (0, 0.1)
    assert (again.active.salt, again.active.epoch) == ("salt-by-hand", 1)
    assert again.active.evidence_since_us == T0 + 13 * SECOND


def test_a_candidate_that_crashes_without_end_pauses():
    """Its restart budget, and with the count in the sentence."""
    state = step(running(), None, T0 + SECOND, Health(ready=False, crashes=machine.RESTART_BUDGET))
    assert (state.active.state, state.active.cause) == ("paused", "restarts")
    assert str(machine.RESTART_BUDGET) in state.active.sentence


def test_a_smaller_weight_begins_a_new_epoch_and_the_former_one_does_not():
    """After 0, the former weight or more goes on; a smaller positive one draws anew."""
    rollout = running().active
    suspended = replace(rollout, weight=0.0)
    assert "salt" not in machine.next_weight(suspended, 0.1, "new")
    assert "salt" not in machine.next_weight(suspended, 0.3, "new")
    smaller = machine.next_weight(suspended, 0.05, "new")
    assert (smaller["salt"], smaller["epoch"], smaller["top_weight"]) == ("new", 1, 0.05)


def test_max_weight_caps_every_step():
    """A step above it runs at max_weight."""
    plan = replace(PLAN, max_weight=0.3)
    second = step(running(plan), reading(T0 + 10 * SECOND, {0.1: 100}), T0 + 10 * SECOND)
    assert second.active.weight == 0.3


def test_a_promotion_out_of_a_pause_says_that_it_ends_the_pause():
    """Who paused and why is in the sentence, so nobody's pause ends unseen."""
    held = tell(running(), "pause", T0 + SECOND, reason="the database is being moved")
    on = tell(held, "promote", T0 + 2 * SECOND, reason="moved")
    assert (on.active.state, on.active.weight) == ("running", 0.5)
    assert on.active.sentence == (
        "v2 is resumed and goes to 50% (step 2 of 2) by anna: moved. It was held: v2 paused at 10%"
        " by anna: the database is being moved."
    )
    whole = tell(held, "promote", T0 + 2 * SECOND, reason="moved", full=True)
    assert whole.rollout.sentence.endswith(
        "It was held: v2 paused at 10% by anna: the database is being moved."
    )
    plain = tell(running(), "promote", T0 + SECOND, reason="seen enough")
    assert plain.active.sentence == "v2 goes to 50% (step 2 of 2) by anna: seen enough."


def test_a_promotion_past_a_failed_gate_names_the_gate():
    """It accepts the failure, as resume does, and says so."""
    seen = reading(T0 + SECOND, {0.1: 7}, fails=("latency",))
    failed = step(running(replace(PLAN, on_fail="pause")), seen, T0 + SECOND)
    on = tell(failed, "promote", T0 + 2 * SECOND, reason="we know")
    assert on.active.waived == ("latency",)
    assert "The failed gate (latency) does not act any more" in on.active.sentence
    assert "It was held: v2 paused at 10%: latency is worse." in on.active.sentence


def test_a_rollback_to_a_version_that_is_none_says_which_there_are():
    """Whether a rollout runs or not: the name is the mistake, not the rollout."""
    promoted = take(running(), commands.command(running(), "promote", asked(T0, full=True)))
    for state in (running(), promoted, live()):
        with pytest.raises(RedpollError, match="no version 'v22'; it has v1, v2, v3") as caught:
            commands.rollback(state, "v22", VERSIONS, 3600.0, asked(T0 + 5))
        assert caught.value.code == "RP-103" and "Did you mean 'v2'?" in caught.value.message


def test_promote_full_skips_what_is_left_of_the_plan():
    """A person may; who and why stand in the Decision."""
    actions = commands.command(running(), "promote", asked(T0 + 5, "launch day", full=True))
    state = take(running(), actions)
    assert (state.rollout.state, state.live) == ("promoted", "v2")
    assert actions[0].decision.actor == "anna" and actions[0].decision.reason == "launch day"


def test_abort_gives_everything_back_to_the_stable():
    """In every active state."""
    for state in (started(), running(), tell(running(), "pause")):
        done = tell(state, "abort", T0 + 9)
        assert (done.rollout.state, done.live, done.active) == ("aborted", "v1", None)
        assert done.warm["v2"] > T0 + 9, "its workers finish what they were asked"


def test_pausing_before_the_candidate_is_ready_holds_it():
    """A pending rollout can be paused; resuming gives the candidate its whole load time again."""
    state = tell(started(), "pause", T0 + 30 * SECOND)
    assert machine.step(state, None, READY, T0 + 40 * SECOND) == ()
    state = tell(state, "resume", T0 + 50 * SECOND)
    assert state.active.state == "pending"
    slow = Health(ready=False, load_s=60.0)
    assert machine.step(state, None, slow, T0 + 100 * SECOND) == ()
    assert step(state, None, T0 + 101 * SECOND).active.state == "running"


def test_gates_stay_on_watch_while_a_person_pauses():
    """A pause holds the weight, not the safety."""
    state = tell(running(), "pause", T0 + SECOND)
    failed = reading(T0 + 2 * SECOND, {0.1: 9}, fails=("latency",))
    assert step(state, failed, T0 + 2 * SECOND).rollout.state == "rolled_back"
    fine = reading(T0 + 99 * SECOND, {0.1: 900})
    assert machine.step(state, fine, READY, T0 + 99 * SECOND) == ()


def test_rollback_ends_a_running_rollout():
    """`redpoll rollback` while one runs is a rollback by that person."""
    state = running()
    done = take(
        state, commands.rollback(state, None, VERSIONS, 3600.0, asked(T0 + 5, "customers complain"))
    )
    assert (done.rollout.state, done.live) == ("rolled_back", "v1")
    assert "customers complain" in done.rollout.sentence


def test_rollback_after_promotion_switches_at_once_within_the_window():
    """The former version is live again, the rollout reads rolled_back; later it is refused."""
    state = take(running(), commands.command(running(), "promote", asked(T0, full=True)))
    back = take(
        state, commands.rollback(state, None, VERSIONS, 3600.0, asked(T0 + 60 * SECOND)), T0
    )
    assert (back.live, back.rollout.state) == ("v1", "rolled_back")
    assert back.was_live == {}, "what was rolled back has to earn its place again"
    with pytest.raises(RedpollError) as late:
        commands.rollback(state, None, VERSIONS, 3600.0, asked(T0 + 7200 * SECOND))
    assert late.value.code == "RP-402"


def test_a_newer_candidate_supersedes_the_one_that_runs():
    """Two Decisions; the newer gets the next id, its plan's digest and its cursors."""
    state = running()
    spec = Start(version="v3", plan=PLAN, salt="s3", cursors={"gateway-1": 99})
    actions = commands.start(state, spec, ["v1", "v2", "v3"], asked(T0 + 5))
    assert [action.decision.action for action in actions] == ["supersede", "start"]
    assert actions[1].decision.spec_digest == PLAN.digest()
    after = take(state, actions)
    assert (after.rollout.id, after.ended[-1].id) == ("churn-2", "churn-1")
    assert after.ended[-1].state == "superseded" and after.rollout.cursors == {"gateway-1": 99}


def test_retry_is_a_new_rollout_with_a_note_on_the_old_one():
    """Only of what ended badly; nothing carries over."""
    failed = step(running(), reading(T0 + 1, {0.1: 7}, fails=("latency",)), T0 + 1)
    spec = Start(version="v2", plan=PLAN, salt="fresh")
    actions = commands.retry(failed, spec, ["v1", "v2"], asked(T0 + 2))
    assert [action.decision.action for action in actions] == ["retry", "start"]
    again = take(failed, actions)
    assert (again.active.id, again.active.salt, again.active.state) == (
        "churn-2",
        "fresh",
        "pending",
    )
    assert again.ended[-1].state == "rolled_back"
    with pytest.raises(RedpollError, match="running"):
        commands.retry(running(), spec, ["v1", "v2"], asked())


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [("v9", "RP-103", "v9"), ("v1", "RP-402", "live"), ("v2x", "RP-103", "Did you mean 'v2'?")],
)
def test_what_cannot_start_says_why(version, code, words):
    """Unknown versions get a suggestion, the live one a plain no."""
    with pytest.raises(RedpollError) as refused:
        commands.start(live(), Start(version=version, plan=PLAN, salt=""), ["v1", "v2"], asked())
    assert refused.value.code == code and words in refused.value.message


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, strategy="shadow"),
        replace(PLAN, steps=()),
        replace(PLAN, steps=(Step(weight=1.0),)),
        replace(PLAN, on_fail="ask"),
        replace(PLAN, min_requests=0),
        replace(PLAN, alpha=0.0),
        replace(PLAN, gates=(Gate(metric="outcome:redo", margin=0.01),)),
    ],
)
def test_plans_that_cannot_be_carried_out_are_refused(plan: Plan):
    """Before anything starts, RP-402 with what to write instead."""
    with pytest.raises(RedpollError) as refused:
        commands.start(live(), Start(version="v2", plan=plan, salt=""), ["v2"], asked())
    assert refused.value.code == "RP-402"


@pytest.mark.parametrize("reason", [None, "", "  ", "ok", " ab "])
def test_a_change_wants_a_reason(reason):
    """Fewer than three characters are none."""
    for name in ("pause", "abort", "promote"):
        with pytest.raises(RedpollError) as refused:
            commands.command(running(), name, asked(reason=reason))
        assert refused.value.code == "RP-403"


def test_every_decision_carries_what_folding_needs():
    """The evidence has step, weight, salt, epoch and, where it was asked, the gates."""
    state = running()
    actions = machine.step(state, reading(T0 + 10 * SECOND, {0.1: 100}), READY, T0 + 11 * SECOND)
    evidence = json.loads(actions[0].decision.evidence)
    assert evidence["weight"] == 0.5 and evidence["step"] == 1 and evidence["salt"] == "first-salt"
    assert evidence["last_closed_us"] == T0 + 10 * SECOND
    assert [gate["metric"] for gate in evidence["gates"]] == ["error_rate", "latency"]


def test_what_is_possible_is_what_is_accepted():
    """Every command that is offered can be given, and no other."""
    promoted = take(running(), commands.command(running(), "promote", asked(T0, full=True)))
    failed = step(running(), reading(T0 + 1, {0.1: 7}, fails=("latency",)), T0 + 1)
    for state in (started(), running(), tell(running(), "pause"), promoted, failed):
        offered = set(commands.possible(state, T0 + 5))
        for name in ("pause", "resume", "promote", "abort"):
            try:
                commands.command(state, name, asked(T0 + 5))
                accepted = True
            except RedpollError:
                accepted = False
            assert accepted == (name in offered), (state.rollout.state, name)
    assert "rollback" in commands.possible(promoted, T0 + 5) and "retry" in commands.possible(
        failed, T0 + 5
    )
