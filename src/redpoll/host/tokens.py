"""Tokens: who may do what. The file holds hashes only; it is looked at again when it changes.

One JSON object a line: ``{"name": "shop", "hash": "<sha256 of the token, hex>", "scopes":
["predict", "outcomes"], "per_second"?: 50}``. Tokens are 32 random bytes, so that a plain hash of them
cannot be guessed backwards.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import logging
import secrets
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from redpoll.errors import RedpollError, closest

log = logging.getLogger("redpoll.host")

SCOPES = ("predict", "outcomes", "read", "review", "operate", "admin", "metrics")
_HOLDERS = {scope: frozenset({scope, "admin"}) for scope in SCOPES} | {
    "read": frozenset({"read", "operate", "admin"})
}
PREFIX = "redpoll_"
LOOK_AGAIN_S = 1.0


class Grant(NamedTuple):
    """What a token is for. ``name`` is whose it is.

    ``per_second`` bounds its requests to the data plane, in each gateway; None: no bound of its own.
    """

    name: str
    scopes: frozenset[str]
    per_second: float | None = None
    made: str = ""  # when, RFC 3339; "" where the file does not say


def allows(scopes: Collection[str], wanted: str) -> bool:
    """Whether a token with these scopes may do what ``wanted`` names, on either plane.

    Each scope allows what it names; who may operate may also read, and an admin may all.
    """
    return not _HOLDERS[wanted].isdisjoint(scopes)


class Tokens:
    """The tokens of a file. A token that is taken out of it stops working within a second.

    Raises ``RedpollError`` RP-001 where the file cannot be read at the start; later such a file is
    logged, and what was known before stays.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._stamp = self._look()
        self._grants = read(self._path)
        self._looked = time.monotonic()
        self.generation = 0  # grows when the file was read again

    def find(self, token: str) -> Grant | None:
        """What this token is for; None where it is not known (any more)."""
        self.refresh()
        given = digest(token).encode()
        found = None
        for known, grant in self._grants:
            if hmac.compare_digest(known, given):
                found = grant  # and on to the end: the time taken says nothing
        return found

    def refresh(self) -> None:
        """Read the file again if it changed; looks at most once a second."""
        now = time.monotonic()
        if now - self._looked < LOOK_AGAIN_S:
            return
        self._looked = now
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._grants = read(self._path)
                self._stamp = stamp
                self.generation += 1
        except RedpollError as error:
            log.error("%s The tokens known before stay.", error)

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise _bad(self._path, error.strerror or str(error)) from None
        return found.st_mtime_ns, found.st_ino, found.st_size


def digest(token: str) -> str:
    """The hash of a token, as the file holds it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def make(
    name: str, scopes: Sequence[str], *, per_second: float | None = None, made: str = ""
) -> tuple[str, str]:
    """A new token, to be shown once, and its line for the file. RP-001 for an unknown scope."""
    for scope in scopes:
        if scope not in SCOPES:
            hint = closest(scope, SCOPES) or f" Known are {', '.join(SCOPES)}."
            raise RedpollError("RP-001", f"{scope!r} is no scope of a token.{hint}")
    token = PREFIX + secrets.token_urlsafe(32)
    said: dict[str, object] = {"name": name, "hash": digest(token), "scopes": list(scopes)}
    if per_second is not None:
        said["per_second"] = per_second
    if made:
        said["made"] = made
    return token, json.dumps(said)


def check_reach(addresses: dict[str, str], tokens_file: str | None) -> None:
    """Refuse to listen beyond loopback without tokens (RP-001). ``addresses``: setting -> address."""
    for setting, address in addresses.items():
        if loopback(address.rpartition(":")[0].strip("[]")):
            continue
        if tokens_file is None:
            why = "no tokens are configured; set server.tokens_file"
        elif not read(Path(tokens_file)):
            why = (
                f"{tokens_file} holds no token, so that nobody could get in; make one: `redpoll "
                "token create --scope operate --name NAME`"
            )
        else:
            continue
        raise RedpollError(
            "RP-001",
            f"{setting} = {address!r} can be reached from other machines, and {why}, or listen on "
            "127.0.0.1.",
        )


def loopback(host: str) -> bool:
    """Whether only this machine reaches that host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read(path: Path) -> list[tuple[bytes, Grant]]:
    """The hashes of a tokens file and what each is for, in its order. RP-001 where it is broken."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise _bad(path, str(error)) from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if holds(line)]
    return [_grant(path, number, line) for number, line in numbered]


def holds(line: str) -> bool:
    """Whether a line of the file is a token: not empty, no comment."""
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _grant(path: Path, number: int, line: str) -> tuple[bytes, Grant]:
    try:
        said = json.loads(line)
        name, known, scopes = said["name"], said["hash"], said["scopes"]
        bound, made = said.get("per_second"), said.get("made", "")
        whole = isinstance(name, str) and isinstance(scopes, list) and len(known) == 64
        whole = whole and isinstance(made, str)
        bounded = bound is None or (type(bound) in (int, float) and 0 < bound < 1e9)
        if not whole or int(known, 16) < 0 or not bounded:
            raise ValueError("a field has the wrong form")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Of a broken line no word is repeated but a field's name: it might be a token.
        why = f"{error} is missing" if isinstance(error, KeyError) else "a field has the wrong form"
        if isinstance(error, json.JSONDecodeError):
            why = f"no JSON at column {error.colno}"
        raise _bad(path, f"line {number}: {why}") from None
    for scope in scopes:
        if scope not in SCOPES:
            hint = closest(str(scope), SCOPES)
            raise _bad(path, f"line {number}: {str(scope)[:40]!r} is no scope.{hint}")
    return known.lower().encode(), Grant(name, frozenset(scopes), bound, made)


def _bad(path: Path, why: str) -> RedpollError:
    return RedpollError(
        "RP-001",
        f"The tokens file {path} cannot be used: {why}. Each line is "
        '{"name": …, "hash": …, "scopes": […]}, as `redpoll token create` writes it.',
    )
