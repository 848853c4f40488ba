"""What is asked of control, looked up and made ready for the pure commands."""

from __future__ import annotations

from collections.abc import Sequence

from redpoll.catalog import Model, Plan
from redpoll.control.engine import Engine
from redpoll.errors import RedpollError, closest
from redpoll.rollout.commands import Asked, Start
from redpoll.rollout.evidence_records import gate_specs
from redpoll.rollout.machine_state import ModelState, RolloutState
from redpoll.rollout.plan import length
from redpoll.stats.latency import ENOUGH, LatencyReference

UNIT_SHARE_MIN = 0.9
UNIT_SHARE_OF = 50  # requests it takes to say how many carry the unit


def model(engine: Engine, name: str) -> tuple[int, Model]:
    """A model's number and record; RP-102 where there is none of that name."""
    known = {one.name: (number, one) for number, one in engine.models()}
    if name not in known:
        near = closest(name, known)
        raise RedpollError(
            "RP-102", f"There is no model {name!r}; it is in no file that was applied.{near}"
        )
    return known[name]


def rollout(engine: Engine, name: str) -> tuple[ModelState, RolloutState]:
    """A rollout by its id, or a model's newest; RP-400 where there is none."""
    states = engine.states
    found = (states[name].rollout if name in states else None) or _by_id(engine, name)
    if found is not None:
        return states[found.model], found
    if name in {one.name for _, one in engine.models()}:
        raise RedpollError(
            "RP-400", f"{name} has had no rollout yet; `redpoll rollout start {name}` begins one."
        )
    near = closest(name, [*_newest(engine), *states])
    raise RedpollError("RP-400", f"There is no rollout {name!r}.{near}")


def known(engine: Engine, name: str) -> None:
    """RP-400 where ``name`` is neither a model nor a rollout: nothing was decided about it, ever."""
    models = {one.name for _, one in engine.models()} | set(engine.states)
    if name not in models and _by_id(engine, name) is None:
        near = closest(name, [*models, *_newest(engine)])
        raise RedpollError(
            "RP-400",
            f"There is no model and no rollout {name!r}; there are"
            f" {', '.join(sorted(models)) or 'no models yet'}.{near}",
        )


def _by_id(engine: Engine, rollout_id: str) -> RolloutState | None:
    """A rollout among those remembered: its id begins with its model's name."""
    state = engine.states.get(rollout_id.rpartition("-")[0])
    return None if state is None else state.find(rollout_id)


def _newest(engine: Engine) -> list[str]:
    """The id of each model's newest rollout."""
    return [one.rollout.id for one in engine.states.values() if one.rollout]


def current(engine: Engine, name: str, generation: int | None) -> ModelState:
    """A model's state; RP-401 where it is not of the generation that the asker saw."""
    state = engine.state(name)
    if generation is None or generation == state.generation:
        return state
    what = next((d.sentence for d in reversed(engine.decisions) if d.model == name), "")
    raise RedpollError(
        "RP-401",
        f"{name} changed since that page was made (generation {generation}, now"
        f" {state.generation}): {what} Nothing was done; look again, then repeat it if it is still"
        " wanted.",
    )


def asked(engine: Engine, actor: str, reason: str | None, name: str, full: bool = False) -> Asked:
    """Who asks and why, with what is known now."""
    watch = engine.watches.get(name)
    return Asked(
        actor=actor,
        reason=reason.strip() if reason else None,
        now_us=engine.now_us(),
        salt=engine.salt(),
        full=full,
        reading=watch.reading if watch is not None and not watch.over else None,
    )


def spec(engine: Engine, one: Model, version: str, plan: Plan | None) -> Start:
    """What a rollout starts with now.

    RP-402 where too few requests carry the unit, or the version was retired.
    """
    stored = engine.catalog.models.get(one.name)
    if stored is not None and version in stored.gone:
        raise RedpollError(
            "RP-402",
            f"{stored.gone[version]}; `redpoll version add {one.name} {version} BACKEND` with the "
            "same backend brings it back.",
        )
    _units(engine, one)
    now_us, wanted = engine.clock.now_us(), plan or one.rollout
    traffic = engine.traffic.of(one.name)
    live = engine.state(one.name).live
    seen = traffic.latencies(live)
    return Start(
        version=version,
        plan=wanted,
        salt=engine.salt(),
        unit=one.unit,
        plan_from="catalog" if plan is None else "given",
        length=length(wanted, traffic.rate(now_us)),
        latency_reference=_reference(seen, wanted),
        cursors=dict(engine.follower.cursors),
    )


def _reference(seen: Sequence[int], plan: Plan) -> LatencyReference | None:
    """The stable's last requests; None (its first ones are taken) where fewer than 500 are known.

    With a margin for errors only time-outs and lost requests count as slow, as in the gate.
    """
    gates = gate_specs(plan)
    margin = any(gate.metric == "error_rate" and gate.has_margin for gate in gates)
    usable = [latency for latency in seen if latency >= 0]
    unusable = sum(latency == -1 or (latency == -2 and not margin) for latency in seen)
    if not usable or len(usable) + unusable < ENOUGH:
        return None
    return LatencyReference.from_latencies(usable, unusable)


def _units(engine: Engine, one: Model) -> None:
    if one.unit == "request":
        return
    share, of = engine.traffic.of(one.name).unit_share(engine.clock.now_us())
    if share is not None and of >= UNIT_SHARE_OF and share < UNIT_SHARE_MIN:
        raise RedpollError(
            "RP-402",
            f"Only {share:.0%} of the last {of:,} requests carried a {one.unit}"
            f" ({one.unit_from or 'unit_from is not set'}), and a rollout by {one.unit}"
            f' wants 90%; send it, or set unit = "request" for {one.name}.',
        )
