"""Control's own metrics: states, weights, gates. Set once a second from what is there."""

from __future__ import annotations

from redpoll.control.engine import Engine
from redpoll.host.counters import Counters
from redpoll.rollout.machine_state import ENDED, STATES
from redpoll.views import DecisionView

ANSWERS = ("pass", "fail", "undecided")


class Meters:
    """Sets and saves the numbers of the process ``control``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counters = Counters("control", engine.data.metrics)
        self._gauges: set[tuple[str, tuple[str, ...]]] = set()
        engine.on_decision.append(self._decided)
        self._began_us = engine.clock.now_us()

    def _decided(self, decision: DecisionView) -> None:
        """Count it, and a rollout that ended; what is folded from the past was counted before."""
        if decision.time_us < self._began_us:
            return
        self._counters.inc("redpoll_journal_facts_total", ("decision",))
        if decision.subject_kind != "rollout":
            return
        if decision.to_state in ENDED and decision.from_state not in ENDED:
            labels = (decision.model, "canary", str(decision.to_state))
            self._counters.inc("redpoll_rollouts_total", labels)

    def save(self) -> None:
        """Set every gauge and rename the file into place. Blocks for one small write."""
        before, self._gauges = self._gauges, set()
        now_us = self._engine.clock.now_us()
        for _, model in self._engine.models():
            self._model(model.name)
        if self._engine.as_of_us:
            lag_s = max(0, now_us - self._engine.as_of_us) / 1e6
            self._set("redpoll_journal_lag_seconds", ("control",), lag_s)
        for name, labels in before - self._gauges:
            self._counters.forget(name, labels)
        self._counters.save()

    def _model(self, model: str) -> None:
        state = self._engine.state(model)
        active, rollout = state.active, state.rollout
        if state.live is not None:
            weight = active.weight if active is not None else 0.0
            self._set("redpoll_route_weight_ratio", (model, state.live), 1.0 - weight)
            if active is not None:
                self._set("redpoll_route_weight_ratio", (model, active.version), weight)
        if rollout is None:
            return
        for name in STATES:
            self._set("redpoll_rollout_state", (model, name), float(rollout.state == name))
        watch = self._engine.watches.get(model)
        if active is None or watch is None or watch.reading is None:
            return
        for gate in watch.reading.gates:
            ratio = gate.log_evidence / gate.log_limit
            self._set("redpoll_gate_evidence_ratio", (model, gate.metric), round(ratio, 4))
            for answer in ANSWERS:
                labels = (model, gate.metric, answer)
                self._set("redpoll_gate_answer", labels, float(gate.answer == answer))

    def _set(self, name: str, labels: tuple[str, ...], value: float) -> None:
        self._gauges.add((name, labels))
        self._counters.set(name, labels, value)
