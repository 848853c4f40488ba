"""What a model's log may keep: `capture.keep` and `capture.max_disk_bytes`, hour by hour.

Whole hours of a model's requests, answers and outcomes go, the oldest first; decisions and the rest
stay. The order makes it safe to be killed anywhere: a Sample says what goes, the hour's folder leaves
the log by a rename, and then its files go. What is done again says the same of the same hour.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from redpoll.catalog import Capture
from redpoll.clock import hour
from redpoll.facts import REMOVED, Sample
from redpoll.journal.layout import Layout, sync_folder

KINDS = ("request", "answer", "outcome")
FRESH_HOURS = 2  # the newest, this one included: who follows the log may not have read them yet
_HOUR_US = 3_600_000_000
_log = logging.getLogger("redpoll.sealer")


class Due(NamedTuple):
    """An hour of one fact that may not stay."""

    model: str
    kind: str
    hour: str
    reason: str  # keep | disk


def due(layout: Layout, captures: Mapping[str, Capture], now_us: int) -> list[Due]:
    """What has to go, the oldest first. Models that are in no catalog any more keep what they have."""
    sizes: dict[str, dict[str, dict[str, int]]] = {}  # model, hour, fact: bytes
    for segment in layout.segments(KINDS, list(captures)):
        try:
            size = Path(segment.path).stat().st_size
        except FileNotFoundError:
            continue
        hours = sizes.setdefault(segment.model, {}).setdefault(segment.hour, {})
        hours[segment.kind] = hours.get(segment.kind, 0) + size
    fresh = hour(now_us - (FRESH_HOURS - 1) * _HOUR_US)
    found = []
    for model, by_hour in sizes.items():
        capture = captures[model]
        left = sum(size for kinds in by_hour.values() for size in kinds.values())
        most = capture.max_disk_bytes
        for name in sorted(by_hour):
            if name >= fresh:
                break
            if _ended_us(name) + capture.keep_s * 1e6 <= now_us:
                reason = "keep"
            elif most is not None and left > most:
                reason = "disk"
            else:
                continue
            left -= sum(by_hour[name].values())
            found += [Due(model, kind, name, reason) for kind in by_hour[name]]
    return sorted(found, key=lambda one: one.hour)


def _ended_us(name: str) -> int:
    """When an hour ended, µs since the epoch."""
    begin = datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    return int(begin.timestamp() * 1e6) + _HOUR_US


def remove(
    layout: Layout, what: Iterable[Due], say: Callable[[str, Sample], None]
) -> dict[tuple[str, str, str], int]:
    """Remove hours; facts removed by (model, fact, reason). ``say`` journals a Sample, synced."""
    removed: dict[tuple[str, str, str], int] = {}
    for one in what:
        folder = layout.partition(one.kind, one.model, one.hour)
        count = 0
        for path in folder.glob("[!.]*.parquet"):
            try:
                count += pq.read_metadata(path).num_rows
            except (pa.ArrowException, OSError) as error:
                _log.error("%s: how many facts it held is not known: %s", path, error)
        labels = {"fact": one.kind, "hour": one.hour, "reason": one.reason}
        say(one.model, Sample(REMOVED, labels, float(count)))
        gone = _leaving(layout) / f"{one.kind} {folder.parent.name} {one.hour}"
        gone.parent.mkdir(exist_ok=True)
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        sync_folder(folder.parent)
        shutil.rmtree(gone)
        key = (one.model, one.kind, one.reason)
        removed[key] = removed.get(key, 0) + count
    sweep(layout)
    return removed


def sweep(layout: Layout) -> None:
    """Finish what was begun before we were killed: it has left the log, and was told."""
    shutil.rmtree(_leaving(layout), ignore_errors=True)


def _leaving(layout: Layout) -> Path:
    return layout.root / ".removed"
