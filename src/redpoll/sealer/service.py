"""The sealer's rounds: which files are due, dead streams first, and the ledger."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence

from redpoll.clock import Clock
from redpoll.errors import RedpollError
from redpoll.facts import Fact
from redpoll.host.paths import DataDir, replace
from redpoll.journal import formats, ledger
from redpoll.journal.files import FileJournal, FileWriter
from redpoll.journal.final import Final
from redpoll.journal.layout import Wal, path_locked
from redpoll.sealer import orphans, retention, sealing
from redpoll.sealer.merging import Merger
from redpoll.sealer.rows import Rows

RETAIN_S = 60.0  # between two looks for what may not stay
ROWS_S = 2.0  # of typed tables at a time: to seal comes first
RETRY_S = 5.0  # after a failure, before a stream is tried again
SWEEP_S = 60.0
_log = logging.getLogger("redpoll.sealer")


class Sealer:
    """Seals what is due, once a :meth:`round`. One at a time on a folder (``__main__`` locks it).

    ``sealed_facts``, ``lost_requests``, ``damaged_files`` and ``failures`` count since its start.
    """

    def __init__(self, data: DataDir, journal: FileJournal, clock: Clock) -> None:
        self.sealed_facts = self.lost_requests = self.damaged_files = self.failures = 0
        self._journal = journal
        self._layout = journal.layout
        self._clock = clock
        self._final = Final(data)
        self._writer: FileWriter | None = None
        self._waiting: dict[str, orphans.Open] = {}  # of live streams, up to what is sealed
        self._closed: set[str] = set()  # dead streams whose orphans are closed
        self._retry: dict[str, float] = {}  # stream -> not before (monotonic)
        self._layout.wal.mkdir(parents=True, exist_ok=True)
        formats.mark(self._layout.root)
        self._known = self._start_ledger()
        self.removed: dict[tuple[str, str, str], int] = {}  # facts by model, fact and reason
        self._retain_after = self._rows_after = 0.0  # monotonic
        self._rows = Rows(self._layout)
        self._sweep()
        retention.sweep(self._layout)
        self._merger = Merger(self._layout, clock)

    def round(self) -> int:
        """Seal every file that is due; how many facts. Never raises for what a file holds."""
        self._final.refresh()
        before = self.sealed_facts
        for stream, files, alive in self._due():
            if self._retry.get(stream, 0.0) > time.monotonic():
                continue
            try:
                self._stream(stream, files, alive)
                self._retry.pop(stream, None)
            except Exception as error:  # whatever a file holds, the others must be sealed
                self.failures += 1
                self._retry[stream] = time.monotonic() + RETRY_S
                foreseen = isinstance(error, OSError | RedpollError)
                _log.error(
                    "%s could not be sealed (again in %g s): %s",
                    stream,
                    RETRY_S,
                    error,
                    exc_info=not foreseen,
                )
        if time.monotonic() >= self._retain_after:
            self._retain_after = time.monotonic() + RETAIN_S
            self._retain()
        merged = self._merger.step() if self.sealed_facts == before else 0
        self._make_rows(merged > 0 or self.sealed_facts > before)
        return self.sealed_facts - before

    def close(self) -> None:
        """End our own stream."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _make_rows(self, more: bool) -> None:
        """Bring the typed tables up to date: now, where more was sealed, else now and then."""
        if not more and time.monotonic() < self._rows_after:
            return
        try:
            done = self._rows.round(self._final.models, ROWS_S)
            self._rows_after = time.monotonic() + (RETAIN_S if done else 0.0)
        except OSError as error:
            self.failures += 1
            self._rows_after = time.monotonic() + RETRY_S
            _log.error("rows could not be made (again in %g s): %s", RETRY_S, error)

    def _retain(self) -> None:
        """Remove what models may not keep any longer."""
        try:
            captures = {name: model.capture for name, model in self._final.models.items()}
            what = retention.due(self._layout, captures, self._clock.now_us())
            removed = retention.remove(self._layout, what, self._say)
        except (OSError, RedpollError) as error:
            self.failures += 1
            _log.error("what is too old could not be removed (again in %g s): %s", RETAIN_S, error)
            return
        for key, count in removed.items():
            self.removed[key] = self.removed.get(key, 0) + count
            _log.info("%s: removed %d sealed facts `%s` (%s)", key[0], count, key[1], key[2])

    def _say(self, model: str, fact: Fact) -> None:
        if self._writer is None:
            self._writer = self._journal.open("sealer")
        self._writer.append(model, fact)
        self._writer.sync()

    def _due(self) -> list[tuple[str, Sequence[Wal], bool]]:
        """Streams with finished files, dead ones first: somebody waits for their lost answers."""
        wals = self._layout.wals()
        self._closed &= wals.keys()
        unlocked = {stream for stream, files in wals.items() if not _locked(files[-1])}
        again: Mapping[str, Sequence[Wal]] = self._layout.wals() if unlocked else {}
        due = []
        for stream, files in wals.items():
            # Not locked, but a newer file has appeared by now: rotated between the two looks.
            dead = stream in unlocked and again.get(stream, files)[-1] == files[-1]
            if dead or len(files) > 1:
                due.append((stream, files if dead else files[:-1], not dead))
        return sorted(due, key=lambda one: one[2])

    def _stream(self, stream: str, files: Sequence[Wal], alive: bool) -> None:
        if not alive and stream not in self._closed:
            waiting = self._before(stream, files[0].first)
            died_us = orphans.scan(waiting, files)
            if waiting:
                self._close_orphans(stream, waiting, died_us)
            self._waiting.pop(stream, None)
            self._closed.add(stream)
        for file in files:
            # Where sealing fails half way, the file is folded again, with the same result.
            waiting_now = self._before(stream, file.first) if alive else None
            done = sealing.seal(
                self._layout,
                file,
                self._final,
                waiting_now,
                alive or file != files[-1],
                self._since(file),
            )
            self._tell(file, done, waiting_now or {})
            sealing.remove(file, done.damage)
            self._merger.note(done.segments)
            self.sealed_facts += done.facts
            self.damaged_files += bool(done.damage)
            if waiting_now is not None:
                self._waiting[stream] = waiting_now

    def _before(self, stream: str, first: int) -> orphans.Open:
        """What waits for an answer at the beginning of a file; the caller folds it on."""
        if first == 0:
            return {}
        if stream in self._waiting:
            return self._waiting[stream]
        line = self._known.get((stream, first - 1))
        if line is not None:
            return {number: (model, version, at) for number, model, version, at in line.open}
        return orphans.scan_sealed(self._layout, stream, first)

    def _since(self, file: Wal) -> int:
        """Where the frames begin that are sealed with this file: those before it held no facts."""
        first = file.first
        while (line := self._known.get((file.stream, first - 1))) and not line.segments:
            first = line.first
        return first

    def _close_orphans(self, stream: str, waiting: orphans.Open, died_us: int) -> None:
        done = orphans.closed_already(self._layout, waiting)
        left = {number: one for number, one in waiting.items() if number not in done}
        if not left:
            return
        if self._writer is None:
            self._writer = self._journal.open("sealer")
        for model, answer in orphans.lost(left, died_us):
            self._writer.append(model, answer)
        self._writer.sync()
        self.lost_requests += len(left)
        _log.warning("%s died with %d requests unanswered: closed as lost", stream, len(left))

    def _tell(self, file: Wal, done: sealing.Sealed, waiting: orphans.Open) -> None:
        line = ledger.Line(
            stream=file.stream,
            first=file.first,
            last=done.last,
            segments=tuple(os.path.relpath(s.path, self._layout.root) for s in done.segments),
            open=tuple(
                (number, model, orphans.assigned_version(asked), time_us)
                for number, (model, asked, time_us) in waiting.items()
            ),
        )
        with self._layout.ledger.open("ab") as out:
            out.write(ledger.encode(line))
        if line.segments:
            self._known.pop((file.stream, file.first - 1), None)  # only the newest matter
        self._known[file.stream, done.last] = line

    def _sweep(self) -> None:
        """Remove files of writers that died between making a file and giving it its name."""
        for path in self._layout.wal.glob(".*.wal.tmp"):
            if time.time() - path.stat().st_mtime > SWEEP_S:
                path.unlink(missing_ok=True)

    def _start_ledger(self) -> dict[tuple[str, int], ledger.Line]:
        """Begin a new ledger with the lines that still matter; who followed the old one notices."""
        try:
            lines = ledger.parse(self._layout.ledger.read_bytes())
        except FileNotFoundError:
            lines = []
        present = self._layout.wals()
        known = {(line.stream, line.last): line for line in lines if line.stream in present}
        replace(self._layout.ledger, b"".join(map(ledger.encode, known.values())))
        return known


def _locked(wal: Wal) -> bool:
    try:
        return path_locked(wal.path)
    except FileNotFoundError:  # only we remove files; whoever did it: not ours to seal
        return True
