"""Start the worker by path, in a Python that knows nothing of redpoll.

The folder of this file must not stay on the module path: its names (``server``, ``models``) would
come before the model's own. So the package is loaded under the name ``redpoll_worker``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys


def main() -> int:
    """Load this folder as the package ``redpoll_worker`` and run it; returns the exit status."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]  # noqa: PTH100
    spec = importlib.util.spec_from_file_location(
        "redpoll_worker",
        os.path.join(here, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[here],
    )
    if spec is None or spec.loader is None:
        raise ImportError(here)
    package = importlib.util.module_from_spec(spec)
    sys.modules["redpoll_worker"] = package
    spec.loader.exec_module(package)
    try:
        run = importlib.import_module("redpoll_worker.run")
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "numpy":
            raise
        return _without_numpy(error)
    return int(run.main(sys.argv[1:]))


def _without_numpy(error: ImportError) -> int:
    """Say, with nothing but the standard library, what this Python is lacking: exit status 3."""
    say = (
        f"numpy cannot be imported in {sys.executable} ({error}), and a worker needs it to hand "
        f"columns to a model: run {sys.executable} -m pip install numpy"
    )
    sys.stderr.write(f"redpoll worker: {say}\n")
    if "--report" in sys.argv[:-1]:
        pipe = int(sys.argv[sys.argv.index("--report") + 1])
        os.write(pipe, (json.dumps({"event": "failed", "error": say}) + "\n").encode())
    return 3


if __name__ == "__main__":
    sys.exit(main())
