"""A model's versions come and go: one is added, one is retired. Half of :class:`Control`.

A retired version takes no requests and no rollout, and no worker of it is kept warm; pages, routes
and commands no longer offer it. Its name stays taken and its files stay in ``artifacts``: what it
answered can always be looked into, and adding the same again brings it back.
"""

from __future__ import annotations

import asyncio
import json

from msgspec.structs import replace

from redpoll.catalog import Version
from redpoll.clock import iso
from redpoll.control import applying, asking
from redpoll.control.engine import Engine
from redpoll.errors import RedpollError
from redpoll.facts import Decision
from redpoll.rollout.commands import known_version, needs_reason, within_window
from redpoll.rollout.machine_state import Decide, ModelState
from redpoll.views import ApplyLine


class Versions:
    """What faces may ask about a model's versions. Each returns when it is on disk and published."""

    engine: Engine

    async def add_version(
        self, model: str, version: Version, *, actor: str = "api"
    ) -> tuple[ApplyLine, ...]:
        """Add a version (see ``config.version_from``); a rollout to it is another call."""
        kept = await asyncio.to_thread(applying.keep, self.engine, version)
        return applying.add_version(self.engine, model, kept, actor)

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
        """Retire a version that nothing needs; ``now``: also one that a rollback would go back to.

        RP-402 where it is live, in a rollout, or retired already; RP-103 where there is none.
        """
        engine = self.engine
        _, one = asking.model(engine, model)
        state = asking.current(engine, model, generation)
        needs_reason(reason)
        before = engine.store.read()
        stored = before.models[model]
        known_version(model, version, [each.name for each in stored.model.versions])
        if version in stored.gone:
            raise RedpollError("RP-402", f"{model} {version} is retired already.")
        why = needed(state, version, one.rollout.rollback_window_s, engine.now_us(), now)
        if why:
            raise RedpollError("RP-402", f"{model} {version} cannot be retired: {why}.")
        said = f"{version} was retired by {actor}: {(reason or '').strip()}"
        gone = {**stored.gone, version: said}
        after = replace(before, models={**before.models, model: replace(stored, gone=gone)})
        what = f"{version} is retired; its name stays taken and its files are kept"
        line = ApplyLine(sentence=f"{model}: {what}", model=model, action="retire")
        applying.write(engine, before, after, actor, "retire_version")
        decision = Decision(
            decision_id="",
            subject_kind="catalog",
            subject_id=model,
            action="retire_version",
            actor=actor,
            reason=(reason or "").strip(),
            sentence=said,
            evidence=json.dumps({"at_us": engine.now_us(), "version": version}),
        )
        engine.perform((Decide(model=model, decision=decision),))
        return (line,)


def needed(state: ModelState, version: str, window_s: float, now_us: int, now: bool) -> str:
    """Why a version cannot be retired; empty where nothing needs it. Pure."""
    active = state.active
    if active is not None and version in (active.version, active.stable):
        return f"{active.id} ({active.state}) needs it; end the rollout first"
    if version == state.live:
        return "it is live; make another version live first"
    if not now and version in within_window(state, window_s, now_us):
        until_us = state.was_live[version] + int(window_s * 1e6)
        return (
            f"until {iso(until_us)[:16].replace('T', ' ')} UTC a rollback may go back to it "
            "(rollback_window); wait, or give that up with --now"
        )
    return ""
