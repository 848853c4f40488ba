"""What the address of *Requests* asks for: read, checked, and written again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from redpoll import ids
from redpoll.control.requests import FAILED, NONE, Asked
from redpoll.errors import RedpollError, closest
from redpoll.facts import STATUSES

FIELDS = ("id", "unit", "model", "status", "from", "until", "after", "limit")
CHOICES = (*STATUSES, FAILED, NONE)
LIMIT, LIMIT_MAX = 50, 500
TEXT_MAX = 512
LATEST_US = 4_102_444_800_000_000  # 2100-01-01


def read(query: Mapping[str, str]) -> Asked:
    """What is asked. RP-101 for what cannot be read, each with what to write instead."""
    wanted = query.get("id", "").strip()
    since_us, until_us = _moment(query, "from"), _moment(query, "until")
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise RedpollError("RP-101", "from is not before until; give an earlier from.")
    status = query.get("status", "")
    if status and status not in CHOICES:
        raise RedpollError(
            "RP-101",
            f"status is {status[:40]!r}; it is one of {', '.join(CHOICES)}."
            + closest(status, CHOICES),
        )
    for name in ("id", "unit"):
        if len(query.get(name, "")) > TEXT_MAX:
            raise RedpollError("RP-101", f"{name} is longer than {TEXT_MAX} characters.")
    return Asked(
        model=query.get("model", ""),
        unit=query.get("unit", "").strip(),
        wanted_id=wanted,
        status=status,
        since_us=since_us or 0,
        until_us=until_us,
        after=_cursor(query.get("after", "")),
        limit=_limit(query.get("limit", "")),
    )


def again(query: Mapping[str, str], after: tuple[int, str, int] | None) -> str:
    """The query of the next page (or, with None, of the first)."""
    kept = {k: v for k, v in query.items() if k in FIELDS and k != "after" and v}
    if after is not None:
        kept["after"] = cursor(after)
    return urlencode(kept)


def cursor(key: tuple[int, str, int]) -> str:
    """``<µs>.<stream>.<sequence>`` of the last request of a page."""
    return f"{-key[0]}.{key[1]}.{-key[2]}"


def is_prediction_id(text: str) -> bool:
    """Whether it looks like one of ours."""
    try:
        ids.check(text)
    except ValueError:
        return False
    return True


def _cursor(text: str) -> tuple[int, str, int] | None:
    if not text:
        return None
    time_us, _, rest = text.partition(".")
    stream, _, sequence = rest.rpartition(".")
    if not (time_us.isdecimal() and sequence.isdecimal()) or len(text) > 100:
        raise RedpollError(
            "RP-101",
            f"after is {text[:60]!r}, which is no cursor of this list; leave it out to begin with "
            "the newest, then follow `more`.",
        )
    return (-int(time_us), stream, -int(sequence))


def _limit(text: str) -> int:
    if not text:
        return LIMIT
    if not text.isdecimal() or not 1 <= int(text) <= LIMIT_MAX:
        raise RedpollError(
            "RP-101", f"limit is {text[:20]!r}; it is a number from 1 to {LIMIT_MAX}."
        )
    return int(text)


def _moment(query: Mapping[str, str], name: str) -> int | None:
    """A time as µs; without an offset it is UTC."""
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "T", 1) if "T" not in text else text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        found = round(moment.timestamp() * 1e6)
    except (ValueError, OverflowError):
        found = -1
    if not 0 <= found <= LATEST_US:
        raise RedpollError(
            "RP-101",
            f"{name} is {text[:40]!r}, which is no time; write 2026-11-24T03:04 or "
            "2026-11-24T03:04:09Z (UTC where it has no offset).",
        )
    return found
