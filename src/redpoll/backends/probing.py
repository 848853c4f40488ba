"""Asking the probe (:mod:`redpoll.backends.probe`) what a model file is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from redpoll.backends.start import environment
from redpoll.catalog import Version
from redpoll.errors import RedpollError

PROGRAM = Path(__file__).parent / "probe" / "__main__.py"
PROBE_S = 60.0
LAST_LINES = 12
# How a module is called by pip, where that is another name.
PACKAGES = {"sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml"}


class Column(msgspec.Struct, frozen=True):
    """One input: its type as ``inputs`` has it ("": not known), and values it may well have."""

    type: str = ""
    values: list[Any] = []


class Found(msgspec.Struct, frozen=True, rename={"kind": "class"}):
    """What is in a model file.

    ``names``: the columns' names, [] where it was fitted on an array; ``count``: how many columns it
    takes, None where it does not say; ``text``: it takes a list of texts; ``example``: a row that was
    saved with the model.
    """

    kind: str
    python: str
    libraries: dict[str, str]
    predicts: bool
    parts: list[str] = []
    names: list[str] = []
    count: int | None = None
    text: bool = False
    columns: list[Column] = []
    classes: list[Any] | None = None
    probability: bool = False
    example: dict[str, Any] | None = None


def probe(kind: str, path: Path, folder: Path, python: str) -> Found:
    """Load ``path`` in ``python``, which runs in ``folder``; a minute at most. May run the file's code.

    Raises RP-041: what went wrong, and what to do.
    """
    version = Version(name="probe", backend=f"{kind}:{path}", folder=str(folder))
    job = json.dumps({"kind": kind, "path": str(path), "folder": str(folder)})
    try:
        process = subprocess.Popen(
            [python, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(version, os.environ),
            start_new_session=True,  # so that what the model starts can be ended with it
        )
    except OSError as error:
        raise _cannot(path, f"{python} could not be started: {error.strerror}", _OTHER) from None
    try:
        out, err = process.communicate(job.encode(), timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        why = f"loading it took longer than {PROBE_S:g} s"
        raise _cannot(path, why, "load it by hand to see what it waits for") from None
    finally:
        _end(process)
    try:
        said = json.loads(out)
    except ValueError:
        how = f"the Python that loaded it ended (status {process.returncode})"
        raise _cannot(path, f"{how}{_tail(err)}", "load it by hand to see why") from None
    if "error" in said:
        raise _explained(path, folder, python, said)
    return msgspec.convert(said, Found)


_NO_PICKLE = re.compile(r"UnpicklingError|EOFError|KeyError: \d+\Z|IndexError: pop from empty")
_OTHER = "name another with --python"


def _explained(path: Path, folder: Path, python: str, said: dict[str, Any]) -> RedpollError:
    why, missing, lost = said["error"], said.get("missing", ""), said.get("lost")
    if said.get("todo"):
        return RedpollError("RP-041", f"{path.name}: {why}; {said['todo']}.")
    if lost:
        return _cannot(
            path,
            f"it holds {lost!r}, which was defined in the script that made it, and a pickle has no "
            "code in it",
            f"move {lost} to a module of its own in {folder}, import it from there in the script, "
            "and save the model again",
        )
    if missing:
        top = missing.partition(".")[0]
        package = PACKAGES.get(top, top)
        return _cannot(
            path,
            f"it needs the module {missing!r}, which {python} does not have",
            f"if that is a file of yours, put {top}.py into {folder}; if it is a package, "
            f"`{python} -m pip install {package}`, or name the environment that the model was made "
            "in: --python .venv/bin/python",
        )
    hint = "load it by hand to see more"
    if _NO_PICKLE.match(why):
        hint = (
            "it may be no pickle at all, cut in copying, or a pointer of Git LFS: look at its size"
        )
    return _cannot(path, why, hint)


def _cannot(path: Path, why: str, todo: str) -> RedpollError:
    return RedpollError("RP-041", f"{path.name} cannot be loaded: {why}; {todo}.")


def _tail(err: bytes) -> str:
    lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    return ", and said last: " + " | ".join(lines[-LAST_LINES:])[-600:] if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever is left of it; its group is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
