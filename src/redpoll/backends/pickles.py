"""Whether a version's own Python can load its model, looked at before a worker is started.

Nothing of the model is run for it. Every estimator pickles the version of scikit-learn that it was
made with; another one only warns when it loads it, and may then answer wrongly: so it is refused when
the version is added, long before the first request. Loading checks again
(:mod:`redpoll.backends.worker.pickled`).
"""

from __future__ import annotations

import re
from pathlib import Path

from redpoll.backends import environments
from redpoll.backends.environments import Environment
from redpoll.backends.worker import pickled
from redpoll.catalog import Version
from redpoll.errors import RedpollError

MLMODEL_MAX = 1 << 20  # characters of an MLmodel file
BYTES_MAX = 256 << 20  # of a file that is looked through; the worker finds out about larger ones


def written_with(raw: bytes) -> str | None:
    """Find the scikit-learn version of a pickle or joblib file; None where it does not say."""
    return pickled.written_with(pickled.unpacked(raw))


def check(version: Version, path: Path) -> None:
    """Raise where a version's Python cannot load the model at ``path``.

    RP-210: no such Python, or something is not installed there, with what to install. RP-003: the
    file is another scikit-learn's than the one there. Asks an interpreter: call it off the event loop.
    """
    if not version.worker:
        return
    if version.kind == "sklearn":
        _check_estimator(version, path)
        return
    has = environments.ask(version)
    _need(version, has, "numpy")
    if version.kind == "onnx":
        _need(version, has, "onnxruntime", "onnxruntime-gpu")
    elif version.kind == "mlflow":
        _need(version, has, "mlflow-skinny", "mlflow")
        _check_mlflow(version, path, has)


def _check_estimator(version: Version, path: Path) -> None:
    raw = _read(path)
    if raw and not pickled.begins(raw):
        raise RedpollError(
            "RP-003",
            f"{version.backend} is no pickle or joblib file: it begins with {raw[:8]!r}. Save the "
            "model with joblib.dump or pickle.dump, and name that file.",
        )
    named = pickled.classes(raw)
    modules = {name.partition(".")[0] for name in named} - {"__main__", "builtins"}
    has = environments.ask(version, modules)
    for package in ("numpy", "scikit-learn"):
        _need(version, has, package)
    wrote, here = pickled.written_with(raw), has.packages["scikit-learn"]
    if wrote and wrote != here:
        raise _other_version(version, has, "scikit-learn", wrote)
    for module in has.lost:
        package = pickled.package_of(module)
        raise RedpollError(
            "RP-210",
            f"{version.backend} needs the module {module!r}, which {has.executable} does not have "
            f"and {version.folder} neither: run {has.install(package)}, or put {module}.py (or the "
            "package) there.",
        )
    _check_main(version, named.get("__main__", set()))


def _check_main(version: Version, names: set[str]) -> None:
    """Classes of the script that saved the file: they must be in a side file that is Python."""
    folder = Path(version.folder)
    scripts = [str(folder / name) for name in version.files if name.endswith(".py")]
    for name in sorted(names):
        if pickled.defined(scripts, name.partition(".")[0]) is None:
            file = version.backend.partition(":")[2]
            raise RedpollError("RP-210", pickled.lost_class(file, name, str(folder)) + ".")


def _check_mlflow(version: Version, folder: Path, has: Environment) -> None:
    """Compare what an MLmodel file says that it was saved with; it is YAML with a value a line."""
    try:
        said = (folder / "MLmodel").read_text(errors="replace")[:MLMODEL_MAX]
    except OSError:
        return  # the worker finds out
    _need(version, has, "pandas")
    wrote = re.search(r"^ +sklearn_version: *['\"]?([0-9][\w.]*)", said, re.MULTILINE)
    if wrote is not None:
        _need(version, has, "scikit-learn")
        if wrote[1] != has.packages["scikit-learn"]:
            raise _other_version(version, has, "scikit-learn", wrote[1])
    if re.search(r"^ +serialization_format: *skops", said, re.MULTILINE):
        _need(version, has, "skops")
    pickled_code = re.search(r"^ +python_model: .*\.pkl", said, re.MULTILINE)
    python = re.search(r"^ +python_version: *['\"]?(\d+)\.(\d+)", said, re.MULTILINE)
    if pickled_code and python and (int(python[1]), int(python[2])) != has.python[:2]:
        raise RedpollError(
            "RP-003",
            f"{version.backend} holds code that was pickled with Python {python[1]}.{python[2]}, but "
            f"{has.executable} is {'.'.join(map(str, has.python))}: its bytecode is good for the "
            "version that wrote it only. Name an environment of that Python (`python`), or save the "
            "model again.",
        )


def _other_version(version: Version, has: Environment, package: str, wrote: str) -> RedpollError:
    return RedpollError(
        "RP-003",
        f"{version.backend} was written with {package} {wrote}, but the Python that would load it "
        f"has {has.packages[package]}: a pickle is good for the version that wrote it only. Run "
        f"{has.install(f'{package}=={wrote}')}, or name the Python that the model was made with "
        "(`python`), or fit and save the model again.",
    )


def _need(version: Version, has: Environment, *packages: str) -> None:
    package = packages[0]  # the first is what is advised, any will do
    if not any(one in has.packages for one in packages):
        raise RedpollError(
            "RP-210",
            f"{package} is not installed in {has.executable}, and {version.backend} needs it there: "
            f"run {has.install(package)}"
            + (", or name another Python (`python`)." if version.python else "."),
        )


def _read(path: Path) -> bytes:
    """The pickle in a file; b"" where it cannot be read: then the worker finds out."""
    try:
        return pickled.unpacked(path.read_bytes()) if path.stat().st_size <= BYTES_MAX else b""
    except OSError:
        return b""
