"""What else could be behind a difference between the arms, in sentences for whoever looks."""

from __future__ import annotations

import math

from redpoll.control.deploys import Deploys
from redpoll.control.watch import Watch
from redpoll.rollout.evidence_records import Reading
from redpoll.rollout.machine import ill
from redpoll.rollout.machine_state import RolloutState

ENOUGH = 100  # requests of the stable on each side before its rise can be spoken of
ROSE = 2.0  # times the rate before
NOISE = 3.0  # standard errors that a rise must exceed: some 1 in 1,000 looks by chance


def sentences(rollout: RolloutState, watch: Watch | None, deploys: Deploys) -> tuple[str, ...]:
    """Both arms, restarts, and the arms' counts; the empty tuple where nothing is known."""
    if watch is None or watch.reading is None or not watch.reading.requests:
        return ()
    found = [_both(watch.reading, watch.before), _restarts(rollout, deploys)]
    found.append(watch.reading.split_sentence or _counts(watch.reading, rollout))
    return tuple(sentence for sentence in found if sentence)


def _both(reading: Reading, before: tuple[int, int]) -> str:
    stable, candidate, (earlier, earlier_bad) = reading.stable, reading.candidate, before
    if ill(stable) and ill(candidate):
        told = " and ".join(
            f"{arm.version} failed {arm.bad:,} of {arm.requests:,}" for arm in (stable, candidate)
        )
        return f"Both arms: {told}. What they share (host, data, callers) may be ill."
    if stable.requests < ENOUGH or earlier < ENOUGH:
        return ""
    now, was = stable.bad / stable.requests, earlier_bad / earlier
    told = (
        f"{stable.version} failed {_share(now)} of {stable.requests:,} requests since the start,"
        f" {_share(was)} of {earlier:,} in the hour before"
    )
    pooled = (stable.bad + earlier_bad) / (stable.requests + earlier)
    error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / stable.requests + 1.0 / earlier))
    if stable.bad >= 5 and now > ROSE * was and now - was > NOISE * error:
        return f"Both arms: {told}. What they share (host, data, callers) may be ill."
    return f"Not both arms: {told}."


def _restarts(rollout: RolloutState, deploys: Deploys) -> str:
    counts = [
        (version, deploys.crashes(rollout.model, version, rollout.started_us, rollout.ended_us))
        for version in (rollout.version, rollout.stable)
    ]
    span = "since the start" if rollout.ended_us is None else "from its start to its end"
    if not any(count for _, count in counts):
        return f"No worker of either version crashed {span}."
    told = ", ".join(f"of {version} {_times(count)}" for version, count in counts)
    return f"Crashes of workers {span}: {told}."


def _counts(reading: Reading, rollout: RolloutState) -> str:
    share = reading.candidate_requests / reading.requests
    return (
        f"{rollout.version} got {reading.candidate_requests:,} of {reading.requests:,} requests,"
        f" {_share(share)}."
    )


def _share(fraction: float) -> str:
    return f"{fraction * 100:.2g}%" if fraction < 0.1 else f"{fraction * 100:.0f}%"


def _times(count: int) -> str:
    return "none" if count == 0 else "one" if count == 1 else f"{count}"
