"""The benchmarks of capture and sealing run: no number is judged, only that they measure something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> Any:
    """`python -m benchmarks … --json`: it fails by itself where facts are missing."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_sealing_is_measured_over_facts_that_are_all_there_afterwards() -> None:
    """It reads them back itself."""
    said = run("sealing", "--requests", "4000", "--rounds", "1")
    assert said["facts"] > 4000
    assert said["cpu_us"] > 0 and said["facts_per_core_second"] > 0
    assert 0 < said["sealed_bytes"] < said["wal_bytes"]


def test_capture_is_measured_both_ways() -> None:
    """The express lane, and one by one."""
    said = run("capture", "--requests", "2000", "--rounds", "1")
    assert set(said["cpu_us"]) == {"express lane", "one by one"}
    assert all(cost > 0 for cost in said["cpu_us"].values())
