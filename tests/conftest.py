"""What all tests share."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def tool():
    """``tool("chromium")`` gives its path; missing is a skip on a desk and a failure in CI."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        if path:
            return path
        message = f"{name} is missing: apt-get install it (scripts/system-packages {name})"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)

    return find


def pytest_terminal_summary(terminalreporter):
    """What the simulations of the gates gave, one line a row of the design."""
    lines = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", [])
        if name == "simulated"
    ]
    if lines:
        terminalreporter.section("gates under simulated traffic, 1,000 runs a row")
        for line in sorted(lines):
            terminalreporter.line(line)
