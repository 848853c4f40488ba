"""How single values are written: durations, sizes, weights, addresses, names, choices.

Each function takes what ``tomllib`` made of the file and returns the value in redpoll's units
(seconds, bytes, fractions), or raises :class:`~redpoll.config.problems.Wrong` with a sentence.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Sequence

from redpoll.catalog import FIELD_NAME
from redpoll.config.problems import Wrong, not_built, show
from redpoll.errors import closest

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d|w)\Z", re.ASCII)
_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|KB|MB|GB|KiB|MiB|GiB)\Z", re.ASCII)
_SIZE_BYTES = {
    "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3,
    "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3,
}  # fmt: skip
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%\Z", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_ADDRESS = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):(\d{1,5})\Z", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\Z")
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?\Z")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
# What redpoll says itself, or what frames a message.
_OURS = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "content-type", "expect")
)
LONGEST_S = 10 * 365 * 86400.0  # past ten years a duration is a slip of the pen
LONGEST_NAME = 128


def text(value: object) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        raise Wrong(f"{show(value)} must be a string; put it in quotes")
    if not value or any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise Wrong("the string is empty or has control characters in it")
    return value


def boolean(value: object) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise Wrong(f"{show(value)} must be true or false, without quotes")
    return value


def number(value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"{show(value)} must be a number, without quotes")
    try:
        as_float = float(value)
    except OverflowError:
        as_float = math.inf
    if not math.isfinite(as_float):
        raise Wrong(f"{show(value)} is no finite number")
    return as_float


def integer(low: int, high: int) -> Callable[[object], int]:
    """A whole number between bounds, both included."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"{show(value)} must be a whole number from {low} to {high}")
        if not low <= value <= high:
            raise Wrong(f"{show(value)} is out of bounds; it goes from {low} to {high}")
        return value

    return read


def choice(*known: str, later: Sequence[str] = ()) -> Callable[[object], str]:
    """One of some words; ``later`` are words that are not built yet."""
    words = ", ".join(f'"{word}"' for word in known)

    def read(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        if isinstance(value, str) and value in later:
            raise Wrong(f"{not_built(show(value))}; today it can be {words}")
        hint = closest(value, [*known, *later]) if isinstance(value, str) else ""
        raise Wrong(f"{show(value)} is none of {words}.{hint}")

    return read


def duration(value: object) -> float:
    """Seconds from ``"250ms"``, ``"30s"``, ``"10m"``, ``"1h"``, ``"7d"``, ``"2w"``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong(
            f'{show(value)} has no unit; write "{show(value)}s" for seconds, "10m", "1h", "7d"'
        )
    found = _DURATION.match(value) if isinstance(value, str) else None
    if not found:
        raise Wrong(f'{show(value)} is no duration; write "250ms", "30s", "10m", "1h" or "7d"')
    seconds = float(found[1]) * _DURATION_S[found[2]]
    if seconds > LONGEST_S:
        raise Wrong(f"{show(value)} is longer than ten years")
    return seconds


def some_time(value: object) -> float:
    """A duration above zero, in seconds."""
    seconds = duration(value)
    if seconds <= 0:
        raise Wrong(f"{show(value)} must be more than nothing")
    return seconds


def size(low: int, high: int) -> Callable[[object], int]:
    """Bytes from ``"32KiB"``, ``"16MiB"``, ``"1GB"`` or a whole number of bytes."""

    def read(value: object) -> int:
        found = _SIZE.match(value) if isinstance(value, str) else None
        if found:
            amount = float(found[1]) * _SIZE_BYTES[found[2]]
        elif isinstance(value, int) and not isinstance(value, bool):
            amount = value
        else:
            raise Wrong(f'{show(value)} is no size; write "32KiB", "16MiB" or a number of bytes')
        if not low <= amount <= high:
            raise Wrong(f"{show(value)} is out of bounds; it goes from {low} to {high} bytes")
        return int(amount)

    return read


def weight(value: object) -> float:
    """A share in (0, 1] from ``"10%"`` or a fraction below 1. A bare 1 or 10 is refused."""
    if isinstance(value, str):
        found = _PERCENT.match(value)
        if not found:
            raise Wrong(f'{show(value)} is no weight; write "10%" or 0.1')
        percent = float(found[1])
        if not 0 < percent <= 100:
            raise Wrong(f'{show(value)} is out of bounds; a weight goes from above "0%" to "100%"')
        return percent / 100
    amount = number(value)
    if amount <= 0:
        raise Wrong(f'{show(value)} must be above 0; write "10%" or 0.1')
    if amount >= 1:
        meant = f'"{show(value)}%" or {amount / 100:g}' if amount <= 100 else '"10%" or 0.1'
        raise Wrong(f"{show(value)} may mean {show(value)} % or everything; write {meant}")
    return amount


def share(value: object) -> float:
    """A share in [0, 1] from ``"10%"`` or a number: here 1.0 is all, and 0 nothing."""
    found = _PERCENT.match(value) if isinstance(value, str) else None
    if isinstance(value, str) and not found:
        raise Wrong(f'{show(value)} is no share; write "10%" or 0.1')
    amount = float(found[1]) / 100 if found else number(value)
    if not 0 <= amount <= 1:
        raise Wrong(f'{show(value)} is out of bounds; a share goes from "0%" to "100%"')
    return amount


def address(value: object) -> str:
    """``host:port`` with a port from 0 (a free one) to 65535; IPv6 in brackets."""
    found = _ADDRESS.match(value) if isinstance(value, str) else None
    if not found or int(found[2]) > 65535:
        raise Wrong(f'{show(value)} is no address; write host and port: "127.0.0.1:8080"')
    host = found[1]
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1].partition("%")[0])
        except ValueError:
            raise Wrong(
                f'{show(value)} has no IPv6 address in its brackets: "[::1]:8080"'
            ) from None
    elif not _HOST.match(host):
        example = f"127.0.0.1:{found[2]}"
        raise Wrong(f'{show(value)} names no host to listen on; write "{example}" for loopback')
    return f"{host}:{int(found[2])}"


def is_loopback(listen: str) -> bool:
    """Whether an address that :func:`address` took is reached from this machine alone."""
    host = listen.rpartition(":")[0].strip("[]").partition("%")[0]
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origins(value: object) -> tuple[str, ...]:
    """Origins of pages, as browsers write them: ``["https://shop.example"]``."""
    if not isinstance(value, list) or not value:
        raise Wrong(f'{show(value)} must be an array of origins: ["https://shop.example"]')
    found = []
    for item in value:
        written = text(item)
        if written == "*":
            raise Wrong('"*" is what holds without origins; leave the setting out')
        if _ORIGIN.match(written) is None:
            raise Wrong(
                f"{show(written)} is no origin: scheme, host and port, with nothing behind them, "
                'as in "https://shop.example"'
            )
        found.append(written.lower())
    return tuple(found)


def host(value: object) -> str:
    """A host, with a port or without, as a ``Host`` header has it."""
    written = text(value)
    if _AUTHORITY.match(written) is None:
        raise Wrong(f'{show(written)} is no host; write it like "churn.models.example"')
    return written


def headers_env(value: object) -> dict[str, str]:
    """Headers by name, with environment variables: ``{authorization = "CHURN_AUTH"}``."""
    if not isinstance(value, dict):
        raise Wrong(f'{show(value)} must be a table: {{authorization = "CHURN_AUTH"}}')
    found = {}
    for name, variable in value.items():
        if not _HEADER.match(name) or name.lower() in _OURS:
            raise Wrong(f"{show(name)} is no header that can be set here")
        if _VARIABLE.match(text(variable)) is None:
            raise Wrong(
                f"{show(variable)} is no name of an environment variable; the value itself does not "
                "belong in this file"
            )
        found[name.lower()] = variable
    return found


def field_name(value: object) -> str:
    """The name of a column, group or outcome: ``[a-z][a-z0-9_]*``."""
    name = text(value)
    if not FIELD_NAME.match(name) or len(name) > LONGEST_NAME:
        made = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:LONGEST_NAME]
        hint = f' Try "{made}".' if FIELD_NAME.match(made) else ""
        raise Wrong(
            f"{show(name)} is no name; it starts with a small letter and goes on with small "
            f"letters, digits and _.{hint}"
        )
    return name


def source(value: object) -> str:
    """``header:<name>`` (made lower-case) or ``input:<column>``."""
    written = text(value)
    kind, colon, name = written.partition(":")
    if kind == "header" and colon and _HEADER.match(name):
        return f"header:{name.lower()}"
    if kind == "input" and colon and name:
        return written
    raise Wrong(f'{show(written)} must be "header:<name>" or "input:<column>"')


def columns(value: object) -> tuple[str, ...]:
    """An array of column names, each once."""
    if not isinstance(value, list):
        raise Wrong(f'{show(value)} must be an array of names: ["age", "plan"]')
    names = tuple(text(item) for item in value)
    twice = {name for name in names if names.count(name) > 1} if len(names) < 5000 else set()
    if twice:
        raise Wrong(f"{show(min(twice))} is named twice")
    return names
