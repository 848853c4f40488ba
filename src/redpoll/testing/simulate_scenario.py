"""Traffic as a scenario describes it: what is allowed in the file, and its segments.

Positions are candidate requests. Within a segment the weight and the rates' upper bounds are fixed,
so that events can be drawn exactly, by thinning, from one bad request to the next.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from redpoll.errors import RedpollError, closest
from redpoll.rollout.evidence_records import GateSpec

Floats = NDArray[np.float64]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: an object of the file; unknown keys are errors."""


class Rate(_Part, frozen=True):
    """The stable's bad requests, as a share."""

    rate: float = 0.0


class CandidateRate(_Part, frozen=True):
    """The candidate's from a position on; before, it is as good and as fast as the stable."""

    rate: float | None = None
    from_: float = msgspec.field(name="from", default=0.0)


class Both(_Part, frozen=True):
    """A shared incident: both arms have this rate from a position until another."""

    rate: float
    from_: float = msgspec.field(name="from", default=0.0)
    until: float = float("inf")


class Wave(_Part, frozen=True):
    """Both rates go up and down: ``1 + amplitude * sin(2 pi position / period)`` times."""

    amplitude: float
    period: float


class Users(_Part, frozen=True):
    """Returning users, each with its own rate, Beta of this mean and sd."""

    count: int
    requests: int
    mean: float
    sd: float
    ratio: float = 1.0
    extra: float = 0.0
    since: float = 0.0  # share of all requests


class Latency(_Part, frozen=True):
    """Lognormal; the candidate ``factor`` times as slow, a share of it ``tail_factor`` times."""

    sd: float = 0.5
    factor: float = 1.0
    tail_share: float = 0.0
    tail_factor: float = 1.0


class Reporting(_Part, frozen=True):
    """Buckets of 100 ms at this rate; the stable's failures show later than they arrive."""

    requests_per_second: float
    stable_failures_late_s: float = 0.0


class GatePart(_Part, frozen=True):
    """The gate under test."""

    metric: str = "error_rate"
    margin: float = 0.0
    margin_ratio: float | None = None


class Scenario(_Part, frozen=True):
    """A whole file. ``plan``: weight and candidate requests of each step (users: share of all)."""

    plan: tuple[tuple[float, float], ...]
    alpha: float = 0.05
    gate: GatePart = GatePart()
    stable: Rate = Rate()
    candidate: CandidateRate = CandidateRate()
    both: Both | None = None
    wave: Wave | None = None
    users: Users | None = None
    latency: Latency = Latency()
    reporting: Reporting | None = None

    @property
    def spec(self) -> GateSpec:
        """The gate as live code knows it."""
        return GateSpec(
            metric=self.gate.metric,
            alpha=self.alpha,
            margin=self.gate.margin,
            margin_ratio=self.gate.margin_ratio,
        )

    def wave_at(self, position: NDArray[Any]) -> Floats | float:
        """The factor of both rates at a position."""
        if self.wave is None:
            return 1.0
        return 1.0 + self.wave.amplitude * np.sin(2.0 * np.pi * position / self.wave.period)


def _wrong(what: str, why: str, do: str) -> RedpollError:
    return RedpollError("RP-001", f"{what}; {why}; {do}.")


def parse(raw: dict[str, Any] | str | bytes) -> Scenario:
    """A scenario from JSON text or an object; RP-001 with what is wrong and what to write.

    >>> parse('{"plan": [[0.1, 1000]], "stable": {"rate": 0.01}}').plan
    ((0.1, 1000.0),)
    """
    try:
        found = json.loads(raw) if isinstance(raw, str | bytes) else raw
    except ValueError as error:
        raise _wrong("The scenario is no JSON", str(error), "mend the file") from None
    if isinstance(found, dict):
        if "slices" in found:
            raise _wrong("`slices` is not built yet", "gates have no slices", "leave it out")
        unknown = sorted(set(found) - set(Scenario.__struct_fields__))
        if unknown:
            known = Scenario.__struct_fields__
            hint = closest(unknown[0], known)
            raise _wrong(
                f"A scenario has no {unknown[0]!r}",
                f"it has {', '.join(known)}",
                f"rename it{hint}",
            )
    try:
        scenario = msgspec.convert(found, Scenario, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong("The scenario cannot be read", str(error), "mend that value") from None
    _check(scenario)
    return scenario


def _check(scenario: Scenario) -> None:
    if not scenario.plan:
        raise _wrong("The plan is empty", "nothing would run", "write [[weight, requests], …]")
    for weight, amount in scenario.plan:
        if not 0.0 < weight < 1.0 or not amount > 0.0:
            raise _wrong(
                f"[{weight}, {amount}] is no step",
                "both arms need requests",
                "write a weight between 0 and 1 and a positive amount",
            )
    if not 0.0 < scenario.alpha < 1.0:
        raise _wrong(f"alpha is {scenario.alpha}", "it is a chance", "write one between 0 and 1")
    rates = [scenario.stable.rate, scenario.candidate.rate or 0.0]
    rates += [scenario.both.rate] if scenario.both else []
    if any(not 0.0 <= rate <= 1.0 for rate in rates):
        raise _wrong(f"A rate of {max(rates)}", "rates are shares", "write one between 0 and 1")
    if scenario.gate.metric not in ("error_rate", "latency"):
        hint = closest(scenario.gate.metric, ("error_rate", "latency"))
        raise _wrong(
            f"The metric {scenario.gate.metric!r} is not built yet",
            "error_rate and latency are",
            f"write one of them{hint}",
        )
    if scenario.users and (scenario.gate.metric == "latency" or scenario.reporting):
        raise _wrong(
            "`users` with latency or reporting is not built yet",
            "it is for error_rate",
            "leave one out",
        )
    if scenario.users and scenario.users.sd**2 >= scenario.users.mean * (1 - scenario.users.mean):
        raise _wrong(
            f"users.sd is {scenario.users.sd}",
            "no Beta distribution of that mean is so wide",
            "write a smaller one",
        )
    if scenario.wave and not 0.0 <= scenario.wave.amplitude <= 1.0:
        raise _wrong(
            f"wave.amplitude is {scenario.wave.amplitude}", "rates stay above 0", "write 0 to 1"
        )


class Segments:
    """A plan cut where anything changes. Arrays [segments]; ``end`` in candidate requests."""

    def __init__(self, scenario: Scenario) -> None:
        steps = np.cumsum([amount for _, amount in scenario.plan])
        cuts = {float(end) for end in steps} | {scenario.candidate.from_}
        if scenario.both:
            cuts |= {scenario.both.from_, scenario.both.until}
        ends = sorted(cut for cut in cuts if 0.0 < cut <= steps[-1])
        begins = np.array([0.0, *ends[:-1]])
        self.end: Floats = np.array(ends)
        self.step = np.searchsorted(steps, begins, side="right")
        self.weight: Floats = np.array([scenario.plan[i][0] for i in self.step])
        stable = np.full(len(ends), scenario.stable.rate)
        changed = scenario.candidate.rate
        candidate = np.where(
            begins >= scenario.candidate.from_, stable if changed is None else changed, stable
        )
        self.regressed = begins >= scenario.candidate.from_
        if scenario.both:
            inside = (begins >= scenario.both.from_) & (begins < scenario.both.until)
            stable = np.where(inside, scenario.both.rate, stable)
            candidate = np.where(inside, scenario.both.rate, candidate)
        self.rates: Floats = np.stack([stable, candidate])  # [arms, segments], before the wave
        high = 1.0 + (scenario.wave.amplitude if scenario.wave else 0.0)
        self.bounds: Floats = np.minimum(self.rates * high, 1.0)
