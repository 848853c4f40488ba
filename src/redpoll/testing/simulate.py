"""Traffic as a scenario describes it, through the very gate code that runs live.

``python -m redpoll.testing.simulate FILE.json [--runs N] [--seed S] [--json]``. The same seed gives
the same runs, so a seed is a bug report. What a scenario may hold: ``simulate_scenario``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redpoll.errors import RedpollError
from redpoll.testing.simulate_errors import Outcome, simulate_errors, simulate_reporting
from redpoll.testing.simulate_latency import simulate_latency
from redpoll.testing.simulate_scenario import Scenario, parse
from redpoll.testing.simulate_users import simulate_users

BATCH = 1000  # runs at a time, so that memory is bounded; a batch has random numbers of its own
RUNS_MAX = 1_000_000


def outcomes(scenario: Scenario, runs: int, seed: int) -> Outcome:
    """When each of ``runs`` independent runs failed and passed, in candidate requests; -1: never."""
    both = Outcome(0)
    batches = -(-runs // BATCH)
    for number, child in enumerate(np.random.SeedSequence(seed).spawn(batches)):
        rng = np.random.default_rng(child)
        found = _batch(scenario, min(BATCH, runs - number * BATCH), rng)
        both.failed = np.concatenate([both.failed, found.failed])
        both.passed = np.concatenate([both.passed, found.passed])
    return both


def _batch(scenario: Scenario, runs: int, rng: np.random.Generator) -> Outcome:
    if scenario.users is not None:
        return simulate_users(scenario, scenario.users, runs, rng)
    if scenario.spec.metric == "latency":
        return simulate_latency(scenario, runs, rng)
    if scenario.reporting is not None:
        return simulate_reporting(scenario, scenario.reporting, runs, rng)
    return simulate_errors(scenario, runs, rng)


def simulate(raw: dict[str, Any] | str | bytes, runs: int = 1000, seed: int = 1) -> dict[str, Any]:
    """Run a scenario; shares of runs, and positions (candidate requests) among those that got there.

    ``fail`` and ``pass`` are counted each on its own; ``undecided`` did neither. RP-001 where the
    scenario is wrong.

    >>> simulate({"plan": [[0.1, 3000]], "stable": {"rate": 0.01}, "candidate": {"rate": 0.2}}, 50)[
    ...     "fail"]["share"]
    1.0
    """
    if not 1 <= runs <= RUNS_MAX:
        raise RedpollError(
            "RP-001",
            f"{runs} runs; a simulation wants 1 to {RUNS_MAX:,}; write a number between them.",
        )
    found = outcomes(parse(raw), runs, seed)
    undecided = (found.failed < 0) & (found.passed < 0)
    return {
        "runs": runs,
        "seed": seed,
        "fail": _summary(found.failed),
        "pass": _summary(found.passed),
        "undecided": {"share": float(undecided.mean())},
    }


def _summary(at: NDArray[np.int64]) -> dict[str, float | None]:
    reached = at[at >= 0]
    names = {"p05": 0.05, "median": 0.5, "p95": 0.95}
    quantiles = {
        name: float(np.quantile(reached, q)) if reached.size else None for name, q in names.items()
    }
    return {"share": reached.size / at.size} | quantiles


def sentence(result: dict[str, Any]) -> str:
    """What came out, for people."""
    parts = []
    for name in ("fail", "pass"):
        found = result[name]
        said = f"{name} {found['share']:.1%}"
        if found["median"] is not None:
            said += (
                f" (half by {found['median']:,.0f} candidate requests,"
                f" 1 in 20 later than {found['p95']:,.0f})"
            )
        parts.append(said)
    return f"{result['runs']:,} runs: {', '.join(parts)}, undecided {result['undecided']['share']:.1%}."


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit code 0, or 2 where the scenario is wrong."""
    parser = argparse.ArgumentParser(prog="redpoll simulate", description=__doc__.split("\n")[0])
    parser.add_argument("file", help="a scenario, JSON")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    try:
        result = simulate(Path(asked.file).read_text(), asked.runs, asked.seed)
    except OSError as error:
        print(f"{asked.file} cannot be read: {error.strerror}.", file=sys.stderr)
        return 2
    except RedpollError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(result) if asked.json else sentence(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
