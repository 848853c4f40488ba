"""How redpoll's own processes are started: gateway, control, sealer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from redpoll.host.paths import DataDir
from redpoll.supervise.child import Launch

MODULES = {
    "gateway": "redpoll.web.dataplane",
    "control": "redpoll.web.controlplane",
    "sealer": "redpoll.sealer",
}


def launches(
    data: DataDir, config: Path, data_fd: int, control_fd: int, lifeline: int
) -> dict[str, Launch]:
    """Each process by its name. ``-P``: the folder we were started in is on nobody's path."""
    arguments: Mapping[str, list[str]] = {
        "control": ["--fd", str(control_fd), "--config", str(config)],
        "gateway": ["--fd", str(data_fd)],
        "sealer": [],
    }
    python = [sys.executable, "-P", "-m"]
    common = ["--data-dir", str(data.root), "--lifeline", str(lifeline)]
    fds = {"gateway": (data_fd,), "control": (control_fd,)}
    return {
        name: Launch(
            [*python, MODULES[name], *common, *more],
            root=str(data.root),
            fds=(lifeline, *fds.get(name, ())),
        )
        for name, more in arguments.items()
    }
