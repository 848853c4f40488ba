"""How a worker is started: program, interpreter, environment, and what it is told. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from redpoll.catalog import Model, Version

PROGRAM = Path(__file__).parent / "worker" / "__main__.py"
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
OURS = ("VIRTUAL_ENV",)  # says nothing true of a model's own Python


def specification(model: Model, version: Version, artifacts: Path) -> str:
    """What a worker is told, as JSON: what of model and version makes it answer as it does.

    ``artifacts`` is the folder of kept model files.
    """
    told = {
        "model": {
            "name": model.name,
            "inputs": model.inputs,
            "tensor": model.tensor,
            "output": model.output,
            "redact": model.redact,
        },
        "version": {
            "name": version.name,
            "backend": version.backend,
            "folder": version.folder or ".",
            "files": version.files,
            "artifact": version.artifact,
            "method": version.method,
            "providers": version.providers,
            "batch": version.batch,
            "warm_up": version.warm_up,
        },
        "artifact": str(artifacts / version.artifact) if version.artifact else None,
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
    unset = UNSET if version.python is None else (*UNSET, *OURS)
    kept = {name: value for name, value in ours.items() if name not in unset}
    threads = {name: str(version.threads) for name in THREAD_VARIABLES}
    return {**kept, **threads, "PYTHONUNBUFFERED": "1"}
