"""Control: the one controller, as pages, API and CLI see it.

Reading is synchronous and cheap (everything was folded already); changing is asynchronous, and
returns when the Decision is on disk and the routes are published.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

from redpoll.catalog import Config, Plan
from redpoll.clock import Clock
from redpoll.control import applying, asking, publish, render, timeline
from redpoll.control.engine import DECISIONS_KEPT, Engine
from redpoll.control.events import Events
from redpoll.control.failures import FailureBook
from redpoll.control.loops import Loops
from redpoll.control.meters import Meters
from redpoll.control.requests import Requests
from redpoll.control.system import System
from redpoll.control.versions import Versions
from redpoll.errors import RedpollError
from redpoll.host.lock import FileLock, acquire
from redpoll.host.paths import DataDir
from redpoll.journal.port import Journal
from redpoll.rollout import commands
from redpoll.routes import Route
from redpoll.store.port import CatalogStore
from redpoll.views import (
    ApplyLine,
    DecisionView,
    EvidencePoint,
    FailureView,
    ModelView,
    Overview,
    RolloutView,
)


class Control(Versions):
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
        self._events = Events()
        self.engine.on_decision.append(self._events.tell)
        self._failures = FailureBook(journal)
        self.system = System(self.engine)
        self.requests = Requests(self.engine)
        self._loops: Loops | None = None
        self._lock: FileLock | None = None

    # life
    async def start(self, hold: bool = False) -> None:
        """Take the controller's lock, fold what is there, and begin to follow.

        ``hold``: a file is about to be applied, so a data folder that has no route table gets its
        first one with :meth:`release`, not before. RP-301 where another controller runs here.
        """
        self.engine.held = hold
        self._lock = acquire(self.engine.data.run / "control.lock")
        try:
            meters = Meters(self.engine)
            self.engine.open()
        except BaseException:
            self._lock.release()
            raise
        self._loops = Loops(self.engine, meters, self.system)

    def release(self) -> None:
        """The file was applied, well or not: publish the routes."""
        self.engine.held = False
        self.engine.publish()

    async def stop(self) -> None:
        """End the loop and every ``events()``, and keep what was folded."""
        if self._loops is not None:
            await self._loops.stop()
        self._events.tell(None)
        with contextlib.suppress(RedpollError, OSError):
            self.engine.close()
        if self._lock is not None:
            self._lock.release()

    # what faces read
    def overview(self) -> Overview:
        """Everything that *Now* shows."""
        return render.overview(self.engine)

    def model(self, name: str) -> ModelView:
        """One model; RP-102 where there is none of that name."""
        return render.model_view(self.engine, asking.model(self.engine, name)[1])

    def rollouts(self, model: str) -> tuple[RolloutView, ...]:
        """The model's rollouts, newest first."""
        asking.model(self.engine, model)
        state = self.engine.state(model)
        newest = () if state.rollout is None else (state.rollout,)
        return tuple(
            render.rollout_view(self.engine, state, one) for one in (*newest, *state.ended[::-1])
        )

    def rollout(self, name: str) -> RolloutView:
        """By its id, or a model's newest; RP-400 where there is none."""
        return render.rollout_view(self.engine, *asking.rollout(self.engine, name))

    def decisions(self, name: str | None = None, limit: int = 50) -> tuple[DecisionView, ...]:
        """The newest Decisions of a rollout, of a model, or of all, newest first.

        RP-400 where there is neither a model nor a rollout of that name.
        """
        kept = self.engine.decisions
        whole = len(kept) < DECISIONS_KEPT
        found = timeline.newest(kept, whole, self.engine.journal, name, limit)
        if not found and name is not None:
            asking.known(self.engine, name)
        return found

    def curve(self, rollout_id: str) -> tuple[EvidencePoint, ...]:
        """How each gate's evidence came to where it is, in order of time."""
        watch = self.engine.watch_of(asking.rollout(self.engine, rollout_id)[1])
        return watch.points() if watch is not None else ()

    def failures(self, rollout_id: str, limit: int = 3) -> tuple[FailureView, ...]:
        """The candidate's newest failures beside the stable's answers, newest first."""
        engine = self.engine
        _, rollout = asking.rollout(engine, rollout_id)
        watch = engine.watch_of(rollout)
        if watch is None or limit <= 0:
            return ()
        model, cursors = engine.catalog.models[rollout.model].model, engine.follower.cursors
        newest = reversed(watch.failures[-limit:])
        return tuple(self._failures.view(model, rollout.stable, one, cursors) for one in newest)

    def worker_stderr(self, model: str, version: str, lines: int = 40) -> str:
        """The last lines that a version's workers wrote to stderr; empty where there are none."""
        _, known = asking.model(self.engine, model)
        found: list[str] = []
        for one in known.versions:
            for index in range(one.workers if one.name == version else 0):
                with contextlib.suppress(OSError):
                    text = self.engine.data.stderr(model, version, index).read_bytes()[-65536:]
                    found += text.decode("utf-8", "replace").splitlines()[-lines:]
        return "\n".join(found[-lines:])

    def route(self, model: str) -> Route:
        """The model's route as it is published; for who only reads, as it would be."""
        number, known = asking.model(self.engine, model)
        engine = self.engine
        published = engine.publisher.current.routes.get(model)
        if published is not None:
            return published
        return publish.route(engine.data, number, known, engine.state(model), engine.clock.now_us())

    def versions(self, model: str) -> tuple[dict[str, Any], ...]:
        """The model's versions."""
        rows = render.version_rows(self.engine, asking.model(self.engine, model)[1])
        return rows + render.gone_rows(self.engine, model)

    def events(self) -> AsyncIterator[DecisionView]:
        """Every Decision from now on, as it takes effect."""
        return self._events.stream()

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
        _, known = asking.model(self.engine, model)
        state = asking.current(self.engine, model, generation)
        spec = asking.spec(self.engine, known, version, plan)
        asked = asking.asked(self.engine, actor, reason, model)
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
        state, rollout = asking.rollout(self.engine, rollout_id)
        state = asking.current(self.engine, state.name, generation)
        asked = asking.asked(self.engine, actor, reason, state.name, full)
        if state.rollout is None or state.rollout.id != rollout.id:
            raise RedpollError(
                "RP-402",
                f"{rollout.id} is {rollout.state}, and {state.name} has had a newer rollout since;"
                " only the newest can be changed.",
            )
        if name == "retry":
            _, known = asking.model(self.engine, state.name)
            own = rollout.plan if rollout.plan_from == "given" else None
            names = [one.name for one in known.versions]
            spec = asking.spec(self.engine, known, rollout.version, own)
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
        _, known = asking.model(self.engine, model)
        state = asking.current(self.engine, model, generation)
        window_s = known.rollout.rollback_window_s
        asked = asking.asked(self.engine, actor, reason, model)
        names = [one.name for one in known.versions]
        self.engine.perform(commands.rollback(state, to, names, window_s, asked))
        return self.rollout(model) if self.engine.state(model).rollout is not None else None

    async def apply(
        self, config: Config, *, actor: str = "api", dry_run: bool = False
    ) -> tuple[ApplyLine, ...]:
        """Make the catalog match a file, and carry out what its ``live`` asks for."""
        filled = await asyncio.to_thread(applying.fill, self.engine, config, not dry_run)
        return applying.apply(self.engine, filled, actor, dry_run)
