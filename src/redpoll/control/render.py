"""From state, evidence and traffic to the records that pages, API and CLI show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from redpoll.catalog import Model, Version
from redpoll.control import causes, publish
from redpoll.control.engine import Engine
from redpoll.control.watch import Watch
from redpoll.rollout import sentences
from redpoll.rollout.commands import possible, within_window
from redpoll.rollout.evidence_records import ArmReading, Reading
from redpoll.rollout.figures import duration
from redpoll.rollout.machine import step_requests
from redpoll.rollout.machine_fold import plain
from redpoll.rollout.machine_state import ModelState, RolloutState
from redpoll.rollout.plan import weight_of
from redpoll.store.artifacts import fingerprint
from redpoll.views import ArmView, GateView, Left, ModelView, Overview, RolloutView, StepView

FAILING_REQUESTS = 20  # fewer say nothing of a minute
FAILING_SHARE = 0.5
OLD_S = 10.0  # evidence older than that is said on every page


def overview(engine: Engine) -> Overview:
    """All models, newest decisions, and what needs a person."""
    now_us = engine.clock.now_us()
    models = tuple(model_view(engine, model) for _, model in engine.models())
    needs = [model.needs for model in models if model.needs]
    alerts = [*needs, *_troubles(engine, now_us)]
    if not models:
        sentence = "There is no model yet; apply a redpoll.toml."
    elif len(needs) > 1:
        sentence = f"{len(needs)} models need you: {needs[0]}"
    elif alerts:
        sentence = alerts[0]
    else:
        sentence = "Nothing needs you."
    return Overview(
        models=models,
        sentence=sentence,
        as_of_us=engine.as_of_us,
        age_s=age_s(engine, now_us),
        facts_lost=engine.signals.facts_lost,
        alerts=tuple(alerts),
        decisions=tuple(reversed(list(engine.decisions)[-20:])),
    )


def _troubles(engine: Engine, now_us: int) -> list[str]:
    """What is wrong with redpoll itself."""
    found = []
    if engine.trouble:
        found.append(f"Control cannot go on: {engine.trouble}")
    if age_s(engine, now_us) > OLD_S:
        found.append(
            f"The newest evidence is {duration(age_s(engine, now_us))} old: a gateway stands still,"
            " or control cannot follow. Nothing is decided meanwhile."
        )
    if engine.signals.facts_lost:
        found.append(f"{engine.signals.facts_lost:,} facts could not be written to the journal.")
    return found


def age_s(engine: Engine, now_us: int) -> float:
    """How old what was folded is, seconds."""
    return round(max(0, now_us - engine.as_of_us) / 1e6, 3) if engine.as_of_us else 0.0


def model_view(engine: Engine, model: Model) -> ModelView:
    """A model's row on *Now*."""
    now_us, state = engine.clock.now_us(), engine.state(model.name)
    rollout, active = state.rollout, state.active
    shown = None if rollout is None else rollout_view(engine, state, rollout)
    total = engine.traffic.total(model.name, now_us)
    share, of = engine.traffic.of(model.name).unit_share(now_us)
    names = [name for name in (state.live, active.version if active else None) if name]
    return ModelView(
        name=model.name,
        live=state.live,
        candidate=active.version if active else None,
        weight=active.weight if active else 0.0,
        generation=state.generation,
        unit=model.unit,
        requests_per_second=total.requests_per_second,
        error_rate=total.bad / total.requests if total.requests else None,
        p95_ms=total.p95_ms,
        unit_share=share if of and model.unit != "request" else None,
        sentence=sentences.model_line(state, shown.sentence if shown else "", now_us),
        needs=sentences.needs(state)
        or _down(engine, model, state)
        or _failing(model, state, total)
        or _unspoken(engine, model),
        rollout=shown,
        arms=engine.traffic.view(model.name, names, now_us),
        versions=version_rows(engine, model),
        back=_back(model, state, now_us),
    )


def _back(model: Model, state: ModelState, now_us: int) -> tuple[Left, ...]:
    """What ``rollback`` would take: none while a rollout runs, whose abort it is then."""
    if state.active is not None:
        return ()
    kept = {one.name for one in model.versions}
    names = within_window(state, model.rollout.rollback_window_s, now_us)
    return tuple(Left(version=n, until_us=state.was_live[n]) for n in names if n in kept)


def _down(engine: Engine, model: Model, state: ModelState) -> str:
    """The live version does not answer: the one thing that cannot wait."""
    live = next((one for one in model.versions if one.name == state.live), None)
    health = engine.health.version(model.name, live) if live is not None else None
    if health is None or health.workers:
        return ""
    # A worker that cannot load is "starting" most of the time: what counts is that it crashed.
    if health.state not in ("backoff", "unreachable") and not health.restarts:
        return ""
    return f"{state.live}, which is live for {model.name}, does not answer: {health.detail}."


def _failing(model: Model, state: ModelState, minute: ArmView) -> str:
    """Most of what the model was asked in the last minute failed, whichever version answered."""
    if minute.requests < FAILING_REQUESTS or minute.bad < FAILING_SHARE * minute.requests:
        return ""
    how = ", ".join(f"{n:,} {name}" for name, n in minute.by_status.items() if name != "ok")
    return (
        f"{minute.bad:,} of {minute.requests:,} requests to {model.name} failed in the last minute"
        f" ({how}); {state.live} is live."
    )


def _unspoken(engine: Engine, model: Model) -> str:
    """What the file declares anew cannot be taken up, because no worker can load with it."""
    route = engine.publisher.current.routes.get(model.name)
    if route is None or route.coming is None:
        return ""
    found = publish.sockets(route.coming_targets)
    why = engine.health.trouble(socket for sockets in found.values() for socket in sockets)
    if not why:
        return ""
    return (
        f"What the file declares anew for {model.name} (inputs, output or tensor) is not in force:"
        f" {why}. Requests go on as before."
    )


def version_rows(engine: Engine, model: Model) -> tuple[dict[str, Any], ...]:
    """The model's versions with what they are and how they do."""
    return tuple(_version_row(engine, model, version) for version in model.versions)


def gone_rows(engine: Engine, model: str) -> tuple[dict[str, Any], ...]:
    """The model's retired versions, in the form of the others."""
    stored = engine.catalog.models[model]
    return tuple(
        {
            "name": version.name,
            "backend": version.backend,
            "state": "retired",
            "detail": stored.gone[version.name],
            "part": "retired",
            "fingerprint": fingerprint(version),
            "workers": 0,
            "restarts": 0,
        }
        for version in stored.model.versions
        if version.name in stored.gone
    )


def _version_row(engine: Engine, model: Model, version: Version) -> dict[str, Any]:
    state, now_us = engine.state(model.name), engine.clock.now_us()
    active = state.active
    health = engine.health.version(model.name, version)
    part = "idle"
    if version.name == state.live:
        part = "live"
    elif active is not None and version.name == active.version:
        part = "candidate"
    elif state.warm.get(version.name, 0) > now_us:
        part = "warm"
    return {
        "name": version.name,
        "backend": version.backend,
        "state": health.state if part != "idle" or version.kind == "http" else "stopped",
        "detail": health.detail if part != "idle" else "",
        "part": part,
        "fingerprint": engine.deploys.fingerprint(model.name, version.name) or fingerprint(version),
        "workers": health.workers,
        "restarts": health.restarts,
    }


def rollout_view(engine: Engine, state: ModelState, rollout: RolloutState) -> RolloutView:
    """A rollout, whole."""
    now_us = engine.clock.now_us()
    watch = engine.watch_of(rollout)
    reading = watch.reading if watch is not None else None
    health = engine.health_of(rollout)
    as_of = reading.last_closed_us if reading is not None and rollout.active else engine.as_of_us
    newest = state.rollout is not None and state.rollout.id == rollout.id
    return RolloutView(
        id=rollout.id,
        model=rollout.model,
        version=rollout.version,
        stable=rollout.stable,
        strategy=rollout.plan.strategy,
        state=rollout.state,
        step=rollout.step,
        weight=rollout.weight,
        sentence=sentences.now(rollout, reading),
        next_sentence=sentences.next_step(
            rollout, reading, health, now_us, _lately(engine, rollout, watch, now_us)
        ),
        gates=_gates(rollout, reading),
        steps=_steps(rollout, reading),
        arms=_arms(engine, rollout, reading, now_us),
        started_us=rollout.started_us,
        since_us=rollout.since_us,
        as_of_us=as_of,
        age_s=round(max(0, now_us - as_of) / 1e6, 3) if as_of else 0.0,
        generation=state.generation,
        salt_epoch=rollout.epoch,
        plan=msgspec.to_builtins(rollout.plan),
        spec_digest=rollout.spec_digest,
        false_alarm=sentences.false_alarm(rollout),
        actions=possible(state, now_us) if newest else (),
        shared_causes=causes.sentences(rollout, watch, engine.deploys),
        gateways=_gateways(engine, state),
        observed_share=_share(watch),
        observed_requests=watch.share[0] if watch is not None else 0,
    )


def _lately(
    engine: Engine, rollout: RolloutState, watch: Watch | None, now_us: int
) -> sentences.Lately:
    rate = engine.traffic.total(rollout.model, now_us).requests_per_second
    return sentences.Lately(
        requests_per_second=rate * rollout.weight or None,
        last_us=watch.last_candidate_us if watch is not None else None,
    )


def _gateways(engine: Engine, state: ModelState) -> dict[str, int]:
    """Each gateway's generation of this model's route; -1 where its table is not one of ours."""
    found: dict[str, int] = {}
    for process, table in engine.signals.generations.items():
        mine = engine.publisher.model_generation(table, state.name)
        found[process] = -1 if mine is None else mine
    return found


def _share(watch: Watch | None) -> float | None:
    if watch is None or not watch.share[0]:
        return None
    return watch.share[1] / watch.share[0]


def _gates(rollout: RolloutState, reading: Reading | None) -> tuple[GateView, ...]:
    decided = rollout.last.get("last_closed_us")
    if reading is None or (not rollout.active and decided not in (None, reading.last_closed_us)):
        return tuple(
            GateView(
                metric=str(gate["metric"]),
                kind="guardrail",
                answer=str(gate["answer"]),
                evidence=float(gate["evidence"]),
                limit=float(gate["limit"]),
                sentence=str(gate["sentence"]),
            )
            for gate in rollout.last.get("gates", [])
        )
    return tuple(
        GateView(
            metric=gate.metric,
            kind=gate.kind,
            answer=gate.answer,
            evidence=plain(gate.log_evidence),
            limit=plain(gate.log_limit),
            sentence=gate.sentence,
            slice=gate.slice,
            pass_evidence=gate.pass_evidence,
            pass_limit=gate.pass_limit,
        )
        for gate in reading.gates
    )


def _steps(rollout: RolloutState, reading: Reading | None) -> tuple[StepView, ...]:
    found: list[StepView] = []
    ended = rollout.ended_us is not None
    for index, step in enumerate(rollout.plan.steps):
        here = rollout.begun and index == rollout.step
        now = here and not ended
        done = index < rollout.step or rollout.state == "promoted" or (here and ended)
        weight = weight_of(rollout.plan, index)
        counted = reading.by_weight.get(weight, 0) if reading is not None and done else 0
        found.append(
            StepView(
                weight=weight,
                pause_s=step.pause_s,
                state="now" if now else "done" if done else "next",
                since_us=rollout.step_since_us if now else None,
                requests=step_requests(rollout, reading) if now else counted,
            )
        )
    return tuple(found)


def _arms(
    engine: Engine, rollout: RolloutState, reading: Reading | None, now_us: int
) -> tuple[ArmView, ...]:
    names = [rollout.stable, rollout.version]
    lately = engine.traffic.view(rollout.model, names, now_us)
    if reading is None:
        return tuple(
            ArmView(version=one.version, requests_per_second=one.requests_per_second)
            for one in lately
        )
    return _merged((reading.stable, reading.candidate), lately)


def _merged(arms: Sequence[ArmReading], lately: Sequence[ArmView]) -> tuple[ArmView, ...]:
    return tuple(
        ArmView(
            version=arm.version,
            requests=arm.requests,
            bad=arm.bad,
            by_status=arm.by_status,
            p50_ms=None if arm.p50_us is None else round(arm.p50_us / 1000, 3),
            p95_ms=None if arm.p95_us is None else round(arm.p95_us / 1000, 3),
            requests_per_second=one.requests_per_second,
        )
        for arm, one in zip(arms, lately, strict=True)
    )
