"""What a person sees on a terminal, and nobody else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.web_control.serving import Serving, serving


def _on_a_terminal(server: Serving, *arguments: str, **environment: str) -> str:
    """Everything that the command wrote to a terminal of 100 columns."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "redpoll", *arguments, "--server", server.url],
        stdout=side, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
    )  # fmt: skip
    os.close(side)
    seen = b""
    try:
        while data := os.read(main, 65536):
            seen += data
    except OSError:
        pass  # Linux says EIO once the other side is closed
    finally:
        os.close(main)
        process.wait(30)
    return seen.decode()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_watching_shows_a_bar_and_the_evidence(no_color: str) -> None:
    """Redrawn below the lines of the Decisions; no colour where none is wanted."""
    environment = {"NO_COLOR": no_color} if no_color else {}
    with serving() as server:
        seen = _on_a_terminal(
            server, "rollout", "watch", "churn", "--until", "done", "--timeout", "300ms",
            **environment,
        )  # fmt: skip
    assert "███" in seen and "10%" in seen
    assert "error_rate .4 of 40, latency .02 of 40" in seen
    assert "advance by redpoll" in seen
    if no_color:
        assert not re.search(r"\x1b\[(3|4|9)[0-9;]*m", seen)


def test_through_a_pipe_there_is_nothing_to_redraw() -> None:
    """No control characters in what programs read."""
    with serving() as server:
        done = subprocess.run(
            [sys.executable, "-m", "redpoll", "rollout", "watch", "churn", "--timeout", "300ms",
             "--server", server.url],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert "\x1b" not in done.stdout + done.stderr
    assert "█" not in done.stdout
