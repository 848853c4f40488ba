"""Control: the one controller, as pages, API and CLI see it.

Reading is synchronous and cheap (everything was folded already); changing is asynchronous, and
returns when the Decision is on disk and the routes are published.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from redpoll.catalog import Model, Plan
from redpoll.clock import Clock
from redpoll.control import publish, render
from redpoll.control.engine import Engine
from redpoll.errors import RedpollError, closest
from redpoll.host.lock import FileLock, acquire
from redpoll.host.paths import DataDir
from redpoll.journal.port import Journal
from redpoll.rollout import commands
from redpoll.rollout.commands import Asked, Start
from redpoll.rollout.machine_state import ModelState, RolloutState
from redpoll.rollout.plan import length
from redpoll.routes import Route
from redpoll.store.port import CatalogStore
from redpoll.views import (
    DecisionView,
    EvidencePoint,
    FailureView,
    ModelView,
    Overview,
    RolloutView,
)

POLL_S = 0.05
EVENTS_QUEUED = 1000  # Decisions a slow reader may be behind before it is let go
UNIT_SHARE_MIN = 0.9
UNIT_SHARE_OF = 50  # requests it takes to say how many carry the unit

_log = logging.getLogger("redpoll.control")


class Control:
    """One controller on one data folder."""

    def __init__(
        self,
        data: DataDir,
        journal: Journal,
        store: CatalogStore,
        *,
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.engine = Engine(data, journal, store, clock, random_bytes)
        self.engine.on_decision.append(self._tell)
        self._queues: set[asyncio.Queue[DecisionView | None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._lock: FileLock | None = None

    # life
    async def start(self) -> None:
        """Take the controller's lock, fold what is there, and begin to follow.

        RP-301 where another controller runs on this folder.
        """
        self._lock = acquire(self.engine.data.run / "control.lock")
        self.engine.open()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._probe())]

    async def stop(self) -> None:
        """End the loop and every ``events()``, and keep what was folded."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queue in self._queues:
            queue.put_nowait(None)
        with contextlib.suppress(RedpollError):
            self.engine.close()
        if self._lock is not None:
            self._lock.release()

    async def _follow(self) -> None:
        while True:
            more = False
            try:
                more = self.engine.tick()
            except RedpollError as error:
                _log.error("%s", error)
            except Exception:
                _log.exception("control's loop made a mistake and goes on")
            await asyncio.sleep(0 if more else POLL_S)

    async def _probe(self) -> None:
        while True:
            targets = [
                (model.name, version)
                for _, model in self.engine.models()
                for version in model.versions
            ]
            await self.engine.health.probe(targets)
            await asyncio.sleep(0.25)

    def _tell(self, decision: DecisionView) -> None:
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(decision)

    # what faces read
    def overview(self) -> Overview:
        """Everything that *Now* shows."""
        return render.overview(self.engine)

    def model(self, name: str) -> ModelView:
        """One model; RP-102 where there is none of that name."""
        return render.model_view(self.engine, self._model(name)[1])

    def rollouts(self, model: str) -> tuple[RolloutView, ...]:
        """The model's rollouts, newest first."""
        self._model(model)
        state = self.engine.state(model)
        newest = () if state.rollout is None else (state.rollout,)
        return tuple(
            render.rollout_view(self.engine, state, one) for one in (*newest, *state.ended[::-1])
        )

    def rollout(self, name: str) -> RolloutView:
        """By its id, or a model's newest; RP-400 where there is none."""
        return render.rollout_view(self.engine, *self._rollout(name))

    def decisions(self, name: str | None = None, limit: int = 50) -> tuple[DecisionView, ...]:
        """The newest Decisions of a rollout, of a model, or of all, newest first."""
        mine = [d for d in self.engine.decisions if name in (None, d.model, d.subject_id)]
        return tuple(reversed(mine[-limit:])) if limit > 0 else ()

    def curve(self, rollout_id: str) -> tuple[EvidencePoint, ...]:
        """How each gate's evidence came to where it is, in order of time."""
        state, rollout = self._rollout(rollout_id)
        watch = self.engine.watches.get(state.name)
        return watch.points() if watch is not None and watch.id == rollout.id else ()

    def failures(self, rollout_id: str, limit: int = 3) -> tuple[FailureView, ...]:
        """The candidate's newest failures beside the stable's answers."""
        self._rollout(rollout_id)
        return ()

    def worker_stderr(self, model: str, version: str, lines: int = 40) -> str:
        """The last lines that a version's workers wrote to stderr; empty where there are none."""
        _, known = self._model(model)
        found: list[str] = []
        for one in known.versions:
            for index in range(one.workers if one.name == version else 0):
                with contextlib.suppress(OSError):
                    text = self.engine.data.stderr(model, version, index).read_bytes()[-65536:]
                    found += text.decode("utf-8", "replace").splitlines()[-lines:]
        return "\n".join(found[-lines:])

    def route(self, model: str) -> Route:
        """The model's route as it is published."""
        number, known = self._model(model)
        engine = self.engine
        return publish.route(engine.data, number, known, engine.state(model), engine.clock.now_us())

    def versions(self, model: str) -> tuple[dict[str, Any], ...]:
        """The model's versions."""
        return render.version_rows(self.engine, self._model(model)[1])

    async def events(self) -> AsyncIterator[DecisionView]:
        """Every Decision from now on, as it takes effect."""
        queue: asyncio.Queue[DecisionView | None] = asyncio.Queue(EVENTS_QUEUED)
        self._queues.add(queue)
        try:
            while (decision := await queue.get()) is not None:
                yield decision
        finally:
            self._queues.discard(queue)

    # what faces ask for
    async def start_rollout(
        self,
        model: str,
        version: str,
        *,
        plan: Plan | None = None,
        reason: str | None = None,
        actor: str = "api",
        generation: int | None = None,
    ) -> RolloutView:
        """Start a rollout with the model's plan, or an own one; a running one is superseded."""
        _, known = self._model(model)
        state = self._current(model, generation)
        self._units(known)
        spec = self._spec(known, version, plan)
        asked = self._asked(actor, reason, model)
        names = [one.name for one in known.versions]
        self.engine.perform(commands.start(state, spec, names, asked))
        return self.rollout(model)

    async def act(
        self,
        rollout_id: str,
        name: str,
        *,
        reason: str | None,
        actor: str = "api",
        generation: int | None = None,
        full: bool = False,
    ) -> RolloutView:
        """pause, resume, promote (``full``: all the way), abort or retry."""
        state, rollout = self._rollout(rollout_id)
        state = self._current(state.name, generation)
        asked = self._asked(actor, reason, state.name, full)
        if state.rollout is None or state.rollout.id != rollout.id:
            raise RedpollError(
                "RP-402",
                f"{rollout.id} is {rollout.state}, and {state.name} has had a newer rollout since;"
                " only the newest can be changed.",
            )
        if name == "retry":
            _, known = self._model(state.name)
            own = rollout.plan if rollout.plan_from == "given" else None
            names = [one.name for one in known.versions]
            spec = self._spec(known, rollout.version, own)
            self.engine.perform(commands.retry(state, spec, names, asked))
            return self.rollout(state.name)
        self.engine.perform(commands.command(state, name, asked))
        return self.rollout(rollout_id)

    async def rollback(
        self,
        model: str,
        *,
        to: str | None = None,
        reason: str | None,
        actor: str = "api",
        generation: int | None = None,
    ) -> RolloutView | None:
        """End a running rollout, or go back to what was live before, at once."""
        _, known = self._model(model)
        state = self._current(model, generation)
        window_s = known.rollout.rollback_window_s
        asked = self._asked(actor, reason, model)
        self.engine.perform(commands.rollback(state, to, window_s, asked))
        return self.rollout(model) if self.engine.state(model).rollout is not None else None

    # how
    def _model(self, name: str) -> tuple[int, Model]:
        known = {model.name: (number, model) for number, model in self.engine.models()}
        if name not in known:
            raise RedpollError(
                "RP-102",
                f"There is no model {name!r}; it is in no file that was applied."
                + closest(name, known),
            )
        return known[name]

    def _rollout(self, name: str) -> tuple[ModelState, RolloutState]:
        states = self.engine.states
        if name in states and states[name].rollout is not None:
            found = states[name].rollout
        else:
            model = name.rpartition("-")[0]
            found = states[model].find(name) if model in states else None
        if found is None:
            known = [one.rollout.id for one in states.values() if one.rollout]
            raise RedpollError(
                "RP-400", f"There is no rollout {name!r}." + closest(name, [*known, *states])
            )
        return states[found.model], found

    def _current(self, model: str, generation: int | None) -> ModelState:
        state = self.engine.state(model)
        if generation is not None and generation != state.generation:
            what = self.decisions(model, 1)
            raise RedpollError(
                "RP-401",
                f"{model} changed since that page was made"
                + (f": {what[0].sentence}" if what else ".")
                + " Nothing was done; look again, then repeat it if it is still wanted.",
            )
        return state

    def _asked(self, actor: str, reason: str | None, model: str, full: bool = False) -> Asked:
        engine, watch = self.engine, self.engine.watches.get(model)
        return Asked(
            actor=actor,
            reason=reason.strip() if reason else None,
            now_us=engine.now_us(),
            salt=engine.salt(),
            full=full,
            reading=watch.reading if watch is not None and not watch.over else None,
        )

    def _spec(self, model: Model, version: str, plan: Plan | None) -> Start:
        engine, now_us = self.engine, self.engine.clock.now_us()
        wanted = plan or model.rollout
        return Start(
            version=version,
            plan=wanted,
            salt=engine.salt(),
            unit=model.unit,
            plan_from="catalog" if plan is None else "given",
            length=length(wanted, engine.traffic.of(model.name).rate(now_us)),
            cursors=dict(engine.follower.cursors),
        )

    def _units(self, model: Model) -> None:
        if model.unit == "request":
            return
        share, of = self.engine.traffic.of(model.name).unit_share(self.engine.clock.now_us())
        if share is not None and of >= UNIT_SHARE_OF and share < UNIT_SHARE_MIN:
            raise RedpollError(
                "RP-402",
                f"Only {share:.0%} of the last {of:,} requests carried a {model.unit}"
                f" ({model.unit_from or 'unit_from is not set'}), and a rollout by {model.unit}"
                f' wants 90%; send it, or set unit = "request" for {model.name}.',
            )
