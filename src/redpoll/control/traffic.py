"""What each model's versions did in the last minute: a rolling fold of requests and answers.

It is for *Now* and never for a gate. Counts lie in seconds of the answer's time; latencies in log
bins of 5 %, so a quantile is right to within that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from typing import Any

from redpoll.facts import Answer
from redpoll.views import ArmView

WINDOW_S = 60
RECENT_LATENCIES = 2000  # of the live version, for the reference of the next rollout
RATE_MINUTES = 60  # that "the last hour" rests on
_LOG_STEP = math.log(1.05)


def bin_of(latency_us: int) -> int:
    """The log bin of a latency."""
    return int(math.log(max(latency_us, 1)) / _LOG_STEP)


def middle_ms(index: int) -> float:
    """A bin's middle in milliseconds."""
    return math.exp((index + 0.5) * _LOG_STEP) / 1000.0


def quantile_ms(bins: dict[int, int], share: float) -> float | None:
    """A quantile of binned latencies, None where there are none."""
    total = sum(bins.values())
    if total == 0:
        return None
    seen, wanted = 0, share * total
    for index in sorted(bins):
        seen += bins[index]
        if seen >= wanted:
            return round(middle_ms(index), 3)
    return None


class Second:
    """What one version did in one second."""

    __slots__ = ("bins", "status", "time_s")

    def __init__(self, time_s: int) -> None:
        self.time_s = time_s
        self.status: dict[str, int] = {}
        self.bins: dict[int, int] = {}


class VersionTraffic:
    """One version's last minute by seconds, last hour by minutes, and last latencies."""

    def __init__(self) -> None:
        self.seconds: deque[Second] = deque(maxlen=WINDOW_S + 1)
        self.first_s: int | None = None  # when it was first seen: a rate is over what is known
        self.latencies: deque[int] = deque(maxlen=RECENT_LATENCIES)  # -1 timed out, -2 other bad
        self.minutes: deque[list[int]] = deque(maxlen=RATE_MINUTES)  # minute, n, bad
        self._second = Second(-1)
        self._minute = [-1, 0, 0]

    def add(self, time_us: int, status: str, latency_us: int) -> None:
        """Count one live answer. Streams interleave: a second early or late does no harm."""
        second, minute = self._second, self._minute
        if time_us // 1_000_000 > second.time_s:
            second, minute = self._turn(time_us)
        second.status[status] = second.status.get(status, 0) + 1
        index, bins = bin_of(latency_us), second.bins
        bins[index] = bins.get(index, 0) + 1
        minute[1] += 1
        if status == "ok":
            self.latencies.append(latency_us)
        else:
            minute[2] += 1
            self.latencies.append(-1 if status in ("timeout", "lost") else -2)

    def _turn(self, time_us: int) -> tuple[Second, list[int]]:
        """Begin a second, and with it perhaps a minute."""
        time_s = time_us // 1_000_000
        if self.first_s is None:
            self.first_s = time_s
        self._second = Second(time_s)
        self.seconds.append(self._second)
        if time_s // 60 > self._minute[0]:
            self._minute = [time_s // 60, 0, 0]
            self.minutes.append(self._minute)
        return self._second, self._minute

    def state(self) -> dict[str, Any]:
        """For a checkpoint: what lasts longer than a minute."""
        return {"latencies": list(self.latencies), "minutes": list(self.minutes)}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        self.latencies.extend(state["latencies"])
        self.minutes.extend([int(x) for x in minute] for minute in state["minutes"])
        if self.minutes:
            self._minute = self.minutes[-1]

    def view(self, version: str, now_us: int) -> ArmView:
        """The last minute as a page shows it."""
        return minute_view(version, [self], now_us)

    def span_s(self, now_us: int) -> int:
        """The seconds that a rate is over: a minute, or since it was first seen."""
        known = WINDOW_S if self.first_s is None else now_us // 1_000_000 - self.first_s
        return min(WINDOW_S, max(1, known))


def minute_view(name: str, parts: Collection[VersionTraffic], now_us: int) -> ArmView:
    """The last minute of one or more versions together."""
    since = now_us // 1_000_000 - WINDOW_S
    status: dict[str, int] = {}
    bins: dict[int, int] = {}
    for second in (one for part in parts for one in part.seconds if one.time_s >= since):
        for key, count in second.status.items():
            status[key] = status.get(key, 0) + count
        for index, count in second.bins.items():
            bins[index] = bins.get(index, 0) + count
    total = sum(status.values())
    span_s = max((part.span_s(now_us) for part in parts), default=WINDOW_S)
    return ArmView(
        version=name,
        requests=total,
        bad=total - status.get("ok", 0),
        by_status=status,
        p50_ms=quantile_ms(bins, 0.5),
        p95_ms=quantile_ms(bins, 0.95),
        requests_per_second=round(total / span_s, 3),
    )


class ModelTraffic:
    """One model: its versions, its units, and what the next rollout wants to know."""

    def __init__(self) -> None:
        self.versions: dict[str, VersionTraffic] = {}
        self.minutes: deque[list[int]] = deque(maxlen=RATE_MINUTES)  # minute, n, with a unit
        self.minute = [-1, 0, 0]

    def request(self, time_us: int, has_unit: bool) -> None:
        """Count one arrival."""
        minute = self.minute
        if time_us // 60_000_000 > minute[0]:
            minute = self.minute = [time_us // 60_000_000, 0, 0]
            self.minutes.append(minute)
        minute[1] += 1
        minute[2] += has_unit

    def answer(self, time_us: int, answer: Answer) -> None:
        """Count one live answer."""
        version = self.versions.get(answer.version)
        if version is None:
            version = self.versions[answer.version] = VersionTraffic()
        version.add(time_us, answer.status, answer.latency_us)

    def latencies(self, version: str | None) -> list[int]:
        """A version's last latencies in µs; -1 for time-outs and lost ones, -2 for other bad ones."""
        return list(self.versions[version].latencies) if version in self.versions else []

    def rate(self, now_us: int) -> float:
        """Requests a second over the last hour (or as long as is known, at least a minute)."""
        minute = now_us // 60_000_000
        recent = [(at, n) for at, n, _ in self.minutes if at > minute - 60]
        if not recent:
            return 0.0
        seconds = max(60.0, now_us / 1e6 - recent[0][0] * 60.0)
        return sum(n for _, n in recent) / seconds

    def unit_share(self, now_us: int) -> tuple[float | None, int]:
        """The share of recent requests that carried the unit, and of how many."""
        minute = now_us // 60_000_000
        recent = [(n, units) for at, n, units in self.minutes if at > minute - 10]
        total = sum(n for n, _ in recent)
        return (sum(units for _, units in recent) / total if total else None), total


class Traffic:
    """All models. ``request`` and ``answer`` are called with every new fact of their kind."""

    def __init__(self) -> None:
        self.models: dict[str, ModelTraffic] = {}

    def of(self, model: str) -> ModelTraffic:
        """A model's traffic, empty at first."""
        found = self.models.get(model)
        if found is None:
            found = self.models[model] = ModelTraffic()
        return found

    def view(self, model: str, versions: Iterable[str], now_us: int) -> tuple[ArmView, ...]:
        """The last minute of these versions."""
        mine = self.of(model).versions
        return tuple(
            mine[name].view(name, now_us) if name in mine else ArmView(version=name)
            for name in versions
        )

    def hour(self, model: str, version: str, now_us: int) -> tuple[int, int]:
        """A version's requests in the hour up to then, and how many of them were bad."""
        minute = now_us // 60_000_000
        part = self.of(model).versions.get(version)
        recent = [m for m in part.minutes if minute - 60 < m[0] <= minute] if part else []
        return sum(m[1] for m in recent), sum(m[2] for m in recent)

    def total(self, model: str, now_us: int) -> ArmView:
        """The last minute of a model, all versions together."""
        return minute_view("all", self.of(model).versions.values(), now_us)

    def state(self) -> dict[str, Any]:
        """What a restart wants back: minutes and latencies."""
        return {
            name: {
                "minutes": list(one.minutes),
                "versions": {version: part.state() for version, part in one.versions.items()},
            }
            for name, one in self.models.items()
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        for name, kept in state.items():
            mine = self.of(name)
            mine.minutes.extend([int(x) for x in minute] for minute in kept["minutes"])
            if mine.minutes:
                mine.minute = mine.minutes[-1]
            for version, part in kept["versions"].items():
                mine.versions.setdefault(version, VersionTraffic()).load(part)
