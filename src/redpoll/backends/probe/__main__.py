"""Start the probe by path, in a Python that knows nothing of redpoll.

The folder of this file must not stay on the module path: its names would come before the model's
own. So the package is loaded under the name ``redpoll_probe``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys


def main() -> None:
    """Load this folder as the package ``redpoll_probe`` and run it."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]  # noqa: PTH100
    spec = importlib.util.spec_from_file_location(
        "redpoll_probe",
        os.path.join(here, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[here],
    )
    if spec is None or spec.loader is None:
        raise ImportError(here)
    package = importlib.util.module_from_spec(spec)
    sys.modules["redpoll_probe"] = package
    spec.loader.exec_module(package)
    importlib.import_module("redpoll_probe.run").main()


if __name__ == "__main__":
    main()
