"""A command line run in this process, and a server that tells one night (tests/web_control)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from redpoll.cli.main import run
from tests.web_control.serving import Serving, serving


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """The documents of a stream."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]


@pytest.fixture
def redpoll(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch) -> Run:
    """``redpoll("status", "--json")``, in an empty folder, with no server known."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDPOLL_SERVER", "REDPOLL_URL", "REDPOLL_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


@pytest.fixture
def night(redpoll: Run, monkeypatch) -> Iterator[Serving]:
    """The control plane over three models, known to the command line."""
    with serving() as server:
        monkeypatch.setenv("REDPOLL_SERVER", server.url)
        yield server
