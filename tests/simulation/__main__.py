"""The long version: ``make simulate`` (10,000 runs a row; ``ARGS="--runs 2000 --row late"``)."""

from __future__ import annotations

import argparse
import sys
import time

from redpoll.testing.simulate import simulate
from tests.simulation.rows import ROWS, verdict


def main() -> int:
    """Every row, printed as it is done; 1 where one is not as it was checked."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--row", default="", help="only rows whose name holds this")
    asked = parser.parse_args()
    bad = 0
    for row in ROWS:
        if asked.row not in row.name:
            continue
        began = time.monotonic()
        line, wrong = verdict(row, simulate(row.scenario, asked.runs, asked.seed))
        mark = "not as checked: " + "; ".join(wrong) if wrong else "as checked"
        print(f"{line}; {mark} ({time.monotonic() - began:.0f} s)", flush=True)
        bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
