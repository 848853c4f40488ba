"""The demo, whole, as a stranger runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 420  # a machine busy with other tests takes a multiple of a quiet one's 45 s


@pytest.mark.slow
def test_the_good_version_is_promoted_and_the_bad_one_rolled_back(tmp_path: Path) -> None:
    """Exit code 0, the words that say so, and a journal that tells the same afterwards."""
    folder = tmp_path / "demo"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REDPOLL_")}
    redpoll = [sys.executable, "-m", "redpoll"]
    done = subprocess.run(
        [*redpoll, "demo", "--fast", "--act", "errors", "--json", "--folder", str(folder)],
        capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    story = json.loads(done.stdout)
    assert story["ok"] and story["clean_exit"]
    assert [(act["version"], act["state"]) for act in story["acts"]] == [
        ("v2", "promoted"), ("v3", "rolled_back"),
    ]  # fmt: skip
    assert story["outcomes"] > 500
    for words in ("PROMOTED: v2 promoted", "ROLLED BACK: v3 rolled back to v2", "console: http"):
        assert words in done.stderr
    # What it prints at its end works.
    sql = (
        "SELECT a.version, count(*) AS n, avg((a.status <> 'ok')::int) AS bad FROM answer a "
        "WHERE a.role = 'live' AND a.version <> '' GROUP BY 1"
    )
    config = str(folder / "redpoll.toml")
    told = subprocess.run(
        [*redpoll, "log", "query", "-c", config, sql, "--json"],
        capture_output=True, text=True, timeout=120, env=environment, check=True,
    )  # fmt: skip
    by_version = {row["version"]: row for row in json.loads(told.stdout)}
    assert sum(row["n"] for row in by_version.values()) >= story["requests"]
    assert by_version["v1"]["bad"] < 0.02
    assert by_version["v3"]["bad"] > 0.02
    again = subprocess.run(
        [*redpoll, "rollout", "verify", "income", "-c", config],
        capture_output=True, text=True, timeout=120, env=environment, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout
