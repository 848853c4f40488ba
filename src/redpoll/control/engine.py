"""The loop's inside: follow the journal, fold it, decide, append, act.

Everything here can be lost at any moment: the state is a fold of Decisions, the evidence a fold of
requests and answers behind cursors, the route table a picture of both.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from redpoll.catalog import Model
from redpoll.clock import Clock, SystemClock
from redpoll.control import checkpoint, publish
from redpoll.control.condition import condition
from redpoll.control.deploys import Deploys
from redpoll.control.health import HealthBook
from redpoll.control.losses import Losses
from redpoll.control.signals import Signals
from redpoll.control.timeline import cursors_of, decision_view, lowest, when
from redpoll.control.traffic import Traffic
from redpoll.control.watch import Watch
from redpoll.errors import RedpollError
from redpoll.facts import NO_MODEL, Answer, Decision, Deploy, Entry, Request, Sample
from redpoll.host.paths import DataDir
from redpoll.ids import IdMaker
from redpoll.journal.port import Follower, Journal, Writer
from redpoll.rollout import machine
from redpoll.rollout.machine_fold import fold
from redpoll.rollout.machine_state import Action, Health, ModelState, RolloutState
from redpoll.store.port import Catalog, CatalogStore
from redpoll.views import DecisionView

DECISIONS_KEPT = 2000
POLL_ENTRIES = 5000
BUCKETS_A_STEP = 200
SAVE_EVERY_S = 5.0
NEVER_US = 2**62

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
        self.deploys = Deploys()
        self.losses = Losses()
        self.traffic = Traffic()
        self.health = HealthBook(data)
        self.publisher = publish.Publisher(data)
        self.on_decision: list[Callable[[DecisionView], None]] = []
        self.signals = Signals(data)
        self.trouble = ""  # why the newest step failed; empty: it did not
        self.as_of_us = 0
        self.opened_us = 0
        self._folded: dict[str, int] = {}  # stream -> sequence of its newest folded Decision
        self._position = ("", -1)
        self._last_us = 0
        self._waiting: list[tuple[str, int, Action]] = []  # appended, not yet synced
        self.held = False  # no first table before the file was applied: half of it would be a lie
        self._published: tuple[object, ...] = ()  # what the newest table was made from
        self._republish_us = 0  # when it changes by time alone: something is kept warm no longer
        self._archive = checkpoint.Archive(data)
        self._save_us = 0  # when the next checkpoint is due
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
            (stored.number, stored.offered)
            for _, stored in sorted(self.catalog.models.items())
            if not stored.retired
        ]

    def state(self, model: str) -> ModelState:
        """The state of a model; a fresh one where nothing was ever decided."""
        return self.states.get(model) or ModelState(name=model)

    # beginning and end
    def open(self) -> None:
        """Fold all Decisions, take up the evidence where it stands, and publish the routes."""
        self.opened_us = self.clock.now_us()
        self.catalog = self.store.read()
        entries = list(self.journal.read(kinds=["decision"], raw=False))
        for entry in sorted(entries, key=when):
            self._fold(entry)
        self.publisher.load()
        self.health.refresh()
        self.writer = self.journal.open("control", patient=True)
        self.follower = self.journal.follow(self._restore(entries))
        self.publish()

    def _restore(self, entries: Sequence[Entry]) -> dict[str, int]:
        """Take up the checkpoint; from where requests and answers must be read again."""
        kept = checkpoint.load(self.data, self.journal, self.states)
        if kept is not None:
            self.traffic.load(kept.traffic)
            self.deploys.load(kept.deploys)
            try:
                self.watches = checkpoint.watches(self.data, kept, self.states)
            except ValueError as error:
                _log.warning("%s; the journal is folded again", error)
                kept = None
        if kept is None:
            self.watches.clear()
            self.traffic = Traffic()
        for state in self.states.values():
            self._watch(state)
        if kept is not None:
            return dict(kept.cursors)
        starts = [state.active.cursors for state in self.states.values() if state.active]
        if not starts and entries:
            newest = max(entries, key=when).fact
            starts = [cursors_of(newest)] if isinstance(newest, Decision) else []
        return lowest(starts)

    def close(self) -> None:
        """Keep what was folded, and end our stream."""
        try:
            self.save()
        finally:
            self.writer.close()

    def save(self) -> None:
        """Keep all folds, with the cursors of this moment."""
        began = time.monotonic()
        kept = checkpoint.Checkpoint(
            saved_us=self.clock.now_us(),
            cursors=dict(self.follower.cursors),
            traffic=self.traffic.state(),
            watches={name: watch.state() for name, watch in self.watches.items()},
            deploys=self.deploys.state(),
        )
        checkpoint.save(self.data, kept)
        # At most 2 % of the time goes into checkpoints, however large they grow.
        pause_s = max(SAVE_EVERY_S, 50 * (time.monotonic() - began))
        self._save_us = self.clock.now_us() + int(pause_s * 1e6)

    def watch_of(self, rollout: RolloutState) -> Watch | None:
        """What is known of a rollout: as it is watched, or as it was kept when it ended."""
        watch = self.watches.get(rollout.model)
        if watch is not None and watch.id == rollout.id:
            return watch
        return None if rollout.active else self._archive.watch(rollout)

    # one step
    def tick(self) -> bool:
        """Read what is new, fold it, and do what follows. True where more waits to be read."""
        if self._waiting:
            self._settle()
        listed_us = self.clock.now_us()
        entries = self.follower.poll(POLL_ENTRIES)
        self._take(entries)
        self.health.refresh()
        self.as_of_us = max(self.as_of_us, self.bound(listed_us))
        more = [self.judge(name) for name in list(self.states)]
        self.publish()
        if self.clock.now_us() >= self._save_us:
            self.save()
        return len(entries) >= POLL_ENTRIES or any(more)

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

    def judge(self, name: str) -> bool:
        """Close buckets one by one and decide after each, as if each had been waited for.

        True where more of them wait: after an absence there may be hours of them, and pages must
        not wait that long.
        """
        for _ in range(BUCKETS_A_STEP):
            state = self.state(name)
            rollout, watch = state.active, self._watch(state)
            if rollout is None or watch is None:
                return False
            target = watch.next_bucket(rollout, self.as_of_us)
            moved = rollout.begun and watch.close(target, self.as_of_us)
            health, now_us = self.health_of(rollout), self.now_us()
            actions = machine.step(state, watch.reading, health, now_us, self.salt())
            if actions:
                self.perform(actions)
            elif not moved or target >= self.as_of_us:
                return False
        return True

    def health_of(self, rollout: RolloutState) -> Health:
        """What the machine is told about the two versions."""
        stored = self.catalog.models.get(rollout.model)
        versions = stored.model.versions if stored else ()
        return condition(rollout, versions, self.health, self.deploys, self.opened_us, self.losses)

    # deciding
    def perform(self, actions: Sequence[Action]) -> None:
        """Append and sync Decisions, and only then let them take effect.

        RP-300 where the disk refuses: nothing takes effect until it takes them.
        """
        if self._waiting:
            self._settle()
        self.writer.flush()  # a stream that found no room at first begins here
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

    def publish(self, again: bool = False) -> bool:
        """Rename the route table into place where it changed (``again``: in any case)."""
        if self.held and not self.data.routes.exists():
            return False
        now_us = self.clock.now_us()
        source = (self.catalog.revision, self._position)
        if not again and source == self._published and now_us < self._republish_us:
            return False
        before = self.publisher.spoken.before(
            self.models(),
            lambda number, model: publish.sockets(
                publish.targets(self.data, number, model, self.state(model.name), now_us)
            ),
            lambda name: self.state(name).live,
            self.health.workers(),
        )
        table = publish.table(self.data, self.models(), self.states, now_us, self._position, before)
        ends = [at for state in self.states.values() for at in state.warm.values() if at > now_us]
        ends += [0] if before else []  # their workers may be ready at any moment
        self._published, self._republish_us = source, min(ends, default=NEVER_US)
        return self.publisher.publish(table, again)

    # folding
    def _take(self, entries: Sequence[Entry]) -> None:
        """Fold new entries: the one loop that every request and answer goes through."""
        traffic, watches = self.traffic.of, self.watches
        for entry in entries:
            fact = entry.fact
            kind = type(fact)
            if kind is Request:
                traffic(entry.model).request(entry.time_us, fact.unit is not None)  # type: ignore[attr-defined]
                watch = watches.get(entry.model)
                if watch is not None:
                    watch.request(entry, fact)  # type: ignore[arg-type]
            elif kind is Answer:
                if fact.role == "live":  # type: ignore[attr-defined]
                    traffic(entry.model).answer(entry.time_us, fact)  # type: ignore[arg-type]
                watch = watches.get(entry.model)
                if watch is not None:
                    watch.answer(entry, fact)  # type: ignore[arg-type]
            elif kind is Deploy:
                self.deploys.add(entry.model, entry.time_us, fact)  # type: ignore[arg-type]
            elif kind is Sample:
                self.losses.add(entry.time_us, fact)  # type: ignore[arg-type]
            elif kind is Decision and entry.sequence > self._folded.get(entry.stream, -1):
                self._fold(entry)

    def _fold(self, entry: Entry) -> None:
        """Take a Decision into the state and the timeline."""
        decision = entry.fact
        if not isinstance(decision, Decision):
            return
        self._folded[entry.stream] = max(entry.sequence, self._folded.get(entry.stream, -1))
        at_us = when(entry)[0]
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
            kept = None if rollout.active else self._archive.watch(rollout)
            if kept is not None:
                self.watches[state.name] = kept
                return kept
            before = self.traffic.hour(state.name, rollout.stable, rollout.started_us)
            try:
                watch = self.watches[state.name] = Watch(rollout, before)
            except RedpollError as error:
                _log.error("%s cannot be watched: %s", rollout.id, error)
                return None
        ended = not watch.over and not rollout.active
        watch.follow(rollout)
        if ended:
            self._archive.keep(watch)
        return watch
