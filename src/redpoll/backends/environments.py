"""What is installed in the Python that a version's workers run in, asked of that Python itself.

An answer is kept until something in one of its module folders changes: applying a file twice asks
once.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec

from redpoll.backends.start import environment, interpreter
from redpoll.catalog import Version
from redpoll.errors import RedpollError

ASK_S = 30.0
OLDEST = (3, 9)  # what workers are written for
# Packages whose versions decide whether and how a model file is read.
PACKAGES = (
    "numpy",
    "scikit-learn",
    "pandas",
    "joblib",
    "onnxruntime",
    "onnxruntime-gpu",
    "mlflow",
    "mlflow-skinny",
    "skops",
    "cloudpickle",
)
_ASK = """
import importlib.metadata, importlib.util, json, sys
packages, modules, folder = json.loads(sys.argv[1])
has = {}
for name in packages:
    try:
        has[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
folders = list(sys.path)
sys.path.insert(0, folder)  # only now: a model's own module may be called like one of Python's
lost = []
for name in modules:
    try:
        found = name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        lost.append(name)
print(json.dumps({"python": sys.version_info[:3], "executable": sys.executable,
                  "folders": folders, "packages": has, "lost": lost}))
"""


class Environment(msgspec.Struct, frozen=True):
    """A Python and what it has. ``packages``: versions by name, of :data:`PACKAGES` alone.

    ``lost``: those of the modules that were asked for which it cannot import.
    """

    python: tuple[int, int, int]
    executable: str
    folders: tuple[str, ...]
    packages: dict[str, str]
    lost: tuple[str, ...] = ()

    def install(self, package: str) -> str:
        """The command that installs a package there."""
        return f"{self.executable} -m pip install {package}"


_Stamp = tuple[tuple[str, int], ...]
_known: dict[tuple[str, str, tuple[str, ...]], tuple[_Stamp, Environment]] = {}


def ask(version: Version, modules: Iterable[str] = ()) -> Environment:
    """The environment of a version's workers. Starts a process: call it off the event loop.

    ``modules`` are looked for there and in the version's folder. Raises RP-210 where the interpreter
    is missing, is none, is too old, or does not answer within 30 s.
    """
    python = interpreter(version)
    wanted = tuple(sorted(set(modules)))
    key = (python, version.folder, wanted)
    before = _known.get(key)
    if before is not None and before[0] == _stamp(python, before[1].folders):
        return before[1]
    found = _ask(version, python, wanted)
    if not found.lost:  # what was lost may be put into the version's folder
        _known[key] = (_stamp(python, found.folders), found)
    return found


def _ask(version: Version, python: str, modules: tuple[str, ...]) -> Environment:
    job = json.dumps([PACKAGES, modules, version.folder])
    try:
        done = subprocess.run(
            [python, "-c", _ASK, job],
            capture_output=True,
            text=True,
            timeout=ASK_S,
            env=environment(version, os.environ),
            cwd="/",
        )
    except FileNotFoundError:
        raise _error(
            version,
            f"there is no {python}; make the environment (python3 -m venv …, then install what the "
            "model needs), or name the Python of one that is there. Paths are seen from the folder "
            "of the configuration",
        ) from None
    except (OSError, ValueError) as error:
        raise _error(version, f"{python} cannot be run: {error}; name a Python") from None
    except subprocess.TimeoutExpired:
        raise _error(
            version, f"{python} did not answer within {ASK_S:g} s; see whether it is a Python"
        ) from None
    try:
        found = msgspec.json.decode(done.stdout, type=Environment)
    except msgspec.MsgspecError:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise _error(
            version,
            f"{python} is no Python that redpoll can use ({last[:200]}); workers need Python "
            f"{'.'.join(map(str, OLDEST))} or newer",
        ) from None
    if found.python[:2] < OLDEST:
        has, want = (".".join(map(str, one)) for one in (found.python, OLDEST))
        raise _error(version, f"{python} is Python {has}; workers need {want} or newer")
    return found


def _error(version: Version, why: str) -> RedpollError:
    return RedpollError("RP-210", f"The Python of version {version.name} cannot be used: {why}.")


def _stamp(python: str, folders: Iterable[str]) -> _Stamp:
    """When the interpreter and its folders of modules changed last: installing touches them."""
    found = []
    for path in (python, *folders):
        try:
            found.append((path, Path(path).stat().st_mtime_ns))
        except OSError:
            found.append((path, 0))
    return tuple(found)
