"""Changing the tokens file: one at a time, whole or not at all, readable by whoever could read it.

The server is not asked: it looks at the file again by itself (:class:`redpoll.host.tokens.Tokens`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from redpoll.errors import RedpollError, closest
from redpoll.host import tokens

MODE = 0o600  # of a new file: hashes are no secrets, but nobody else's business


def add(path: Path, name: str, line: str) -> None:
    """Add a line of :func:`redpoll.host.tokens.make`. RP-141 where the name is taken.

    RP-001 where the file is broken, RP-605 where it cannot be written.
    """
    with _changing(path):
        text = _text(path)
        if text and any(grant.name == name for _, grant in tokens.read(path)):
            raise RedpollError(
                "RP-141",
                f"There is a token named {name!r} in {path} already; its name is what decisions and "
                f"outcomes are signed with. Take another, or first `redpoll token revoke {name}`.",
            )
        _write(path, text + ("" if not text or text.endswith("\n") else "\n") + line + "\n")


def revoke(path: Path, name: str) -> int:
    """Take out the tokens of that name; how many there were. RP-142 where there is none."""
    with _changing(path):
        known = tokens.read(path)
        if all(grant.name != name for _, grant in known):
            names = sorted({grant.name for _, grant in known})
            hint = closest(name, names) or " `redpoll token list` shows them."
            raise RedpollError("RP-142", f"There is no token named {name!r} in {path}.{hint}")
        grants = iter(known)
        kept = [
            line
            for line in _text(path).splitlines()
            if not tokens.holds(line) or next(grants)[1].name != name
        ]
        _write(path, "".join(f"{line}\n" for line in kept))
        return sum(grant.name == name for _, grant in known)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """One changer at a time. The folder is locked, since the file itself is replaced."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        os.close(folder)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        tokens.read(path)  # says it better
        raise


def _write(path: Path, text: str) -> None:
    """Replace the file, which keeps its owner and mode; synced: a revoked token stays revoked."""
    target = Path(os.path.realpath(path))  # a link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8", opener=_private) as file:
            is_new = not target.exists()
            # A new one belongs to whom its folder belongs: root makes it for the server's user.
            before = (target.parent if is_new else target).stat()
            others = (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid())
            if others and (os.geteuid() == 0 or not is_new):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            if not is_new:
                os.fchmod(file.fileno(), before.st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_EXCL, MODE)


def _unwritable(path: Path, error: OSError) -> RedpollError:
    why = error.strerror or str(error)
    return RedpollError("RP-605", f"The tokens file {path} cannot be changed: {why}.")
