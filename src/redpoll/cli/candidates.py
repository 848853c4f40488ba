"""Which files of a folder may be models, what they would be called, and which Python is theirs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from redpoll.catalog import MODEL_NAME
from redpoll.errors import RedpollError

PICKLES = (".pkl", ".pickle", ".joblib", ".sav", ".p")
# Formats that redpoll has no loader for: a few lines of Python do.
OTHERS = (".keras", ".h5", ".pt", ".pth", ".skops", ".cbm", ".ubj", ".safetensors", ".pmml", ".py")
DEPTH_MAX = 6
FOLDERS_MAX = 5000
MOST = 8  # candidates that are taken without being named
VENVS = (".venv", "venv", "env")

# File names that say nothing about what the model is for.
_GENERIC = re.compile(
    r"(?i)(my|best|final|trained|the|sk|sklearn)?[-_.]?"
    r"(model|clf|classifier|regressor|estimator|pipeline|pipe|export|artifacts?)?\Z"
)
_VERSION = re.compile(r"(?i)(?:^|(?<=[^A-Za-z0-9]))v?(\d+(?:\.\d+)*)\Z|(v\d+(?:\.\d+)*)\Z")


class Candidate(NamedTuple):
    """A file (or MLflow folder) that may be a model, and the name that it would get."""

    kind: str  # sklearn | onnx | mlflow
    path: Path
    model: str
    version: str


def named(paths: Iterable[str], folder: Path, model: str | None) -> list[Candidate]:
    """The candidates that a person named. RP-040 for what is none."""
    found = []
    for given in paths:
        path = Path(given).absolute()
        if path.name == "MLmodel":
            path = path.parent
        found.append(_candidate(path, _kind(path, given), folder, model))
    return found


def found_in(folder: Path, model: str | None) -> list[Candidate]:
    """The candidates of a folder. RP-040 where there are none, or too many to take them all."""
    found = [_candidate(path, kind, folder, model) for path, kind in _walk(folder)]
    if not found:
        raise RedpollError(
            "RP-040",
            f"there is no model in {folder}: no {', '.join(PICKLES[:3])} or .onnx file, and no "
            "folder with an MLmodel in it; name one: redpoll init path/to/model.pkl. For a Python "
            "function or a server, see docs/quickstart.md.",
        )
    if len(found) > MOST:
        listed = " ".join(str(_short(one.path, folder)) for one in found[:MOST])
        raise RedpollError(
            "RP-040",
            f"{len(found)} files in {folder} may be models; name those that you mean: "
            f"redpoll init {listed} …",
        )
    return found


def _kind(path: Path, given: str) -> str:
    if not path.exists():
        raise RedpollError("RP-040", f"there is no file {given}; check the path")
    if path.is_dir():
        if (path / "MLmodel").is_file():
            return "mlflow"
        if len(list(path.glob("*.onnx"))) == 1:
            return "onnx"  # with its weights beside it
        raise RedpollError(
            "RP-040",
            f"{given} is a folder without an MLmodel or an .onnx file in it; name a file, "
            "or go there and run redpoll init without one",
        )
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return "onnx"
    if suffix in PICKLES:
        return "sklearn"
    if suffix in OTHERS:
        raise RedpollError(
            "RP-040",
            f"redpoll has no loader for {suffix} files; write a function that loads it, and name "
            'that: backend = "python:my_module:load" (docs/workers.md, "A Python callable")',
        )
    with path.open("rb") as file:
        begin = file.read(2)
    if begin[:1] == b"\x80" or begin[:1] == b"x" or begin == b"\x1f\x8b":
        return "sklearn"
    raise RedpollError(
        "RP-040",
        f"{given} is neither a pickle ({', '.join(PICKLES[:3])}) nor an .onnx file nor an MLflow "
        "folder; a Python function can load anything else (docs/workers.md)",
    )


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    count = 0
    for where, folders, files in os.walk(folder):
        count += 1
        here = Path(where)
        if "MLmodel" in files:
            yield here, "mlflow"  # and nothing in it by itself
            folders.clear()
            continue
        deep = len(here.relative_to(folder).parts) >= DEPTH_MAX or count > FOLDERS_MAX
        folders[:] = [] if deep else sorted(name for name in folders if _worth(here / name))
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if not name.startswith(".") and (suffix in PICKLES or suffix == ".onnx"):
                yield here / name, "onnx" if suffix == ".onnx" else "sklearn"


def _worth(folder: Path) -> bool:
    """Whether to look into it: no environments, caches, or data of our own."""
    if folder.name.startswith(".") or folder.name in ("node_modules", "__pycache__", *VENVS):
        return False
    return not any(
        (folder / name).exists() for name in ("pyvenv.cfg", "catalog.sqlite", "conda-meta")
    )


def _candidate(path: Path, kind: str, folder: Path, model: str | None) -> Candidate:
    stem = path.stem if path.is_file() else path.name
    found = _VERSION.search(stem)
    version = (found[2] or f"v{found[1]}") if found else "v1"
    stem = stem[: found.start()] if found else stem
    stem = stem.strip("-_. ")
    if model is None:
        model = _name(folder.name if _GENERIC.match(stem) else stem)
    return Candidate(kind, path, model, version)


def _name(words: str) -> str:
    """A model's name of any words."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", words).strip("-_")[:60]
    if name and not name[0].isalpha():
        name = f"model-{name}"
    return name if MODEL_NAME.match(name) else "model"


def own_python(folder: Path) -> str | None:
    """The Python of an environment in the folder, relative to it; None: redpoll's own will do."""
    for name in VENVS:
        python = folder / name / "bin" / "python"
        if python.is_file():
            ours = Path(sys.prefix).resolve() == (folder / name).resolve()
            return None if ours else f"{name}/bin/python"
    return None


def _short(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def shown(path: Path, folder: Path) -> str:
    """A path as the configuration has it: relative to its folder where it is in there."""
    return str(_short(path, folder))
