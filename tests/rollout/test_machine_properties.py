"""Random histories of a model: commands, evidence, health, restarts, in any order."""

from __future__ import annotations

import json
import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redpoll.catalog import Plan, Step
from redpoll.errors import RedpollError
from redpoll.rollout import commands, machine, sentences
from redpoll.rollout.commands import Asked, Start
from redpoll.rollout.machine_fold import fold, fold_all
from redpoll.rollout.machine_state import ENDED, STATES, Health, ModelState
from redpoll.rollout.sentences import Lately
from tests.rollout.machines import SECOND, T0, reading

VERSIONS = ["v1", "v2", "v3"]
WEIGHTS = st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9])
PLANS = st.builds(
    Plan,
    steps=st.lists(
        st.builds(Step, weight=WEIGHTS, pause_s=st.sampled_from([None, 0.0, 5.0, 600.0])),
        min_size=1,
        max_size=4,
    ).map(tuple),
    min_requests=st.sampled_from([1, 50, 200]),
    max_weight=st.sampled_from([0.05, 0.3, 1.0]),
    on_fail=st.sampled_from(["rollback", "pause"]),
    advance_on=st.sampled_from(["not_fail", "pass"]),
)
METRICS = st.sets(st.sampled_from(["error_rate", "latency"]))


class Histories(RuleBasedStateMachine):
    """One model. Every Decision is kept, so that a restart can be tried at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.told: list = []
        self.state = ModelState(name="churn")
        self.seen = None
        self.counts: dict[float, int] = {}
        self.salts = 0
        self.refused = 0
        self.perform(commands.first_live(self.state, "v1", self.asked()))

    def asked(self, reason: str | None = "because", full: bool = False) -> Asked:
        self.salts += 1
        return Asked(
            actor="anna",
            reason=reason,
            now_us=self.now,
            salt=f"salt-{self.salts}",
            full=full,
            reading=self.seen,
        )

    def perform(self, actions) -> None:
        for action in actions:
            before, self.now = self.state, self.now + 1
            self.told.append((action.decision, self.now))
            self.state = fold(self.state, action.decision, self.now)
            self.check_change(before, action.decision)

    def check_change(self, before: ModelState, decision) -> None:
        after = self.state
        assert after.generation == before.generation + 1
        assert decision.sentence
        if after.live != before.live:
            assert decision.action in ("live", "promote", "rollback")
        if decision.action == "promote" and decision.actor == "redpoll":
            old = before.active
            assert machine.step_requests(old, self.seen) >= old.plan.min_requests
            assert old.step == len(old.plan.steps) - 1
            assert old.plan.steps[old.step].pause_s is not None, "a manual pause asks a person"
            assert not machine.failing(old, self.seen)
        one, two = before.active, after.active
        if one is not None and two is not None and one.id == two.id:
            assert two.epoch >= one.epoch
            assert (two.salt == one.salt) == (two.epoch == one.epoch), "a salt is an epoch"
            if two.epoch == one.epoch and two.weight > 0.0:
                assert two.weight >= one.weight, "weights only grow within an epoch"
        same = one is not None and two is not None and one.id == two.id
        if not same or two.evidence_set > one.evidence_set:
            self.seen, self.counts = None, {}

    @rule(version=st.sampled_from([*VERSIONS, "v9"]), plan=PLANS)
    def start(self, version, plan):
        self.salts += 1
        spec = Start(version=version, plan=plan, salt=f"salt-{self.salts}")
        self.attempt(lambda: commands.start(self.state, spec, VERSIONS, self.asked()))

    @rule(
        name=st.sampled_from(["pause", "resume", "promote", "abort", "nonsense"]),
        reason=st.sampled_from(["because", "no", None]),
        full=st.booleans(),
    )
    def command(self, name, reason, full):
        self.attempt(lambda: commands.command(self.state, name, self.asked(reason, full)))

    @rule(to=st.sampled_from([None, *VERSIONS, "v9"]))
    def rollback(self, to):
        self.attempt(lambda: commands.rollback(self.state, to, VERSIONS, 3600.0, self.asked()))

    @rule(plan=PLANS)
    def retry(self, plan):
        old = self.state.rollout
        version = old.version if old is not None else "v2"
        self.salts += 1
        spec = Start(version=version, plan=plan, salt=f"salt-{self.salts}")
        self.attempt(lambda: commands.retry(self.state, spec, VERSIONS, self.asked()))

    def attempt(self, ask) -> None:
        try:
            actions = ask()
        except RedpollError as error:
            assert error.code in ("RP-402", "RP-403", "RP-103") and error.message
            self.refused += 1
        else:
            assert actions
            self.perform(actions)

    @precondition(lambda self: self.state.active is not None and self.state.active.begun)
    @rule(
        new=st.sampled_from([0, 1, 60, 500]),
        closed_s=st.sampled_from([0, 1, 6, 700]),
        fails=METRICS,
        passes=METRICS,
        split=st.sampled_from([0.0, 0.0, 0.0, math.log(1000.0)]),
    )
    def evidence(self, new, closed_s, fails, passes, split):
        weight = self.state.active.weight
        if weight > 0.0:
            self.counts[weight] = self.counts.get(weight, 0) + new
        self.now += closed_s * SECOND
        self.seen = reading(self.now, dict(self.counts), fails=fails, passes=passes, split=split)
        self.look(Health(ready=True))

    @rule(
        ready=st.booleans(),
        waited_s=st.sampled_from([0, 1, 100]),
        crashes=st.sampled_from([0, 0, 5, 50]),
        changed=st.sampled_from([None, None, "v2"]),
    )
    def health(self, ready, waited_s, crashes, changed):
        self.now += waited_s * SECOND
        self.look(Health(ready=ready, crashes=crashes, changed=changed, detail="still loading"))

    @rule(hours=st.integers(1, 100))
    def silence(self, hours):
        """Nothing new for hours: what begins, begins; nothing else follows from silence."""
        active = self.state.active
        self.now += hours * 3600 * SECOND
        if active is None or not active.begun:
            return
        before = (
            None
            if self.seen is None
            else machine.step(
                self.state, self.seen, Health(ready=True), self.now - 3600 * SECOND, "s"
            )
        )
        assert not machine.step(self.state, None, Health(ready=True), self.now, "s")
        if not before and self.seen is not None:
            assert not machine.step(self.state, self.seen, Health(ready=True), self.now, "s")

    def look(self, health: Health) -> None:
        for _ in range(12):
            self.salts += 1
            actions = machine.step(self.state, self.seen, health, self.now, f"salt-{self.salts}")
            if not actions:
                return
            assert len(actions) == 1
            self.perform(actions)
        raise AssertionError("the machine never comes to rest")

    @invariant()
    def a_restart_changes_nothing(self):
        assert fold_all("churn", self.told) == self.state

    @invariant()
    def the_state_is_one_that_can_be(self):
        state = self.state
        assert state.live in VERSIONS and state.live not in state.was_live
        for one in (*state.ended, *((state.rollout,) if state.rollout else ())):
            assert one.state in STATES and 0.0 <= one.weight <= min(one.plan.max_weight, 0.999)
            assert (one.cause is not None) == (one.state == "paused") or one.state in ENDED
            assert 0 <= one.step < len(one.plan.steps)
            if one.state in ENDED or not one.begun or one.state == "pending":
                assert one.weight == 0.0
        assert all(one.state in ENDED for one in state.ended)
        active = state.active
        if active is not None:
            assert active.stable == state.live != active.version
            assert active.weight > 0.0 or not active.begun or active.cause == "changed"

    @invariant()
    def everything_has_a_sentence(self):
        rollout = self.state.rollout
        if rollout is not None:
            assert sentences.now(rollout, self.seen)
            assert sentences.next_step(rollout, self.seen, Health(), self.now, Lately())
            assert sentences.false_alarm(rollout)

    def teardown(self):
        json.dumps([decision.evidence for decision, _ in self.told])


Histories.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase
