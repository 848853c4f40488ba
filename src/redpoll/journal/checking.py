"""``redpoll log verify``: whether the journal is whole, and every byte of it as it was written.

Sealed files: their checksum, their columns, that they hold what their path says. Each write-ahead
file that was sealed says in the footers how many facts it gave (:mod:`redpoll.journal.trailer`): so a
sealed file that is gone, or there twice, is found, too. Live files: every frame and every body.

A server may run meanwhile: what is sealed or merged under our hands is looked at again.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpoll.clock import hour
from redpoll.errors import RedpollError
from redpoll.facts import REMOVED, Entry, Sample
from redpoll.host.paths import DataDir
from redpoll.journal import formats, parquet, trailer
from redpoll.journal.frames import Wanted
from redpoll.journal.layout import BAD_SUFFIX, Layout, Segment, Wal, must_exist, path_locked
from redpoll.journal.trailer import Origin
from redpoll.journal.wal import WalReader

BATCH = 4096
_Range = tuple[int, int]  # the first and last position of what was sealed together
LOOKS_MAX = 20  # at what appears while we look; the next verification finds the rest


class Problem(NamedTuple):
    """What is wrong, and where. ``path`` is relative to the journal's folder."""

    path: str
    what: str


class Report(NamedTuple):
    """What was looked at and found. ``notes`` are worth knowing, and no damage."""

    files: int
    bytes: int
    facts: int  # each once
    streams: int
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Nothing is damaged or missing."""
        return not self.problems


class _Sealed(NamedTuple):
    """What a sealed file holds."""

    bytes: int
    rows: int
    origins: tuple[Origin, ...]
    counts: tuple[int, ...]  # of its rows, by origin


class _Live(NamedTuple):
    bytes: int
    last: int  # sequence, beats included
    facts: int


def verify(
    data_dir: DataDir | Path | str, said: Callable[[int, int], None] | None = None
) -> Report:
    """Look at everything. ``said(done, all)`` hears of each file.

    RP-302: there is no journal. RP-310: a newer redpoll wrote it.
    """
    layout = Layout(data_dir)
    must_exist(layout)
    formats.check(layout.root)
    return _Look(layout, said or (lambda done, every: None)).run()


class _Look:
    def __init__(self, layout: Layout, said: Callable[[int, int], None]) -> None:
        self._layout = layout
        self._said = said
        self._sealed: dict[str, _Sealed | None] = {}  # by path; None: it cannot be read
        self._live: dict[str, _Live] = {}
        self._removed: set[str] = set()  # hours of which something was removed, as was told
        self._problems: dict[str, list[str]] = {}  # by path
        self._notes: dict[str, list[str]] = {}

    def run(self) -> Report:
        for _ in range(LOOKS_MAX):
            wals = [wal for files in self._layout.wals().values() for wal in files]
            segments = self._layout.segments()
            fresh = [one for one in segments if one.path not in self._sealed]
            gone = False
            for done, wal in enumerate(wals):
                gone |= not self._wal(wal)
                self._said(done + 1, len(wals) + len(fresh))
            for done, segment in enumerate(fresh):
                gone |= not self._segment(segment)
                self._said(len(wals) + done + 1, len(wals) + len(fresh))
            if not gone:
                break
        return self._report(segments, wals)

    def _problem(self, path: str, what: str) -> None:
        self._problems.setdefault(path, []).append(what)

    # one file
    def _segment(self, segment: Segment) -> bool:
        """Look at a sealed file; False where it has gone."""
        try:
            self._sealed[segment.path] = None
            why = parquet.damage(segment.path)
            if why:
                self._problem(segment.path, why)
                return True
            with pq.ParquetFile(segment.path) as file:
                self._sealed[segment.path] = self._contents(segment, file)
            if segment.kind == "sample":
                told = parquet.entries(segment, -1, raw=False)
                self._removed |= {hour for entry in told for hour in _told(entry)}
        except FileNotFoundError:
            del self._sealed[segment.path]
            return False
        except RedpollError as error:  # a newer redpoll's
            self._problem(segment.path, error.message)
        return True

    def _contents(self, segment: Segment, file: pq.ParquetFile) -> _Sealed:
        found = trailer.about(file.metadata.metadata)
        said = parquet.SCHEMAS[segment.kind]
        for field in file.schema_arrow:
            at = said.get_field_index(field.name)
            if at < 0 or said.field(at).type != field.type:
                self._problem(segment.path, f"its column {field.name} ({field.type}) is not ours")
        first = last = -1
        rows = 0
        edges = np.array([(one.first, one.last) for one in found.wals], np.int64).reshape(-1, 2)
        counts = np.zeros(len(edges), np.int64)
        for part in file.iter_batches(1 << 16, columns=["stream", "sequence", "time"]):
            if part.num_rows == 0:
                continue
            numbers = part.column("sequence").to_numpy()
            before = last if rows else numbers[0] - 1
            if numbers[0] <= before or (np.diff(numbers) <= 0).any():
                self._problem(segment.path, "its positions do not grow")
            first = int(numbers[0]) if rows == 0 else first
            last = int(numbers[-1])
            rows += part.num_rows
            ends = np.searchsorted(numbers, edges[:, 1], "right")
            counts += ends - np.searchsorted(numbers, edges[:, 0], "left")
            self._place(segment, part)
        if (first, last) != (segment.first, segment.last):
            self._problem(segment.path, f"it holds the positions {first} to {last}")
        size = Path(segment.path).stat().st_size
        return _Sealed(size, rows, found.wals, tuple(int(n) for n in counts))

    def _place(self, segment: Segment, part: pa.RecordBatch) -> None:
        if pc.unique(part.column("stream")).to_pylist() != [segment.stream]:
            self._problem(segment.path, "it holds facts of another stream")
        times = part.column("time").cast(pa.int64())
        ends = (pc.min(times).as_py(), pc.max(times).as_py())
        if {hour(at) for at in ends} != {segment.hour}:
            self._problem(segment.path, "it holds facts of another hour")

    def _wal(self, wal: Wal) -> bool:
        """Look at a write-ahead file; False where it has gone."""
        try:
            reader = WalReader(wal, Wanted())
        except FileNotFoundError:
            self._live.pop(wal.path, None)
            self._problems.pop(wal.path, None)
            return False
        except RedpollError as error:
            self._problems[wal.path] = [error.message]
            return True
        facts = 0
        try:
            while entries := reader.batch(BATCH):
                facts += len(entries)
                self._removed |= {hour for entry in entries for hour in _told(entry)}
            problems = [*reader.damage, *([reader.problem] if reader.problem else [])]
            if reader.unreadable:
                problems.append(f"{reader.unreadable} frames hold no known fact")
            left = len(reader.tail())
            self._live[wal.path] = _Live(reader.size(), reader.sequence, facts)
            later = any(one.first > wal.first for one in self._layout.wals().get(wal.stream, ()))
            if left and later and not reader.problem:
                problems.append(f"{left} bytes at its end are no whole frame")
            elif left and not reader.problem and not path_locked(wal.path):
                self._notes[wal.path] = [
                    f"its writer died within its last frame ({left} bytes, never told to be written)"
                ]
        except FileNotFoundError:
            return False
        finally:
            reader.close()
        self._problems.pop(wal.path, None)
        if problems:
            self._problems[wal.path] = problems
        return True

    # all together
    def _report(self, segments: Sequence[Segment], wals: Sequence[Wal]) -> Report:
        streams: dict[str, list[Segment]] = {}
        for one in segments:
            streams.setdefault(one.stream, []).append(one)
        live: dict[str, list[Wal]] = {}
        for wal in wals:
            live.setdefault(wal.stream, []).append(wal)
        fresh = sum(
            self._whole(stream, streams.get(stream, []), live.get(stream, []))
            for stream in streams.keys() | live.keys()
        )
        for path in self._layout.wal.glob(f"*{BAD_SUFFIX}"):
            self._notes[str(path)] = [
                "the sealer set it aside: it is damaged, and what could be read of it was sealed"
            ]
        if self._removed:
            span = f"{min(self._removed)} to {max(self._removed)}"
            self._notes[str(self._layout.root)] = [
                f"facts of hours from {span} were removed, as `capture` says: what else may be missing"
                " of about then is not looked for"
            ]
        present = {one.path for one in segments} | {wal.path for wal in wals}
        read = [found for path, found in self._sealed.items() if found and path in present]
        here = [found for path, found in self._live.items() if path in present]
        return Report(
            files=len(read) + len(here),
            bytes=sum(one.bytes for one in read) + sum(one.bytes for one in here),
            facts=sum(one.rows for one in read) + fresh,
            streams=len(streams.keys() | live.keys()),
            problems=self._listed(self._problems),
            notes=self._listed(self._notes),
        )

    def _whole(self, stream: str, segments: Sequence[Segment], wals: Sequence[Wal]) -> int:
        """Whether a stream's sealed files hold what its write-ahead files gave, once.

        Gives how many facts are in its write-ahead files alone.
        """
        wanted: dict[_Range, int] = {}
        have: dict[_Range, int] = {}
        hours: dict[_Range, set[str]] = {}
        loose: list[tuple[Segment, int]] = []  # of format 1, or the first part of a large one
        unread = False
        for segment in segments:
            found = self._sealed.get(segment.path)
            unread |= found is None
            for origin, count in zip(*(found.origins, found.counts) if found else ((), ())):
                key = (origin.first, origin.last)
                wanted[key] = origin.facts
                have[key] = have.get(key, 0) + count
                hours.setdefault(key, set()).add(segment.hour)
            if found and not found.origins:
                loose.append((segment, found.rows))
        unexplained = False
        for segment, rows in loose:
            around = [k for k in wanted if k[0] <= segment.first and segment.last <= k[1]]
            unexplained |= not around
            for key in around:
                have[key] += rows
        fresh, both = self._fresh(wals, wanted, have, loose)
        for key, facts in sorted(wanted.items()):
            missing, between = facts - have[key], f"between {key[0]} and {key[1]} are"
            if missing < 0:
                self._problem(
                    f"{self._layout.root}/{stream}", f"{-missing} facts {between} there twice"
                )
            elif missing and not unread and key not in both and not self._gone(hours[key]):
                what = f"{missing} of {facts} facts {between} missing: a sealed file is gone"
                self._problem(f"{self._layout.root}/{stream}", what)
        if not unexplained and not unread:
            self._gaps(stream, hours, wals)
        return fresh

    def _fresh(
        self,
        wals: Sequence[Wal],
        wanted: dict[_Range, int],
        have: dict[_Range, int],
        loose: Sequence[tuple[Segment, int]],
    ) -> tuple[int, set[_Range]]:
        """Facts that no sealed file has yet; and which files are half sealed, or not yet removed."""
        fresh, both = 0, set()
        for wal in wals:
            found = self._live.get(wal.path)
            if found is None:
                continue
            around = [key for key in wanted if key[0] <= wal.first <= key[1]]
            if around:
                both.add(around[0])
                fresh += max(0, wanted[around[0]] - have[around[0]])
            else:
                fresh += found.facts - sum(
                    rows for s, rows in loose if wal.first <= s.first and s.last <= found.last
                )
        return fresh, both

    def _gone(self, hours: Iterable[str]) -> bool:
        """Whether something that was written about then was removed, as was told."""
        near = {shifted(hour, by) for hour in hours for by in (-1, 0, 1)}
        return not near.isdisjoint(self._removed)

    def _gaps(self, stream: str, hours: Mapping[_Range, set[str]], wals: Sequence[Wal]) -> None:
        live = {
            (wal.first, found.last): set[str]()
            for wal in wals
            if (found := self._live.get(wal.path))
            and not any(first <= wal.first <= last for first, last in hours)
        }
        for (one, before), (other, after) in itertools.pairwise(sorted({**live, **hours}.items())):
            begin, end = max(before, default=""), min(after, default="~")
            if other[0] > one[1] + 1 and not any(begin <= at <= end for at in self._removed):
                what = f"frames {one[1] + 1} to {other[0] - 1} are nowhere: their files are gone"
                self._problem(f"{self._layout.root}/{stream}", what)

    def _listed(self, found: dict[str, list[str]]) -> tuple[Problem, ...]:
        root = self._layout.root
        return tuple(
            Problem(str(Path(path).relative_to(root)), what)
            for path, every in sorted(found.items())
            for what in every
        )


def _told(entry: Entry) -> Iterator[str]:
    """The hour that a Sample says was removed."""
    fact = entry.fact
    if isinstance(fact, Sample) and fact.name == REMOVED and "hour" in fact.labels:
        yield fact.labels["hour"]


def shifted(name: str, by: int) -> str:
    """The hour before or after one, by name; itself where it is no hour."""
    try:
        moment = dt.datetime.strptime(name, "%Y-%m-%dT%H") + dt.timedelta(hours=by)
    except ValueError:
        return name
    return moment.strftime("%Y-%m-%dT%H")
