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
