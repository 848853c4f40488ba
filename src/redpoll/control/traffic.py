"""What each model's versions did in the last minute: a rolling fold of requests and answers.

It is for *Now* and never for a gate. Counts lie in seconds of the answer's time; latencies in log
bins of 5 %, so a quantile is right to within that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from redpoll.facts import Answer, Entry, Request
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
    """One version's last minute."""

    def __init__(self) -> None:
        self.seconds: deque[Second] = deque(maxlen=WINDOW_S + 1)
        self.first_s: int | None = None  # when it was first seen: a rate is over what is known

    def add(self, time_us: int, status: str, latency_us: int) -> None:
        """Count one live answer."""
        time_s = time_us // 1_000_000
        if self.first_s is None:
            self.first_s = time_s
        if not self.seconds or self.seconds[-1].time_s < time_s:
            self.seconds.append(Second(time_s))
        second = self.seconds[-1]  # streams interleave: a second early or late does no harm
        second.status[status] = second.status.get(status, 0) + 1
        index = bin_of(latency_us)
        second.bins[index] = second.bins.get(index, 0) + 1

    def view(self, version: str, now_us: int) -> ArmView:
        """The last minute as a page shows it."""
        since = now_us // 1_000_000 - WINDOW_S
        status: dict[str, int] = {}
        bins: dict[int, int] = {}
        for second in self.seconds:
            if second.time_s < since:
                continue
            for key, count in second.status.items():
                status[key] = status.get(key, 0) + count
            for index, count in second.bins.items():
                bins[index] = bins.get(index, 0) + count
        total = sum(status.values())
        return ArmView(
            version=version,
            requests=total,
            bad=total - status.get("ok", 0),
            by_status=status,
            p50_ms=quantile_ms(bins, 0.5),
            p95_ms=quantile_ms(bins, 0.95),
            requests_per_second=round(total / self.span_s(now_us), 3),
        )

    def span_s(self, now_us: int) -> int:
        """The seconds that a rate is over: a minute, or since it was first seen."""
        known = WINDOW_S if self.first_s is None else now_us // 1_000_000 - self.first_s
        return min(WINDOW_S, max(1, known))


class ModelTraffic:
    """One model: its versions, its units, and what the next rollout wants to know."""

    def __init__(self) -> None:
        self.versions: dict[str, VersionTraffic] = {}
        self.minutes: deque[tuple[int, int, int]] = deque(maxlen=RATE_MINUTES)  # minute, n, units
        self.latencies: dict[str, deque[int]] = {}  # µs; -1 timed out or lost, -2 otherwise bad
        self.hours: dict[str, deque[tuple[int, int, int]]] = {}  # of a version: minute, n, bad

    def request(self, time_us: int, has_unit: bool) -> None:
        """Count one arrival."""
        minute = time_us // 60_000_000
        if not self.minutes or self.minutes[-1][0] < minute:
            self.minutes.append((minute, 0, 0))
        at, count, units = self.minutes[-1]
        self.minutes[-1] = (at, count + 1, units + has_unit)

    def answer(self, time_us: int, answer: Answer) -> None:
        """Count one live answer."""
        if answer.version not in self.versions:
            self.versions[answer.version] = VersionTraffic()
            self.latencies.setdefault(answer.version, deque(maxlen=RECENT_LATENCIES))
            self.hours.setdefault(answer.version, deque(maxlen=RATE_MINUTES))
        self.versions[answer.version].add(time_us, answer.status, answer.latency_us)
        ok = answer.status == "ok"
        slow = -1 if answer.status in ("timeout", "lost") else -2
        self.latencies[answer.version].append(answer.latency_us if ok else slow)
        hour, minute = self.hours[answer.version], time_us // 60_000_000
        if not hour or hour[-1][0] < minute:
            hour.append((minute, 0, 0))
        at, count, bad = hour[-1]
        hour[-1] = (at, count + 1, bad + (not ok))

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
    """All models. ``add`` is called with every new entry."""

    def __init__(self) -> None:
        self.models: dict[str, ModelTraffic] = {}

    def of(self, model: str) -> ModelTraffic:
        """A model's traffic, empty at first."""
        if model not in self.models:
            self.models[model] = ModelTraffic()
        return self.models[model]

    def add(self, entry: Entry) -> None:
        """Count a request or a live answer; other facts are none of this view's business."""
        fact = entry.fact
        if isinstance(fact, Answer):
            if fact.role == "live":
                self.of(entry.model).answer(entry.time_us, fact)
        elif isinstance(fact, Request):
            self.of(entry.model).request(entry.time_us, fact.unit is not None)

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
        kept = self.of(model).hours.get(version, ())
        recent = [(n, bad) for at, n, bad in kept if minute - 60 < at <= minute]
        return sum(n for n, _ in recent), sum(bad for _, bad in recent)

    def total(self, model: str, now_us: int) -> ArmView:
        """The last minute of a model, all versions together."""
        mine = self.of(model).versions
        span_s = max((one.span_s(now_us) for one in mine.values()), default=WINDOW_S)
        views = [one.view(name, now_us) for name, one in mine.items()]
        return merge(views, self._bins(model, now_us), span_s)

    def _bins(self, model: str, now_us: int) -> dict[int, int]:
        since = now_us // 1_000_000 - WINDOW_S
        bins: dict[int, int] = {}
        for one in self.of(model).versions.values():
            for second in one.seconds:
                if second.time_s >= since:
                    for index, count in second.bins.items():
                        bins[index] = bins.get(index, 0) + count
        return bins

    def state(self) -> dict[str, Any]:
        """What a restart wants back: the minutes and the latencies."""
        return {
            name: {
                "minutes": list(one.minutes),
                "latencies": {version: list(seen) for version, seen in one.latencies.items()},
                "hours": {version: list(hour) for version, hour in one.hours.items()},
            }
            for name, one in self.models.items()
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        for name, kept in state.items():
            mine = self.of(name)
            mine.minutes.extend((int(a), int(b), int(c)) for a, b, c in kept["minutes"])
            for version, seen in kept["latencies"].items():
                mine.latencies[version] = deque(seen, maxlen=RECENT_LATENCIES)
            for version, hour in kept["hours"].items():
                mine.hours[version] = deque((tuple(x) for x in hour), maxlen=RATE_MINUTES)


def merge(views: list[ArmView], bins: dict[int, int], span_s: int) -> ArmView:
    """Several versions' minutes as one; the rate is over ``span_s`` seconds."""
    status: dict[str, int] = {}
    for view in views:
        for key, count in view.by_status.items():
            status[key] = status.get(key, 0) + count
    total = sum(status.values())
    return ArmView(
        version="all",
        requests=total,
        bad=total - status.get("ok", 0),
        by_status=status,
        p50_ms=quantile_ms(bins, 0.5),
        p95_ms=quantile_ms(bins, 0.95),
        requests_per_second=round(total / span_s, 3),
    )
