"""``make chaos``: the storm for as long as one wants. ``ARGS="--kills 1000 --seed 3"``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos import gateway
from tests.chaos.storm import Storm, faults


def main() -> int:
    """Storm, print what came of it, and return 1 where anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gap", type=float, default=1.0, help="seconds between kills, on average")
    parser.add_argument("--rate", type=float, default=150.0, help="requests/s")
    parser.add_argument(
        "--gateway", action="store_true", help="kill the gateway alone, at once again"
    )
    parser.add_argument("--keep", type=Path, help="use and keep this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redpoll-chaos-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.gateway:
            alone = gateway.run(folder, options.kills, options.seed, options.rate)
            return reckon(alone.line(), alone.faults(), options.seed)
        report = Storm(
            folder, seed=options.seed, kills=options.kills, gap_s=options.gap, rate=options.rate
        ).run()
    print(report.line())
    for name, (said, found) in report.rollouts.items():
        print(f"{name}: {said}; its facts: {found.state}: {found.sentence}")
    return reckon("", faults(report), options.seed)


def reckon(line: str, wrong: list[str], seed: int) -> int:
    """Print what is wrong; the exit status."""
    for one in [*([line] if line else []), *(f"WRONG {one}" for one in wrong[:50])]:
        print(one)
    print(f"{len(wrong)} faults (seed {seed})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
