"""What others may see of a worker: fingerprint, environment, status page, tracebacks."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import mmap
import os
import platform
import re
import struct
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

LINE_MAX = 300  # characters of an exception, where it is part of a sentence
LIBRARIES = (
    "numpy",
    "sklearn",
    "pandas",
    "scipy",
    "joblib",
    "lightgbm",
    "xgboost",
    "catboost",
    "onnxruntime",
    "mlflow",
    "torch",
    "tensorflow",
    "transformers",
)
# What a model file of a kind is read with: another version of it may answer otherwise.
READ_WITH = {
    "python": ("numpy",),
    "in-process": (),
    "sklearn": ("numpy", "scikit-learn", "pandas"),
    "onnx": ("numpy", "onnxruntime", "onnxruntime-gpu"),
    "mlflow": ("numpy", "mlflow", "mlflow-skinny", "scikit-learn", "pandas"),
}

# The status page, shared with the supervisor: state, when the present call began (CLOCK_MONOTONIC,
# ns; 0: none), calls begun, calls that failed. Little-endian, 8 bytes each.
PAGE = struct.Struct("<QQQQ")
STARTING, READY = 0, 1


class Page:
    """The status page; without a file descriptor it is written into thin air."""

    def __init__(self, fd: int = -1) -> None:
        self.memory = mmap.mmap(fd, mmap.PAGESIZE) if fd >= 0 else bytearray(PAGE.size)
        self.state = STARTING
        self.calls = 0
        self.errors = 0

    def ready(self) -> None:
        """Say that the model is loaded."""
        self.state = READY
        self.idle()

    def busy(self) -> None:
        """Say that a call begins now: from here on it may be found stuck."""
        self.calls += 1
        PAGE.pack_into(self.memory, 0, self.state, time.monotonic_ns(), self.calls, self.errors)

    def idle(self) -> None:
        """Say that no call runs."""
        PAGE.pack_into(self.memory, 0, self.state, 0, self.calls, self.errors)


def fingerprint(spec: Mapping[str, Any]) -> str:
    """Digest of all that makes the version answer as it does: sha256, hexadecimal.

    The model file, the side files, for a Python callable its module's source, and the versions of
    Python and of the libraries that such a model is read with.
    """
    version = spec["version"]
    whole = hashlib.sha256(version["backend"].encode())
    scheme, _, rest = version["backend"].partition(":")
    whole.update(repr((version.get("method"), libraries(scheme))).encode())
    if spec.get("artifact"):
        whole.update((version.get("artifact") or digest(spec["artifact"])).encode())
    elif scheme in ("sklearn", "onnx", "mlflow"):
        whole.update(digest(os.path.join(version["folder"], rest)).encode())  # noqa: PTH118
    for name in sorted(version.get("files") or ()):
        whole.update(f"\0{name}\0{digest(os.path.join(version['folder'], name))}".encode())  # noqa: PTH118
    if scheme in ("python", "in-process"):
        found = importlib.util.find_spec(rest.partition(":")[0])
        if found is not None and found.origin and os.path.exists(found.origin):  # noqa: PTH110
            whole.update(digest(found.origin).encode())
    return whole.hexdigest()


def libraries(scheme: str) -> list[tuple[str, str]]:
    """Python and the installed libraries that models of a kind are read with; nothing is imported."""
    found = [("python", ".".join(platform.python_version_tuple()[:2]))]
    for name in READ_WITH.get(scheme, ()):
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def digest(path: str) -> str:
    """Hash (sha256) a file, or of a folder's files and their names."""
    found = hashlib.sha256()
    if os.path.isdir(path):  # noqa: PTH112
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(names):
                inner = os.path.join(folder, name)  # noqa: PTH118
                found.update(f"{os.path.relpath(inner, path)}\0{digest(inner)}\0".encode())
        return found.hexdigest()
    with open(path, "rb") as file:  # noqa: PTH123
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def environment() -> dict[str, str]:
    """Python, machine, and the versions of the libraries that are loaded."""
    found = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
    }
    for name in LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


def mask(text: str, secrets: Iterable[tuple[str, Any]]) -> str:
    """Blot out the values of redacted columns: (name, values) pairs."""
    for name, values in secrets:
        for value in values:
            word = str(value)
            if value is not None and word.strip():
                edges = (r"(?<!\w)" if word[0].isalnum() else "") + re.escape(word)
                edges += r"(?!\w)" if word[-1].isalnum() else ""
                text = re.sub(edges, f"«{name}»", text)
                text = text.replace(repr(value)[1:-1], f"«{name}»") if len(word) > 3 else text
    return text


def failure(error: BaseException) -> str:
    """``KeyError: 'plan'``: the type and the first line of what it says, of at most 300 characters.

    The rest (scikit-learn writes essays) is in the traceback.
    """
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        said = str(error)
    except Exception:
        said = "(it cannot say what is wrong)"
    line = next((line.strip() for line in said.splitlines() if line.strip()), "")
    text = f"{name}: {line}" if line else name
    return text if len(text) <= LINE_MAX else text[: LINE_MAX - 1] + "…"


def trace(error: BaseException) -> str:
    """Format the traceback from the model's first frame on; our own frames say nothing."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    at = error.__traceback__
    while at is not None and os.path.dirname(at.tb_frame.f_code.co_filename) == here:  # noqa: PTH120
        at = at.tb_next
    return "".join(traceback.format_exception(type(error), error, at))


def complain(headline: str, block: str = "") -> None:
    """Write to stderr in one piece: a headline and an indented block below it.

    The format is read by ``redpoll.host.logs.of_prediction``.
    """
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = [f"{moment} redpoll worker: {headline}"]
    lines += [f"  | {line}" for line in block.rstrip().split("\n")] if block else []
    raw = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
    while raw:
        raw = raw[os.write(2, raw) :]


def report(fd: int, event: str, **fields: Any) -> None:
    """Tell the supervisor, one JSON line; it may be gone."""
    if fd >= 0:
        try:
            os.write(fd, (json.dumps({"event": event, **fields}) + "\n").encode())
        except OSError:
            return
