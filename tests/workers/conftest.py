"""Workers that end with the test."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workers.rig import Worker


@pytest.fixture
def python_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """``python_worker(source, **model)``: a worker whose module ``model_code`` has that source."""
    started: list[Worker] = []

    def start(source: str, **options: Any) -> Worker:
        (tmp_path / "model_code.py").write_text(textwrap.dedent(source))
        started.append(Worker(tmp_path, "python:model_code:load", **options))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
