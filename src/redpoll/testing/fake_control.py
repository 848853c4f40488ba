"""A control that decides nothing: one night of three models, as the console's design tells it.

It has the methods of ``redpoll.control.service.Control`` that faces call, answers with
``redpoll.views`` records and keeps what is asked of it, so that pages, API and CLI can be tried
without a journal. The night: 24 November 2026, 03:09:41 UTC; churn v2 is at 10 %, fraud 7 was
rolled back five minutes ago, defects has no rollout.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from redpoll.catalog import Config, Model, Plan, Version
from redpoll.errors import RedpollError, closest
from redpoll.routes import Route, Target
from redpoll.testing import fake_evidence as evidence
from redpoll.testing import fake_night as night
from redpoll.views import (
    ApplyLine,
    DecisionView,
    EvidencePoint,
    FailureView,
    ModelView,
    Overview,
    RolloutView,
)

GENERATION = 212


class FakeControl:
    """Holds the night's records; actions change them as a reader would expect."""

    def __init__(self) -> None:
        self.now_us = night.NOW
        self.models: dict[str, ModelView] = {m.name: m for m in night.models()}
        self.by_id: dict[str, RolloutView] = {
            m.rollout.id: m.rollout for m in self.models.values() if m.rollout
        }
        self.log: list[DecisionView] = list(night.decisions())
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error: RedpollError | None = None  # raised by the next call
        self._followers: set[asyncio.Queue[DecisionView | None]] = set()

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """End every ``events()``."""
        for follower in self._followers:
            follower.put_nowait(None)

    # what faces read
    def overview(self) -> Overview:
        """Everything that *Now* shows."""
        self._fail()
        needs = [m for m in self.models.values() if m.needs]
        return Overview(
            models=tuple(self.models.values()),
            sentence=needs[0].needs if needs else "Nothing needs you.",
            as_of_us=self.now_us - 300_000,
            age_s=0.3,
            alerts=tuple(m.needs for m in needs),
            decisions=tuple(self.decisions(None, 8)),
        )

    def model(self, name: str) -> ModelView:
        """One model, or RP-102."""
        self._fail()
        if name not in self.models:
            near = closest(name, self.models)
            raise RedpollError("RP-102", f"There is no model {name!r}.{near}")
        return self.models[name]

    def rollouts(self, model: str) -> tuple[RolloutView, ...]:
        """The model's rollouts, newest first."""
        self.model(model)
        return tuple(r for r in reversed(self.by_id.values()) if r.model == model)

    def rollout(self, name: str) -> RolloutView:
        """By id, or the newest of a model."""
        self._fail()
        if name in self.models and (newest := self.rollouts(name)):
            return newest[0]
        if name not in self.by_id:
            near = closest(name, self.by_id)
            raise RedpollError("RP-400", f"There is no rollout {name!r}.{near}")
        return self.by_id[name]

    def decisions(self, name: str | None = None, limit: int = 50) -> tuple[DecisionView, ...]:
        """The newest Decisions of a rollout, of a model, or of all, newest first."""
        mine = [d for d in self.log if name in (None, d.model, d.subject_id)]
        return tuple(reversed(mine[-limit:]))

    def curve(self, rollout_id: str) -> tuple[EvidencePoint, ...]:
        """How evidence came to where it is."""
        rollout = self.rollout(rollout_id)
        return evidence.curve(rollout.id)

    def failures(self, rollout_id: str, limit: int = 3) -> tuple[FailureView, ...]:
        """The candidate's failures."""
        return evidence.failures()[:limit] if self.rollout(rollout_id).id == "fraud-9" else ()

    def worker_stderr(self, model: str, version: str, lines: int = 40) -> str:
        """The last lines of the workers' stderr."""
        return evidence.STDERR if (model, version) == ("fraud", "7") else ""

    def route(self, model: str) -> Route:
        """The model's route."""
        view = self.model(model)
        targets = {
            v["name"]: Target(version=Version(name=v["name"], backend=v["backend"]), addresses=())
            for v in view.versions
        }
        return Route(
            model=Model(name=model, unit=view.unit, live=view.live),
            number=list(self.models).index(model),
            generation=view.generation,
            live=view.live,
            candidate=view.candidate,
            weight=view.weight,
            targets=targets,
        )

    def versions(self, model: str) -> tuple[dict[str, Any], ...]:
        """The model's versions."""
        return self.model(model).versions

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
        """A new rollout of ``version``; a running one is superseded."""
        view = self._changing(
            model,
            generation,
            "start_rollout",
            version=version,
            plan=plan,
            reason=reason,
            actor=actor,
        )
        names = [v["name"] for v in view.versions]
        if version not in names:
            raise RedpollError(
                "RP-103", f"{model} has no version {version!r}.{closest(version, names)}"
            )
        number = 1 + max((int(r.id.rsplit("-", 1)[1]) for r in self.rollouts(model)), default=0)
        base = self.by_id["churn-17"]
        rollout = msgspec.structs.replace(
            base,
            id=f"{model}-{number}",
            model=model,
            version=version,
            stable=view.live or "",
            state="running",
            sentence=f"{version} of {model} has 1% of traffic.",
            weight=0.01,
            step=0,
            started_us=self.now_us,
            since_us=self.now_us,
        )
        self._keep(rollout, "start", None, actor, reason)
        return self.by_id[rollout.id]

    async def act(
        self,
        rollout_id: str,
        name: str,
        *,
        reason: str,
        actor: str = "api",
        generation: int | None = None,
        full: bool = False,
    ) -> RolloutView:
        """pause, resume, promote, abort or retry."""
        rollout = self.rollout(rollout_id)
        self._changing(
            rollout.model, generation, name, id=rollout_id, reason=reason, actor=actor, full=full
        )
        _reasoned(reason)
        if name not in rollout.actions:
            raise RedpollError(
                "RP-402",
                f"{rollout.id} is {rollout.state}; it cannot {name} now; "
                f"possible are: {', '.join(rollout.actions)}.",
            )
        if name == "promote" and not full and rollout.step + 1 < len(rollout.steps):
            state, weight = "running", rollout.steps[rollout.step + 1].weight
        else:
            state, weight = {
                "pause": ("paused", rollout.weight),
                "resume": ("running", rollout.weight),
                "promote": ("promoted", 1.0),
                "abort": ("aborted", 0.0),
                "retry": ("running", 0.1),
            }[name]
        word = {
            "pause": "is paused",
            "resume": "goes on",
            "promote": "was promoted",
            "abort": "was aborted",
            "retry": "is tried again",
        }[name]
        actions = {
            "paused": ("resume", "promote", "abort"),
            "promoted": ("rollback",),
            "aborted": ("retry",),
            "running": ("pause", "promote", "abort"),
        }[state]
        changed = msgspec.structs.replace(
            rollout,
            state=state,
            weight=weight,
            since_us=self.now_us,
            actions=actions,
            sentence=f"{rollout.version} of {rollout.model} {word} at {weight:.0%}.",
            next_sentence="Nothing until someone acts." if state != "running" else "Next: 50%.",
        )
        self._keep(changed, name, rollout.state, actor, reason)
        return self.by_id[rollout_id]

    async def rollback(
        self,
        model: str,
        *,
        to: str | None = None,
        reason: str,
        actor: str = "api",
        generation: int | None = None,
    ) -> RolloutView | None:
        """Back to what was live before."""
        self._changing(model, generation, "rollback", to=to, reason=reason, actor=actor)
        _reasoned(reason)
        rollout = self.rollouts(model)[0]
        self._keep(
            msgspec.structs.replace(
                rollout,
                state="rolled_back",
                weight=0.0,
                actions=("retry",),
                sentence=f"{rollout.version} of {model} was rolled back by {actor}.",
            ),
            "rollback",
            rollout.state,
            actor,
            reason,
        )
        return self.by_id[rollout.id]

    async def apply(
        self, config: Config, *, actor: str = "api", dry_run: bool = False
    ) -> tuple[ApplyLine, ...]:
        """One line a model."""
        self._fail()
        self.asked.append(("apply", {"config": config, "actor": actor, "dry_run": dry_run}))
        return tuple(
            ApplyLine(sentence=f"{m.name}: nothing to do", model=m.name, action="none")
            for m in config.models
        )

    async def add_version(
        self, model: str, version: Version, *, actor: str = "api"
    ) -> tuple[ApplyLine, ...]:
        """One line."""
        self._fail()
        self.asked.append(("add_version", {"model": model, "version": version, "actor": actor}))
        return (ApplyLine(sentence=f"{version.name} is added", model=model, action="add_version"),)

    async def events(self) -> AsyncIterator[DecisionView]:
        """Every Decision as it is made."""
        queue: asyncio.Queue[DecisionView | None] = asyncio.Queue(1000)
        self._followers.add(queue)
        try:
            while (decision := await queue.get()) is not None:
                yield decision
        finally:
            self._followers.discard(queue)

    # for tests
    def change(self, rollout_id: str, action: str = "advance", **fields: Any) -> DecisionView:
        """Replace fields of a rollout and tell it as a Decision."""
        rollout = self.by_id[rollout_id]
        changed = msgspec.structs.replace(rollout, **fields)
        return self._keep(changed, action, rollout.state, "redpoll", None)

    def _keep(
        self, rollout: RolloutView, action: str, before: str | None, actor: str, reason: str | None
    ) -> DecisionView:
        self.by_id[rollout.id] = rollout = msgspec.structs.replace(
            rollout, generation=self.models[rollout.model].generation + 1
        )
        view = self.models[rollout.model]
        running = rollout.state in ("running", "paused", "pending")
        self.models[rollout.model] = msgspec.structs.replace(
            view,
            rollout=rollout,
            generation=rollout.generation,
            sentence=rollout.sentence,
            weight=rollout.weight if running else 0.0,
            candidate=rollout.version if running else None,
            needs="",
            live=rollout.version if rollout.state == "promoted" else view.live,
        )
        decision = night.decision(
            self.now_us,
            rollout.model,
            rollout.id,
            action,
            rollout.sentence,
            actor=actor,
            reason=reason,
            before=before,
            after=rollout.state,
            number=len(self.log),
            evidence={"step": rollout.step, "weight": rollout.weight},
        )
        self.log.append(decision)
        for follower in self._followers:
            follower.put_nowait(decision)
        return decision

    def _changing(self, model: str, generation: int | None, call: str, **fields: Any) -> ModelView:
        view = self.model(model)
        if generation is not None and generation != view.generation:
            raise RedpollError(
                "RP-401",
                f"Nothing was done: {model} is on route generation "
                f"{view.generation}, the page was on {generation}. {view.sentence}",
            )
        self.asked.append((call, fields))
        return view

    def _fail(self) -> None:
        error, self.error = self.error, None
        if error:
            raise error


def _reasoned(reason: str) -> None:
    if len(reason.strip()) < 3:
        raise RedpollError(
            "RP-403",
            "Nothing was done: a reason of at least three characters is "
            "wanted; it is kept with the decision.",
        )
