"""Time as an argument: UTC microseconds from a clock that tests can hold in their hands."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where now comes from."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z, by the wall clock."""
        ...


class SystemClock:
    """The machine's wall clock."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000


class SimClock:
    """A clock that moves only when told to; also backwards, as real ones do."""

    def __init__(self, start_us: int = 0) -> None:
        self.time_us = start_us

    def now_us(self) -> int:
        """Microseconds since the epoch, as last set."""
        return self.time_us

    def advance(self, us: int) -> None:
        """Move by ``us`` microseconds (negative: a clock step backwards)."""
        self.time_us += us


def iso(time_us: int) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-11-24T03:04:09.412Z``."""
    moment = datetime.fromtimestamp(time_us / 1e6, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_us // 1000 % 1000:03d}Z"


def hour(time_us: int) -> str:
    """The partition of a moment: ``2026-11-24T03`` (UTC)."""
    return time.strftime("%Y-%m-%dT%H", time.gmtime(time_us // 1_000_000))
