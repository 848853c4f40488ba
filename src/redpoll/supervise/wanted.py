"""Which workers should run, from the route table, and how each of them is started. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from redpoll import backends
from redpoll.catalog import Model, Record, Version
from redpoll.host.paths import DataDir
from redpoll.routes import Table

KINDS = ("sklearn", "python")
PROGRAM = Path(backends.__file__).parent / "worker" / "__main__.py"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
UNSET = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "REDPOLL_TOKEN")


class Want(Record, frozen=True, kw_only=True):
    """One worker that should run. Two that are equal need no change."""

    model: str
    version: Version
    index: int
    socket: str
    spec: str  # JSON: all that the worker is told

    @property
    def key(self) -> str:
        """``<model>/<version>/<index>``, as in ``workers.json``."""
        return f"{self.model}/{self.version.name}/{self.index}"

    @property
    def stuck_s(self) -> float:
        """How long one call may take before the worker is replaced."""
        return self.version.timeout_ms / 1000 + self.version.kill_after_s


def wanted(table: Table, data: DataDir) -> dict[str, Want]:
    """The workers of all versions that should run, by key."""
    found = {}
    for route in table.routes.values():
        for target in route.targets.values():
            if not target.run or target.version.kind not in KINDS:
                continue
            spec = specification(route.model, target.version, data)
            for index, address in enumerate(target.addresses):
                want = Want(
                    model=route.model.name,
                    version=target.version,
                    index=index,
                    socket=address.removeprefix("unix:"),
                    spec=spec,
                )
                found[want.key] = want
    return found


def specification(model: Model, version: Version, data: DataDir) -> str:
    """What a worker is told: the parts of model and version that make it answer as it does."""
    tensor, output = model.tensor, model.output
    told: dict[str, Any] = {
        "model": {
            "name": model.name,
            "inputs": model.inputs,
            "tensor": tensor,
            "output": output,
            "redact": model.redact,
        },
        "version": {
            "name": version.name,
            "backend": version.backend,
            "folder": version.folder or ".",
            "files": version.files,
            "artifact": version.artifact,
        },
        "artifact": str(data.artifacts / version.artifact) if version.artifact else None,
    }
    return msgspec.json.encode(told).decode()


def interpreter(version: Version) -> str:
    """The Python that a version's workers run in. Links are kept: a venv's Python is one."""
    if version.python is None:
        return sys.executable
    if "/" not in version.python:
        return version.python  # found on PATH
    return str(Path(version.folder) / Path(version.python).expanduser())


def environment(version: Version, ours: Mapping[str, str]) -> dict[str, str]:
    """Our environment, with the version's number of threads and without what is ours alone."""
    kept = {name: value for name, value in ours.items() if name not in UNSET}
    threads = {name: str(version.threads) for name in THREAD_VARIABLES}
    return {**kept, **threads, "PYTHONUNBUFFERED": "1"}
