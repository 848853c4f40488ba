"""What is, and what happens next, in sentences that a person can read at three in the morning.

The state says what was decided; the evidence says what is known. Neither is guessed: where no
evidence comes in, the sentence says that.
"""

from __future__ import annotations

from redpoll.catalog import Record
from redpoll.rollout.evidence_records import Reading
from redpoll.rollout.figures import duration, percent
from redpoll.rollout.machine import LOAD_GRACE_S, failing, seen, step_requests
from redpoll.rollout.machine_state import (
    CHANGED,
    GATE,
    LOST,
    RESTARTS,
    SPLIT,
    STEP,
    Health,
    ModelState,
    RolloutState,
)
from redpoll.rollout.plan import weight_of

SILENT_S = 30.0  # this long without a candidate request, and the sentence says so


class Lately(Record, frozen=True, kw_only=True):
    """What the candidate's arm got lately: requests/s (None: unknown), its newest arrival (µs)."""

    requests_per_second: float | None = None
    last_us: int | None = None


def clock_words(time_us: int) -> str:
    """``03:04:09 UTC``."""
    seconds = time_us // 1_000_000 % 86400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d} UTC"


def now(rollout: RolloutState, reading: Reading | None) -> str:
    """What is. For a rollout that does not run, its newest Decision's sentence."""
    if rollout.state != "running":
        return rollout.sentence
    head = f"{rollout.version} at {percent(rollout.weight)}"
    if reading is None or not reading.candidate_requests:
        return f"{head}: no evidence yet."
    worst = failing(rollout, reading)
    if worst:
        return f"{head}: {worst[0].sentence}"
    passed = [gate for gate in reading.gates if gate.answer == "pass"]
    if len(passed) == len(reading.gates) and passed:
        return f"{head}: every gate passed over {reading.candidate_requests:,} requests."
    told = f"{seen(rollout, reading)} in {reading.candidate_requests:,} requests"
    if rollout.waived:
        told += f" beside the accepted {', '.join(rollout.waived)}"
    return f"{head}: {told}."


def next_step(
    rollout: RolloutState,
    reading: Reading | None,
    health: Health,
    now_us: int,
    lately: Lately,
) -> str:
    """What happens next and when."""
    if not rollout.active:
        return _after(rollout)
    if rollout.state == "paused":
        return _paused(rollout)
    if not rollout.begun:
        waits_from_us = max(rollout.load_from_us, health.since_us)
        left = (waits_from_us - now_us) / 1e6 + health.load_s + LOAD_GRACE_S
        why = f" ({health.detail})" if health.detail else ""
        return (
            f"Waits until {rollout.version} is ready{why}; gives up in {duration(max(0.0, left))}."
        )
    return _running(rollout, reading, now_us, lately)


def _after(rollout: RolloutState) -> str:
    if rollout.state == "promoted":
        return f"{rollout.version} serves everything; rollback returns to {rollout.stable}."
    if rollout.state == "superseded":
        return "A newer rollout took its place."
    return f"{rollout.stable} serves everything; retry starts {rollout.version} once more."


def _paused(rollout: RolloutState) -> str:
    what = {
        STEP: "Waits for a person: promote goes on with the plan.",
        GATE: "Waits for a person: abort, or resume to accept the failed gate.",
        SPLIT: "Waits for a person: find out why the split is off, then resume or abort.",
        CHANGED: "Waits for a person: resume starts the plan anew with the changed version.",
        RESTARTS: "Waits for a person: see the worker's stderr, then resume or abort.",
        LOST: "Goes on by itself once the journal has taken all facts for 10 seconds.",
    }.get(rollout.cause or "", "Waits for a person: resume goes on.")
    watched = rollout.begun and rollout.cause not in (GATE, SPLIT, CHANGED)
    if watched and rollout.plan.on_fail == "rollback":
        what += " The gates stay on watch: one that fails still rolls back."
    return what


def _running(rollout: RolloutState, reading: Reading | None, now_us: int, lately: Lately) -> str:
    plan, done = rollout.plan, step_requests(rollout, reading)
    last = rollout.step + 1 >= len(plan.steps)
    goal = "100%" if last else percent(weight_of(plan, rollout.step + 1))
    pause_s = plan.steps[rollout.step].pause_s
    if pause_s is None:
        goal = "a person's word"
    missing = plan.min_requests - done
    waits: list[str] = []
    if missing > 0:
        rate = lately.requests_per_second
        guess = f", about {duration(missing / rate)}" if rate else ""
        waits.append(f"{missing:,} more requests to {rollout.version}{guess}")
    closed_us = reading.last_closed_us if reading is not None else rollout.step_since_us
    pause_until = rollout.step_since_us + int((pause_s or 0.0) * 1e6)
    if closed_us < pause_until:
        waits.append(f"the pause until {clock_words(pause_until)}")
    if plan.advance_on == "pass" and reading is not None:
        open_gates = [gate.metric for gate in reading.gates if gate.answer != "pass"]
        if open_gates:
            waits.append(f"a pass of {', '.join(open_gates)}")
    text = f"Next: {goal}" + (f", after {' and '.join(waits)}." if waits else ", at once.")
    quiet = standstill(reading, now_us) or (silence(rollout, lately, now_us) if missing > 0 else "")
    return f"{text} {quiet}" if quiet else text


def standstill(reading: Reading | None, now_us: int) -> str:
    """Why nothing new is counted although time passes; the empty string where it is."""
    if reading is None or not reading.last_closed_us:
        return ""
    if (now_us - reading.last_closed_us) / 1e6 < SILENT_S:
        return ""
    why = "a gateway is silent"
    if reading.open_requests:
        some = reading.open_requests
        why = f"{some:,} {'request waits for its' if some == 1 else 'requests wait for an'} answer"
    upto = clock_words(reading.last_closed_us)
    return f"Nothing after {upto} is counted yet: {why}. Nothing is decided meanwhile."


def silence(rollout: RolloutState, lately: Lately, now_us: int) -> str:
    """``No request …`` where none came for a while, else the empty string."""
    quiet_s = (now_us - max(rollout.step_since_us, lately.last_us or 0)) / 1e6
    if quiet_s < SILENT_S:
        return ""
    return (
        f"No request reached {rollout.version} for {duration(quiet_s)}: nothing is decided on"
        " silence."
    )


def needs(state: ModelState) -> str:
    """What a person must do for this model; empty: nothing."""
    rollout = state.rollout
    if state.live is None:
        return f"{state.name} has no live version; set `live` in the file and apply."
    if rollout is None or rollout.state != "paused":
        return ""
    return f"{rollout.id} waits for you: {rollout.sentence}"


def model_line(state: ModelState, rollout_sentence: str, now_us: int) -> str:
    """A model in one sentence, for *Now* and ``redpoll status``."""
    rollout = state.rollout
    if state.live is None:
        return "no live version"
    if rollout is None:
        return f"{state.live} serves everything."
    if rollout.active:
        return rollout_sentence
    moment = rollout.since_us
    day = "" if now_us - moment < 86_400_000_000 else f", {duration((now_us - moment) / 1e6)} ago"
    return f"{clock_words(moment)}{day}: {rollout.sentence}"


def false_alarm(rollout: RolloutState) -> str:
    """The bound on a false rollback, in words."""
    alpha = rollout.plan.alpha
    one_in = 1 / alpha
    odds = (
        f"1 rollout of {one_in:.0f}"
        if abs(one_in - round(one_in)) < 0.05
        else (f"{alpha * 100:.3g} rollouts of 100")
    )
    return (
        f"A candidate that is no worse than its margins is rolled back in at most {odds}, over all"
        " gates and however long it runs. What this cannot tell apart: a bad version from its bad"
        " host or cache."
    )
