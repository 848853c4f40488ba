"""The core install stays small, and works by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_core_installs_at_most_25_packages_and_its_command_runs(tmp_path: Path) -> None:
    """A fresh environment with nothing but `pip install redpoll`: at most 25 distributions."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "-c", ROOT / "constraints.txt", ROOT], check=True)
    frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    packages = [line for line in frozen.splitlines() if line and not line.startswith("#")]
    assert len(packages) <= 25, packages
    told = subprocess.run(
        [environment / "bin" / "redpoll", "explain", "RP-001"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "configuration" in told.stdout


def test_the_gateway_starts_without_the_heavy_packages() -> None:
    """Importing the data plane pulls in neither numpy, pyarrow, duckdb nor a web framework."""
    heavy = ["numpy", "pyarrow", "duckdb", "starlette", "uvicorn", "jinja2", "rich", "click"]
    code = f"import redpoll.web.dataplane, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
