"""``make fuzz``: wounded requests without end. ``ARGS="--inputs 5000000 --seed 7"``; ``--replay FILE``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.fuzz import hunt

GROWTH_MB_MAX = 96.0  # of a process, from its third block to its last


def main() -> int:
    """0: nothing was found. Prints the seed, and a reproducer for each finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, help="otherwise drawn, and printed")
    parser.add_argument("--block", type=int, help="this block alone")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-findings"), help="where findings go"
    )
    parser.add_argument("--replay", type=Path, help="send what is in this file, once")
    options = parser.parse_args()
    if options.replay is not None:
        wrong = hunt.replay(*hunt.load(options.replay))
        print(wrong or "nothing goes wrong")
        return 1 if wrong else 0
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    blocks = range(-(-options.inputs // hunt.BLOCK))
    return _hunt(seed, blocks if options.block is None else [options.block], options)


def _hunt(seed: int, blocks: range | list[int], options: argparse.Namespace) -> int:
    begin, statuses, found = time.monotonic(), Counter[int](), list[hunt.Finding]()
    memory: dict[int, list[float]] = {}
    spawn = multiprocessing.get_context("spawn")
    # A process that dies breaks the pool: BrokenProcessPool, not silence.
    with ProcessPoolExecutor(options.processes, spawn) as pool:
        for done, (pid, rss_mb, result) in enumerate(
            pool.map(partial(hunt.measured, seed), blocks), 1
        ):
            statuses += result.statuses
            memory.setdefault(pid, []).append(rss_mb)
            for finding in result.findings:
                _tell(finding, found, seed, options.keep)
            if done % 25 == 0 or done == len(blocks):
                rate = done * hunt.BLOCK / (time.monotonic() - begin)
                print(
                    f"{done * hunt.BLOCK} inputs, {rate:.0f}/s, {len(found)} findings", flush=True
                )
    grown = max((max(seen[2:]) - seen[2] for seen in memory.values() if len(seen) > 2), default=0.0)
    said = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    print(f"replies: {said}")
    print(f"memory of a process grew by at most {grown:.0f} MB after its third block")
    print(f"{len(found)} findings (seed {seed})")
    return 1 if found or grown > GROWTH_MB_MAX else 0


def _tell(finding: hunt.Finding, found: list[hunt.Finding], seed: int, keep: Path) -> None:
    known = any(one.kind == finding.kind for one in found)
    found.append(finding)
    if known:
        return  # one reproducer of each kind is what one looks at
    keep.mkdir(exist_ok=True)
    path = keep / f"{seed}-{finding.block}-{len(found)}.json"
    finding.save(path)
    print(f"\nFOUND {finding.what}\nsetup {finding.setup!r}; sent:")
    for one in finding.cases:
        print(f"  {one.pieces!r}{' and left' if one.leaves else ''}"[:3000])
    print(f"again: python -m tests.fuzz --replay {path}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
