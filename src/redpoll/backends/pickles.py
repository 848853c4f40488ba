"""Which scikit-learn wrote a file, read without running anything of it.

Every estimator pickles the version that it was made with (``_sklearn_version``). scikit-learn only
warns when another one loads it, and may then answer wrongly: so it is refused when the version is
added, long before the first request. Loading checks again (:mod:`redpoll.backends.worker.models`).
"""

from __future__ import annotations

import bz2
import gzip
import importlib.metadata
import lzma
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from redpoll.backends.start import interpreter
from redpoll.catalog import Version
from redpoll.errors import RedpollError

ASK_S = 20.0
BYTES_MAX = 256 << 20  # of a file that is looked through; the worker finds out about larger ones
_ASK = "import importlib.metadata as m; print(m.version('scikit-learn'))"
# The key and its value as pickle writes two strings (protocols 2 to 5), memoised or not.
_WRITTEN = re.compile(
    rb"_sklearn_version(?:\x94|q.|r....)?(?:\x8c(?P<short>.)|X(?P<long>.)\0\0\0)", re.DOTALL
)
_VERSION = re.compile(rb"[0-9][0-9A-Za-z.+]*\Z")
_UNPACK: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", gzip.decompress),
    (b"BZh", bz2.decompress),
    (b"\xfd7zXZ", lzma.decompress),
    (b"x", zlib.decompress),  # joblib's own default
)


def written_with(raw: bytes) -> str | None:
    """Find the scikit-learn version of a pickle or joblib file; None where it does not say."""
    for magic, unpack in _UNPACK:
        if raw.startswith(magic):
            try:
                raw = unpack(raw)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                return None
            break
    found = _WRITTEN.search(raw)
    if found is None:
        return None
    length = (found["short"] or found["long"])[0]
    version = raw[found.end() : found.end() + length]
    return version.decode() if _VERSION.match(version) else None


def check(version: Version, path: Path) -> None:
    """Raise RP-003 where another scikit-learn wrote ``path`` than the version's Python has.

    Says nothing where either is not known: then the worker finds out. May ask an interpreter;
    call it off the event loop.
    """
    if version.kind != "sklearn":
        return
    try:
        wrote = written_with(path.read_bytes()) if path.stat().st_size <= BYTES_MAX else None
    except OSError:
        return
    has = _installed(interpreter(version)) if wrote else None
    if wrote and has and wrote != has:
        raise RedpollError(
            "RP-003",
            f"{version.backend} was written with scikit-learn {wrote}, but the Python that would "
            f"load it has {has}: a pickle is good for the version that wrote it only. Install "
            f"scikit-learn=={wrote} there, or fit and save the model again.",
        )


def _installed(python: str) -> str | None:
    if python == sys.executable:
        try:
            return importlib.metadata.version("scikit-learn")
        except importlib.metadata.PackageNotFoundError:
            return None
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK], capture_output=True, text=True, timeout=ASK_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
