"""Pickles: what they say of themselves without being run, and loading them.

A pickle holds no code, only the names of classes: where those are not found, loading ends with a
sentence that says which, and what to do. Also read by redpoll itself, before it starts a worker.
"""

from __future__ import annotations

import ast
import bz2
import contextlib
import gzip
import importlib
import lzma
import os
import pickle
import pickletools
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SCRIPTS_MAX = 200  # files of a folder that are looked through for a class
SCRIPT_BYTES_MAX = 1 << 20
# The key and its value as pickle writes two strings (protocols 2 to 5), memoised or not.
_WRITTEN = re.compile(
    rb"_sklearn_version(?:\x94|q.|r....)?(?:\x8c(?P<short>.)|X(?P<long>.)\0\0\0)", re.DOTALL
)
_VERSION = re.compile(rb"[0-9][0-9A-Za-z.+]*\Z")
# A class as pickle names it from protocol 4 on: two strings and STACK_GLOBAL.
_STACK_GLOBAL = re.compile(
    rb"\x8c.(?P<module>[A-Za-z_][\w.]*)\x94\x8c.(?P<name>[A-Za-z_][\w.]*)\x94\x93", re.DOTALL
)
_UNPACK: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", gzip.decompress),
    (b"BZh", bz2.decompress),
    (b"\xfd7zXZ", lzma.decompress),
    (b"x", zlib.decompress),  # joblib's own default
)


def unpacked(raw: bytes) -> bytes:
    """The pickle in a file that may be compressed, as joblib does it; b"" where it cannot be."""
    for magic, unpack in _UNPACK:
        if raw.startswith(magic):
            try:
                return unpack(raw)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                return b""
    return raw


def begins(raw: bytes) -> bool:
    """Whether an unpacked file begins as a pickle does; of the old protocols 0 and 1 all is read."""
    if raw[:1] == b"\x80":
        return raw[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    try:
        return any(code.name == "STOP" for code, _, _ in pickletools.genops(raw))
    except Exception:  # whatever reading bytes that are none can end in
        return False


def written_with(raw: bytes) -> str | None:
    """Find the scikit-learn version of an unpacked pickle; None where it does not say."""
    found = _WRITTEN.search(raw)
    if found is None:
        return None
    length = (found["short"] or found["long"])[0]
    version = raw[found.end() : found.end() + length]
    return version.decode() if _VERSION.match(version) else None


def classes(raw: bytes) -> dict[str, set[str]]:
    """Names of classes and functions by module, as far as an unpacked pickle shows them."""
    found: dict[str, set[str]] = {}
    if raw[1:2] < b"\x04":  # GLOBAL has no mark of its own: only reading all of it tells
        with contextlib.suppress(Exception):  # joblib's arrays lie between the parts of a pickle
            for code, argument, _ in pickletools.genops(raw):
                if code.name == "GLOBAL":
                    module, _, name = str(argument).partition(" ")
                    found.setdefault(module, set()).add(name)
        return found
    for match in _STACK_GLOBAL.finditer(raw):
        found.setdefault(match["module"].decode(), set()).add(match["name"].decode())
    return found


def defined(scripts: Iterable[str], name: str) -> str | None:
    """Which of these Python files defines ``name`` at its top; None: none of them. Runs nothing."""
    for path in scripts:
        try:
            if os.path.getsize(path) > SCRIPT_BYTES_MAX:  # noqa: PTH202
                continue
            with open(path, "rb") as file:  # noqa: PTH123
                tree = ast.parse(file.read())
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return path
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == name for target in node.targets
            ):
                return path
    return None


def scripts_in(folder: str) -> list[str]:
    """The Python files that lie in a folder, at most 200 of them."""
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))  # noqa: PTH208
        return [os.path.join(folder, name) for name in names[:SCRIPTS_MAX]]  # noqa: PTH118
    return []


def lost_class(file: str, name: str, folder: str) -> str:
    """What to do about a class that the script defined which wrote ``file``: ``__main__.<name>``."""
    home = defined(scripts_in(folder), name.partition(".")[0])
    where = os.path.basename(home) if home else "train.py"  # noqa: PTH119
    known = f"{where} here defines it: write" if home else "name that script, if it is here:"
    return (
        f"{file} holds a `{name}` of `__main__`: of the script or notebook that saved it, whose "
        f'code no file keeps. {known} files = ["{where}"] (it is imported, so what it does when '
        'run belongs under `if __name__ == "__main__":`); or move the class into a module of its '
        "own here, and save the model again"
    )


@contextlib.contextmanager
def _main_from(scripts: list[str]) -> Iterator[None]:
    """While a pickle is loaded, what it wants of ``__main__`` is taken from these files."""
    main = sys.modules["__main__"]

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        home = defined(scripts, name)
        if home is None:
            raise AttributeError(name)
        folder, base = os.path.split(os.path.abspath(home))  # noqa: PTH100
        if folder not in sys.path:
            sys.path.append(folder)
        return getattr(importlib.import_module(base[: -len(".py")]), name)

    vars(main)["__getattr__"] = find
    try:
        yield
    finally:
        del vars(main)["__getattr__"]


class Missing(Exception):
    """What a pickle needs is not here; the message says what, and what to do."""


def load(path: str, name: str, folder: str, files: Iterable[str]) -> Any:
    """Load a pickle or joblib file. Raises :class:`Missing`, and what its classes raise.

    ``name`` is the file's in messages, ``folder`` that of the configuration, ``files`` the side
    files: classes of ``__main__`` are looked for in those of them that are Python.
    """
    try:
        from joblib import load as read
    except ImportError:
        read = _plain
    scripts = [os.path.join(folder, file) for file in files if file.endswith(".py")]  # noqa: PTH118
    with _main_from(scripts):
        try:
            return read(path)
        except ModuleNotFoundError as error:
            raise Missing(_lost_module(name, error.name or str(error), folder)) from None
        except AttributeError as error:
            found = re.match(r"Can't get attribute '([^']+)' on <module '([^']+)'", str(error))
            if found is None:
                raise
            if found[2] == "__main__":
                raise Missing(lost_class(name, found[1], folder)) from None
            raise Missing(
                f"{name} needs {found[1]!r} of the module {found[2]!r}, which has none (any more): "
                "install the version of it that the model was saved with, or save the model again"
            ) from None
        except (pickle.UnpicklingError, EOFError) as error:
            raise Missing(
                f"{name} is no whole pickle or joblib file ({type(error).__name__}: {error}); save "
                "the model again with joblib.dump or pickle.dump"
            ) from error


def _lost_module(file: str, module: str, folder: str) -> str:
    top = module.partition(".")[0]
    if top != module and top in sys.modules:
        version = getattr(sys.modules[top], "__version__", "")
        return (
            f"{file} needs the module {module!r}, which the {top} {version} here does not have: "
            "install the version that the model was saved with, or save the model again"
        )
    return (
        f"{file} needs the module {module!r}: put {top}.py (or the package {top}/) into {folder}, "
        f"or install it in this Python: {sys.executable} -m pip install {package_of(top)}"
    )


def package_of(module: str) -> str:
    """The package that brings a module, as far as it is another name."""
    known = {
        "sklearn": "scikit-learn",
        "skimage": "scikit-image",
        "imblearn": "imbalanced-learn",
        "cv2": "opencv-python",
        "PIL": "pillow",
        "yaml": "pyyaml",
    }
    return known.get(module, module.replace("_", "-"))


def _plain(path: str) -> Any:
    with open(path, "rb") as file:  # noqa: PTH123
        return pickle.load(file)  # noqa: S301


def load_estimator(path: str, name: str, folder: str, files: Iterable[str]) -> Any:
    """Load a file of scikit-learn; one that another version wrote is refused: it may answer wrongly.

    Raises :class:`Missing`.
    """
    try:
        from sklearn.exceptions import InconsistentVersionWarning
    except ImportError as error:
        raise Missing(
            f"scikit-learn cannot be imported in this Python ({error}); set `python` of the "
            "version to the environment that the model was made in, or install it: "
            f"{sys.executable} -m pip install scikit-learn"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            return load(path, name, folder, files)
        except InconsistentVersionWarning as error:
            raise Missing(
                f"{name} was written with scikit-learn {error.original_sklearn_version}, this "
                f"Python has {error.current_sklearn_version}: a pickle is good for the version "
                "that wrote it only. Install that one "
                f"({sys.executable} -m pip install "
                f"scikit-learn=={error.original_sklearn_version}), or fit and save again."
            ) from None
