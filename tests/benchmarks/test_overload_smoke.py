"""The benchmark `overload` runs: no time is judged here, only that it measures what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks._open_loop import percentile

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_short_run_offers_twice_the_peak_and_hangs_one_model() -> None:
    """The load comes as fast as it was told, whatever is answered; the hung model answers nothing."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("the benchmark wants two cores")
    command = [sys.executable, "-m", "benchmarks", "overload", "--json", "--seconds", "2"]
    command += ["--peak-seconds", "1", "--rounds", "1", "--round-seconds", "1"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(done.stdout)
    assert said["peak"] > 0
    assert said["offered_a_second"] == pytest.approx(2 * said["peak"], rel=0.05)
    found = {line["what"]: line for line in said["lines"]}
    assert len(found) == 6
    assert found["the hung model's share of good answers (it did hang)"]["reached"]
    assert all(mb > 10 for mb in said["memory_mb"])


def test_a_percentile_is_a_value_that_was_seen() -> None:
    """Nearest rank: the 99th of a hundred is the largest, of nothing 0."""
    assert percentile([float(i) for i in range(100)], 0.99) == 99.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([], 0.99) == 0.0
