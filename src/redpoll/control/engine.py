"""The loop's inside: follow the journal, fold it, decide, append, act.

Everything here can be lost at any moment: the state is a fold of Decisions, the evidence a fold of
requests and answers behind cursors, the route table a picture of both.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from redpoll.catalog import Model
from redpoll.clock import Clock, SystemClock
from redpoll.control import publish
from redpoll.control.health import HealthBook
from redpoll.control.traffic import Traffic
from redpoll.control.watch import BUCKET_US, Watch
from redpoll.errors import RedpollError
from redpoll.facts import NO_MODEL, Decision, Deploy, Entry
from redpoll.host.paths import DataDir
from redpoll.ids import IdMaker
from redpoll.journal.port import Follower, Journal, Writer
from redpoll.rollout import machine
from redpoll.rollout.machine_fold import fold, read_evidence
from redpoll.rollout.machine_state import Action, Health, ModelState, RolloutState
from redpoll.store.port import Catalog, CatalogStore
from redpoll.views import DecisionView

DECISIONS_KEPT = 2000
DEPLOYS_KEPT = 200  # a model
POLL_ENTRIES = 5000

_log = logging.getLogger("redpoll.control")


class Engine:
    """The state and what moves it. Synchronous: one call of :meth:`tick` is one step."""

    def __init__(
        self,
        data: DataDir,
        journal: Journal,
        store: CatalogStore,
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.data = data
        self.journal = journal
        self.store = store
        self.clock = clock or SystemClock()
        self.random_bytes = random_bytes
        self.ids = IdMaker(random_bytes)
        self.catalog = Catalog()
        self.states: dict[str, ModelState] = {}
        self.watches: dict[str, Watch] = {}  # of each model's newest rollout
        self.decisions: deque[DecisionView] = deque(maxlen=DECISIONS_KEPT)
        self.deploys: dict[str, deque[tuple[int, Deploy]]] = {}
        self.traffic = Traffic()
        self.health = HealthBook(data)
        self.publisher = publish.Publisher(data)
        self.on_decision: list[Callable[[DecisionView], None]] = []
        self.as_of_us = 0
        self._folded: dict[str, int] = {}  # stream -> sequence of its newest folded Decision
        self._position = ("", -1)
        self._last_us = 0
        self._waiting: list[tuple[str, int, Action]] = []  # appended, not yet synced
        self.writer: Writer
        self.follower: Follower

    def now_us(self) -> int:
        """The time of the next Decision: the clock's, but always behind the one before."""
        return max(self.clock.now_us(), self._last_us + 1)

    def salt(self) -> str:
        """Fresh randomness for an epoch."""
        return self.random_bytes(16).hex()

    def models(self) -> list[tuple[int, Model]]:
        """The catalog's models with their numbers, in order of name."""
        return [
            (stored.number, stored.model)
            for _, stored in sorted(self.catalog.models.items())
            if not stored.retired
        ]

    def state(self, model: str) -> ModelState:
        """The state of a model; a fresh one where nothing was ever decided."""
        return self.states.get(model) or ModelState(name=model)

    # beginning
    def open(self) -> None:
        """Fold all Decisions, take up the evidence where it stands, and publish the routes."""
        self.catalog = self.store.read()
        entries = list(self.journal.read(kinds=["decision"], raw=False))
        for entry in sorted(entries, key=_when):
            self._fold(entry)
        self.writer = self.journal.open("control")
        cursors = self._begin_cursors(entries)
        for state in self.states.values():
            self._watch(state)
        self.follower = self.journal.follow(cursors)
        self.publish()

    def _begin_cursors(self, entries: Sequence[Entry]) -> dict[str, int]:
        """From where requests and answers must be read again."""
        starts = [state.active.cursors for state in self.states.values() if state.active]
        if not starts and entries:
            newest = max(entries, key=_when)
            fact = newest.fact
            starts = [json.loads(fact.cursors)] if isinstance(fact, Decision) else []
        return lowest(starts)

    def close(self) -> None:
        """Sync and end our stream."""
        self.writer.close()

    # one step
    def tick(self) -> bool:
        """Read what is new, fold it, and do what follows. True where more waits to be read."""
        if self._waiting:
            self._settle()
        listed_us = self.clock.now_us()
        entries = self.follower.poll(POLL_ENTRIES)
        for entry in entries:
            self._take(entry)
        self.health.refresh()
        self.as_of_us = max(self.as_of_us, self.bound(listed_us))
        for name in list(self.states):
            self.judge(name)
        self.publish()
        return len(entries) >= POLL_ENTRIES

    def bound(self, listed_us: int) -> int:
        """How far all gateways' streams are known: nothing older can still appear.

        A live stream is known up to its last frame, a dead one once it was read to its end; a
        stream that was not there when we listed them has nothing older than that moment.
        """
        known = [
            stream.last_time_us
            for stream in self.follower.streams()
            if stream.stream.startswith("gateway-")
        ]
        return min([listed_us, *known])

    def judge(self, name: str) -> None:
        """Close buckets one by one and decide after each, as if each had been waited for."""
        while (state := self.state(name)).active is not None:
            watch = self._watch(state)
            rollout = state.active
            if watch is None or rollout is None:
                return
            target = next_bucket(watch, rollout, self.as_of_us)
            moved = rollout.begun and watch.close(target)
            actions = machine.step(
                state, watch.reading, self.health_of(rollout), self.now_us(), self.salt()
            )
            if actions:
                self.perform(actions)
            elif not moved or target >= self.as_of_us:
                return

    def health_of(self, rollout: RolloutState) -> Health:
        """What the machine is told about the two versions."""
        stored = self.catalog.models.get(rollout.model)
        versions = stored.model.versions if stored else ()
        version = next((one for one in versions if one.name == rollout.version), None)
        if version is None:
            detail = f"{rollout.version} is not in the catalog any more"
            return Health(ready=False, detail=detail)
        found = self.health.version(rollout.model, version)
        deploys = self.deploys.get(rollout.model, ())
        crashes = sum(
            at >= rollout.running_since_us
            and deploy.event == "crash"
            and deploy.version == rollout.version
            for at, deploy in deploys
        )
        changed = next(
            (
                deploy.version
                for at, deploy in deploys
                if deploy.event == "changed"
                and at >= rollout.evidence_since_us
                and deploy.version in (rollout.version, rollout.stable)
            ),
            None,
        )
        return Health(
            ready=found.ready,
            detail=found.detail,
            load_s=version.load_s,
            crashes=crashes,
            changed=changed,
        )

    # deciding
    def perform(self, actions: Sequence[Action]) -> None:
        """Append and sync Decisions, and only then let them take effect.

        RP-300 where the disk refuses: nothing takes effect until it takes them.
        """
        if self._waiting:
            self._settle()
        cursors = json.dumps(self.follower.cursors)
        for action in actions:
            stored = self.catalog.models.get(action.model)
            number = stored.number if stored else 0
            decision = action.decision
            decision = msgspec.structs.replace(
                decision,
                decision_id=self.ids.prediction_id(number, self.now_us()),
                cursors=cursors if decision.cursors == "{}" else decision.cursors,
            )
            sequence = self.writer.append(action.model, decision)
            done = msgspec.structs.replace(action, decision=decision)
            self._waiting.append((self.writer.stream, sequence, done))
        self._settle()

    def _settle(self) -> None:
        """Sync what waits, then fold it and publish."""
        self.writer.sync()
        waiting, self._waiting = self._waiting, []
        now = self.now_us()
        for stream, sequence, action in waiting:
            entry = Entry(stream, sequence, now, 1, action.model, action.decision)
            self._fold(entry)
            state = self.states.get(action.model)
            if state is not None:
                self._watch(state)
        self.publish()

    def publish(self) -> bool:
        """Rename the route table into place where it changed."""
        table = publish.table(
            self.data, self.models(), self.states, self.clock.now_us(), self._position
        )
        return self.publisher.publish(table)

    # folding
    def _take(self, entry: Entry) -> None:
        fact = entry.fact
        if isinstance(fact, Decision):
            if entry.sequence > self._folded.get(entry.stream, -1):
                self._fold(entry)
            return
        if isinstance(fact, Deploy):
            kept = self.deploys.setdefault(entry.model, deque(maxlen=DEPLOYS_KEPT))
            kept.append((entry.time_us, fact))
            return
        self.traffic.add(entry)
        watch = self.watches.get(entry.model)
        if watch is not None:
            watch.add(entry)

    def _fold(self, entry: Entry) -> None:
        """Take a Decision into the state and the timeline."""
        decision = entry.fact
        if not isinstance(decision, Decision):
            return
        self._folded[entry.stream] = max(entry.sequence, self._folded.get(entry.stream, -1))
        at_us = _when(entry)[0]
        if at_us >= self._last_us:
            self._last_us, self._position = at_us, (entry.stream, entry.sequence)
        if entry.model != NO_MODEL:
            self.states[entry.model] = fold(self.state(entry.model), decision, entry.time_us)
        view = decision_view(entry.model, decision, at_us)
        self.decisions.append(view)
        for listener in self.on_decision:
            listener(view)

    def _watch(self, state: ModelState) -> Watch | None:
        """The watch of a model's newest rollout, in step with its state."""
        rollout = state.rollout
        if rollout is None:
            return None
        watch = self.watches.get(state.name)
        if watch is None or watch.id != rollout.id:
            try:
                watch = self.watches[state.name] = Watch(rollout)
            except RedpollError as error:
                _log.error("%s cannot be watched: %s", rollout.id, error)
                return None
        watch.follow(rollout)
        return watch


def next_bucket(watch: Watch, rollout: RolloutState, bound_us: int) -> int:
    """Up to where to close next: one bucket, or as far as nothing can follow from."""
    reading = watch.reading
    closed = 0 if reading is None else reading.last_closed_us
    pause_s = rollout.plan.steps[rollout.step].pause_s or 0.0
    stops = [bound_us]
    due = rollout.step_since_us + int(pause_s * 1e6)
    if closed < due:
        stops.append(-(-due // BUCKET_US) * BUCKET_US)
    oldest = watch.oldest_open_us()
    if oldest is not None:
        stops.append(max(oldest + BUCKET_US, closed + BUCKET_US))
    return max(min(stops), closed)


def lowest(starts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Cursors from which all of these are still ahead: the lower of each, absent where one lacks it."""
    if not starts:
        return {}
    shared = set(starts[0]).intersection(*starts[1:])
    return {stream: min(start[stream] for start in starts) for stream in sorted(shared)}


def decision_view(model: str, decision: Decision, time_us: int) -> DecisionView:
    """A Decision as a line of a timeline; the latency reference is left out."""
    evidence = read_evidence(decision)
    evidence.pop("latency_reference", None)
    try:
        cursors = json.loads(decision.cursors)
    except ValueError:
        cursors = {}
    return DecisionView(
        decision_id=decision.decision_id,
        time_us=time_us,
        model=model,
        subject_kind=decision.subject_kind,
        subject_id=decision.subject_id,
        action=decision.action,
        from_state=decision.from_state,
        to_state=decision.to_state,
        actor=decision.actor,
        reason=decision.reason,
        sentence=decision.sentence,
        evidence=evidence,
        cursors=cursors,
        spec_digest=decision.spec_digest,
    )


def _when(entry: Entry) -> tuple[int, str, int]:
    fact = entry.fact
    at = read_evidence(fact).get("at_us") if isinstance(fact, Decision) else None
    return (int(at) if isinstance(at, int) else entry.time_us, entry.stream, entry.sequence)
