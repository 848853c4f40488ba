"""Whether a version's own Python can load its model, looked at before a worker is started.

Nothing of the model is run for it. Every estimator pickles the version of scikit-learn that it was
made with; another one only warns when it loads it, and may then answer wrongly: so it is refused when
the version is added, long before the first request. Loading checks again
(:mod:`redpoll.backends.worker.pickled`).
"""

from __future__ import annotations

from pathlib import Path

from redpoll.backends import environments
from redpoll.backends.environments import Environment
from redpoll.backends.worker import pickled
from redpoll.catalog import Version
from redpoll.errors import RedpollError

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
    _need(version, environments.ask(version), "numpy")


def _check_estimator(version: Version, path: Path) -> None:
    raw = _read(path)
    named = pickled.classes(raw)
    modules = {name.partition(".")[0] for name in named} - {"__main__", "builtins"}
    has = environments.ask(version, modules)
    for package in ("numpy", "scikit-learn"):
        _need(version, has, package)
    wrote, here = pickled.written_with(raw), has.packages["scikit-learn"]
    if wrote and wrote != here:
        raise RedpollError(
            "RP-003",
            f"{version.backend} was written with scikit-learn {wrote}, but the Python that would "
            f"load it has {here}: a pickle is good for the version that wrote it only. Run "
            f"{has.install(f'scikit-learn=={wrote}')}, or name the Python that the model was made "
            "with (`python`), or fit and save the model again.",
        )
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


def _need(version: Version, has: Environment, package: str) -> None:
    if package not in has.packages:
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
