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

from redpoll.catalog import Config, Plan, Version
from redpoll.errors import RedpollError, closest
from redpoll.testing import fake_night as night
from redpoll.testing.fake_reads import FakeReads
from redpoll.views import (
    ApplyLine,
    DecisionView,
    Left,
    ModelView,
    RolloutView,
)

GENERATION = 212


class FakeControl(FakeReads):
    """Holds the night's records; actions change them as a reader would expect."""

    def __init__(self) -> None:
        super().__init__()
        self._followers: set[asyncio.Queue[DecisionView | None]] = set()

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """End every ``events()``."""
        for follower in self._followers:
            follower.put_nowait(None)

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

    async def retire_version(
        self,
        model: str,
        version: str,
        *,
        reason: str | None,
        actor: str = "api",
        generation: int | None = None,
        now: bool = False,
    ) -> tuple[ApplyLine, ...]:
        """One line."""
        _reasoned(reason or "")
        asked = {"version": version, "reason": reason, "actor": actor, "now": now}
        self._changing(model, generation, "retire_version", **asked)
        return (ApplyLine(sentence=f"{version} is retired", model=model, action="retire"),)

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
            back=(Left(version=rollout.stable, until_us=rollout.since_us),)
            if rollout.state == "promoted"
            else (),
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


def _reasoned(reason: str) -> None:
    if len(reason.strip()) < 3:
        raise RedpollError(
            "RP-403",
            "Nothing was done: a reason of at least three characters is "
            "wanted; it is kept with the decision.",
        )
