"""What ``live`` in a file means, given its value in the last applied file and what serves now.

The cases, in order:

1. nothing is live yet: the version goes live with no rollout;
2. unchanged since the last applied file: nothing happens; where another version is live, or a
   rollout to it was rolled back, one line says what to write;
3. changed: to what is live or on its way already: noted; to the stable of the running rollout: an
   abort; to a version that was live within ``rollback_window``: switched back to at once; to any
   other: the rollout starts, and one that runs gives way.
"""

from __future__ import annotations

from redpoll.catalog import Model, Record
from redpoll.clock import iso
from redpoll.rollout.commands import within_window
from redpoll.rollout.figures import percent
from redpoll.rollout.machine_state import ModelState, RolloutState
from redpoll.views import ApplyLine

DAY_US = 86_400_000_000


class FirstLive(Record, frozen=True, kw_only=True, tag=True):
    """Make a model's first version live, with no rollout."""

    model: str
    version: str
    reason: str


class StartRollout(Record, frozen=True, kw_only=True, tag=True):
    """Start a rollout to a version under the model's plan; one that runs is superseded."""

    model: str
    version: str
    reason: str


class AbortRollout(Record, frozen=True, kw_only=True, tag=True):
    """End the rollout that runs; the stable serves everything."""

    model: str
    rollout_id: str
    reason: str


class SwitchBack(Record, frozen=True, kw_only=True, tag=True):
    """Make a recently live version live again, at once."""

    model: str
    version: str
    reason: str


Intent = FirstLive | StartRollout | AbortRollout | SwitchBack


class LiveChanges(Record, frozen=True, kw_only=True):
    """What follows from one model's ``live``."""

    lines: tuple[ApplyLine, ...] = ()
    intents: tuple[Intent, ...] = ()


def live_changes(
    model: Model, applied_live: str | None, state: ModelState, now_us: int
) -> LiveChanges:
    """The cases above. ``model.live`` is set: reading the file has seen to that."""
    wanted = model.live
    if wanted is None:
        return LiveChanges()
    if state.live is None:
        return _first(model, wanted)
    if wanted == applied_live:
        return _unchanged(model, wanted, state, now_us)
    return _changed(model, wanted, state, now_us)


def _first(model: Model, wanted: str) -> LiveChanges:
    return LiveChanges(
        lines=(_line(model, "live", f"{wanted} goes live; a first version needs no rollout"),),
        intents=(FirstLive(model=model.name, version=wanted, reason=_reason(wanted)),),
    )


def _unchanged(model: Model, wanted: str, state: ModelState, now_us: int) -> LiveChanges:
    active = state.active
    if active is not None and wanted in (active.version, active.stable):
        what = (
            f"{active.id} to {active.version} is {active.state}"
            + (f" at {percent(active.weight)}" if active.begun else "")
            + f'; the file\'s live = "{wanted}" changes nothing about it'
        )
        return LiveChanges(lines=(_line(model, "none", what),))
    if wanted == state.live:
        return LiveChanges()
    newest = state.rollout
    if newest is not None and newest.version == wanted and newest.state == "rolled_back":
        return LiveChanges(lines=(_rolled_back(model, wanted, state, newest, now_us),))
    how = _how(state, newest, now_us)
    sentence = f'the file says {wanted}; {how}: set live = "{state.live}"'
    if newest is not None and newest.version == wanted and newest.state == "aborted":
        sentence += f", or try it again with `redpoll rollout retry {model.name}`"
    return LiveChanges(lines=(_line(model, "differs", sentence),))


def _rolled_back(
    model: Model, wanted: str, state: ModelState, newest: RolloutState, now_us: int
) -> ApplyLine:
    when = _when(newest.since_us, now_us)
    sentence = (
        f"the file says {wanted}, which was rolled back {when} ({newest.sentence.rstrip('.')}); "
        f'set live = "{state.live}", or try it again with `redpoll rollout retry {model.name}`'
    )
    return _line(model, "differs", sentence, waits=True)


def _how(state: ModelState, newest: RolloutState | None, now_us: int) -> str:
    when = _when(state.since_us, now_us)
    if newest is not None and newest.version == state.live and newest.state == "promoted":
        return f"{state.live} was promoted {when}"
    if newest is not None and newest.state == "aborted":
        return f"{newest.id} to {newest.version} was aborted {_when(newest.since_us, now_us)}"
    return f"{state.live} is live since {when.removeprefix('at ').removeprefix('on ')}"


def _changed(model: Model, wanted: str, state: ModelState, now_us: int) -> LiveChanges:
    active, reason = state.active, _reason(wanted)
    if active is not None and wanted == active.stable:
        abort = AbortRollout(model=model.name, rollout_id=active.id, reason=reason)
        sentence = (
            f'live = "{wanted}" is the stable again: {active.id} to {active.version} is aborted'
        )
        return LiveChanges(lines=(_line(model, "abort", sentence),), intents=(abort,))
    if active is not None and wanted == active.version:
        sentence = f'live = "{wanted}": {active.id} is on its way there already'
        return LiveChanges(lines=(_line(model, "none", sentence),))
    if wanted == state.live:
        sentence = f'live = "{wanted}": it is live already'
        return LiveChanges(lines=(_line(model, "none", sentence),))
    if wanted in within_window(state, model.rollout.rollback_window_s, now_us):
        return _switch(model, wanted, state, now_us)
    start = StartRollout(model=model.name, version=wanted, reason=reason)
    steps = ", ".join(percent(step.weight) for step in model.rollout.steps)
    sentence = f'live = "{wanted}" starts a rollout beside {state.live}: {steps}, then everything'
    if active is not None:
        sentence += f"; {active.id} to {active.version} gives way"
    return LiveChanges(lines=(_line(model, "start", sentence),), intents=(start,))


def _switch(model: Model, wanted: str, state: ModelState, now_us: int) -> LiveChanges:
    active, reason = state.active, _reason(wanted)
    intents: list[Intent] = []
    sentence = (
        f'live = "{wanted}": it was live until {_clock(state.was_live[wanted], now_us)}, within '
        f"rollback_window, and takes everything over from {state.live} at once"
    )
    if active is not None:
        intents.append(AbortRollout(model=model.name, rollout_id=active.id, reason=reason))
        sentence += f"; {active.id} to {active.version} is aborted"
    intents.append(SwitchBack(model=model.name, version=wanted, reason=reason))
    return LiveChanges(lines=(_line(model, "rollback", sentence),), intents=tuple(intents))


def _line(model: Model, action: str, sentence: str, waits: bool = False) -> ApplyLine:
    return ApplyLine(
        sentence=f"{model.name}: {sentence}", model=model.name, action=action, waits=waits
    )


def _reason(wanted: str) -> str:
    return f'the file says live = "{wanted}"'


def _when(time_us: int, now_us: int) -> str:
    today = time_us // DAY_US == now_us // DAY_US
    return f"{'at' if today else 'on'} {_clock(time_us, now_us)}"


def _clock(time_us: int, now_us: int) -> str:
    """``14:02 UTC`` today, ``2026-11-23 14:02 UTC`` on another day."""
    written = iso(time_us)
    day = "" if time_us // DAY_US == now_us // DAY_US else f"{written[:10]} "
    return f"{day}{written[11:16]} UTC"
