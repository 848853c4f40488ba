"""The benchmark `serving`: what it says of its peers, without any time being judged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import serving

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("peer", ["mlserver", "litserve"])
def test_a_missing_peer_is_a_failure_that_names_the_command(peer: str, tmp_path: Path) -> None:
    """Without what it compares with it measures nothing, and says what builds it."""
    for other in {"mlserver", "litserve"} - {peer}:
        (tmp_path / ".peers" / other).mkdir(parents=True)
        (tmp_path / ".peers" / other / ".done").touch()
    program = tmp_path / "run.py"
    program.write_text(
        "import sys, pathlib\n"
        "from benchmarks import _sklearn_peers, serving\n"
        "_sklearn_peers.ROOT = pathlib.Path(sys.argv.pop(1))\n"
        "sys.exit(serving.main())\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert peer in done.stderr
    assert "make peers" in done.stderr


def test_a_goal_is_judged_by_requests_a_second_of_the_core(capsys) -> None:
    """A core that others use too would favour whoever gets more of it: CPU a request decides."""
    row = {"rate": 1000.0, "cpu_us": 100.0, "busy": 1.0, "p50_ms": 1.0, "p99_ms": 2.0}
    slow = row | {"cpu_us": 2001.0}
    table = {(goal.model, goal.peer): slow for goal in serving.GOALS}
    table |= {("trivial", "redpoll"): row, ("logistic", "redpoll"): row}
    assert serving.tell(table, as_json=False) == 0
    assert serving.tell(table | {("trivial", "litserve"): row | {"cpu_us": 1999.0}}, False) == 1
    assert "NOT REACHED" in capsys.readouterr().out
