"""Interpreters of their own for models: real environments in which redpoll is not installed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def make(folder: Path, packages: Iterable[str] = ("numpy",)) -> str:
    """A virtual environment with these packages of ours alone; returns its Python.

    Nothing is downloaded: what is installed beside the tests is linked into it.
    """
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60
    )
    (site,) = (folder / "lib").glob("python*/site-packages")
    for package in packages:
        found = importlib.metadata.distribution(package)
        tops = {Path(path).parts[0] for path in found.files or () if path.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            link = site / top
            if not link.exists():
                link.symlink_to(str(found.locate_file(top)))
    return str(folder / "bin" / "python")
