"""The rows of the design that concern errors, latency and sticky units, as scenarios.

``median``: what an independent check found (candidate requests, 10 % share, alpha 5 % on one gate).
A row without one is a null: nothing is worse than allowed, and false alarms stay within alpha.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

TEN = [[0.1, 100_000]]
RAMP = [[0.01, 1000], [0.05, 4000], [0.1, 10_000], [0.25, 20_000], [0.5, 40_000]]
USERS = {"count": 5000, "requests": 120_000, "mean": 0.012, "sd": 0.03}
USER_RAMP = [[0.02, 0.25], [0.1, 0.25], [0.5, 0.5]]
LATENCY = {"metric": "latency"}
TOLERANCE = 0.12  # a median of 1,000 runs is off by about 4 %


class Row(NamedTuple):
    """One scenario and what must come out."""

    name: str
    scenario: dict[str, Any]
    median: float | None = None  # None: a null
    since: float = 0.0  # where the regression begins; the median is counted from there


ROWS = (
    Row("errors 1% against 1%", {"plan": [[0.1, 50_000]], "stable": {"rate": 0.01}}),
    Row("errors 0.1% against 0.1%", {"plan": TEN, "stable": {"rate": 0.001}}),
    Row(
        "errors 1% to 2%",
        {"plan": TEN, "stable": {"rate": 0.01}, "candidate": {"rate": 0.02}},
        971,
    ),
    Row(
        "errors 1% to 1.5%",
        {"plan": TEN, "stable": {"rate": 0.01}, "candidate": {"rate": 0.015}},
        3814,
    ),
    Row(
        "errors 0.1% to 0.5%",
        {"plan": TEN, "stable": {"rate": 0.001}, "candidate": {"rate": 0.005}},
        995,
    ),
    Row(
        "errors 1% to 2% from 20,000 on",
        {"plan": TEN, "stable": {"rate": 0.01}, "candidate": {"rate": 0.02, "from": 20_000}},
        2700,
        20_000,
    ),
    Row(
        "a shared incident of 8% and a wave",
        {
            "plan": [[0.1, 30_000]],
            "stable": {"rate": 0.01},
            "both": {"rate": 0.08, "from": 12_000, "until": 15_000},
            "wave": {"amplitude": 0.6, "period": 9000},
        },
    ),
    Row(
        "a shared incident, the stable failing by time-out 8 s late",
        {
            "plan": [[0.1, 15_000]],
            "stable": {"rate": 0.01},
            "both": {"rate": 0.08, "from": 5000, "until": 8000},
            "reporting": {"requests_per_second": 400, "stable_failures_late_s": 8},
        },
    ),
    Row("a ramp 1-5-10-25-50%", {"plan": RAMP, "stable": {"rate": 0.01}}),
    Row(
        "a ramp 1-5-10-25-50%, errors 1% to 2%",
        {"plan": RAMP, "stable": {"rate": 0.01}, "candidate": {"rate": 0.02}},
        917,
    ),
    Row(
        "errors exactly at a margin of .5 points",
        {
            "plan": [[0.1, 20_000]],
            "gate": {"metric": "error_rate", "margin": 0.005},
            "stable": {"rate": 0.01},
            "candidate": {"rate": 0.015},
        },
    ),
    Row(
        "errors exactly at a ratio of 1.5",
        {
            "plan": [[0.1, 20_000]],
            "gate": {"metric": "error_rate", "margin_ratio": 1.5},
            "stable": {"rate": 0.01},
            "candidate": {"rate": 0.015},
        },
    ),
    Row("latency alike", {"plan": [[0.1, 2000]], "gate": LATENCY, "latency": {"sd": 0.5}}),
    Row(
        "latency alike, errors alike, a wave",
        {
            "plan": [[0.1, 1000]],
            "gate": LATENCY,
            "stable": {"rate": 0.05},
            "wave": {"amplitude": 1.0, "period": 300},
        },
    ),
    Row(
        "latency +10%",
        {"plan": [[0.1, 20_000]], "gate": LATENCY, "latency": {"sd": 0.5, "factor": 1.1}},
        205,
    ),
    Row(
        "latency: 2% take five times as long",
        {
            "plan": [[0.1, 20_000]],
            "gate": LATENCY,
            "latency": {"sd": 0.5, "tail_share": 0.02, "tail_factor": 5},
        },
        590,
    ),
    Row(
        "latency exactly at a ratio of 1.2",
        {
            "plan": [[0.1, 1000]],
            "gate": {"metric": "latency", "margin_ratio": 1.2},
            "latency": {"sd": 0.5, "factor": 1.2},
        },
    ),
    Row("sticky users, alike", {"plan": [[0.1, 1.0]], "users": USERS}),
    Row("sticky users, alike, a ramp", {"plan": USER_RAMP, "users": USERS}),
    Row(
        "sticky users, alike, a ramp, an incident and a wave",
        {
            "plan": USER_RAMP,
            "users": USERS,
            "both": {"rate": 0.08, "from": 3000, "until": 5000},
            "wave": {"amplitude": 0.6, "period": 2000},
        },
    ),
)


def chance_of(falses: int, runs: int, alpha: float) -> float:
    """The chance of at least so many false alarms in so many runs, if each has chance alpha."""
    logs = math.log(alpha), math.log1p(-alpha)
    below = (
        math.lgamma(runs + 1)
        - math.lgamma(k + 1)
        - math.lgamma(runs - k + 1)
        + k * logs[0]
        + (runs - k) * logs[1]
        for k in range(falses)
    )
    return 1.0 - math.fsum(math.exp(term) for term in below)


def verdict(row: Row, result: dict[str, Any]) -> tuple[str, list[str]]:
    """A line to print, and what is wrong with it."""
    wrong, alpha = [], row.scenario.get("alpha", 0.05)
    fail, passed, runs = result["fail"], result["pass"], result["runs"]
    if row.median is None:
        line = f"{row.name}: false {fail['share']:.1%}"
        for name, share in (("fail", fail["share"]), ("pass", passed["share"])):
            if chance_of(round(share * runs), runs, alpha) < 1e-4:
                wrong.append(f"{name} {share:.1%}, more than alpha {alpha:.0%}")
        if passed["share"]:
            line += f", passed {passed['share']:.1%}"
        return line + f" of {runs:,} runs", wrong
    found = fail["median"] - row.since if fail["median"] is not None else math.inf
    if fail["share"] < 0.99:
        wrong.append(f"found in {fail['share']:.1%} of the runs only")
    if not abs(found / row.median - 1.0) <= TOLERANCE:
        wrong.append(f"median {found:,.0f}, not within {TOLERANCE:.0%} of {row.median:,.0f}")
    return f"{row.name}: median {found:,.0f} candidate requests (checked: {row.median:,.0f})", wrong
