"""A log as a day leaves it: several models, facts, hours and streams, sealed and live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redpoll.clock import SimClock
from redpoll.facts import Decision, Outcome, Sample
from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal, FileWriter
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import START_US, answer, request

MODELS = ("churn", "fraud", "a-b_c")


class Log:
    """Streams of a data folder. ``day`` writes and seals; ``live`` writes and leaves it so."""

    def __init__(self, folder: Path, rotate_bytes: int = 4000) -> None:
        self.clock = SimClock(START_US)
        self.data = DataDir(folder)
        self.journal = FileJournal(self.data, self.clock, rotate_bytes=rotate_bytes)
        self.sealer = Sealer(self.data, self.journal, self.clock)
        self.written = 0
        self.writers: list[FileWriter] = []

    def day(self, hours: int = 2, requests: int = 12) -> FileWriter:
        """Hours of requests in a stream of its own, sealed as far as its files were rotated."""
        writer = self.journal.open("gateway")
        self.writers.append(writer)
        for _ in range(hours):
            self.live(writer, requests)
            self.clock.advance(3_600_000_000)
            self.sealer.round()
        return writer

    def live(self, writer: FileWriter, requests: int) -> None:
        """Requests of all models with their answers, some outcomes, a decision and a sample."""
        for _ in range(requests):
            self.written += 1
            number, model = self.written, MODELS[self.written % len(MODELS)]
            body = b'{"age": %d, "plan": "a, \\"b\\"", "x": null}' % number
            writer.append(model, request(number, groups={"sex": "f"}, rows=0), body, 2)
            writer.append(model, answer(number, latency_us=number), b'{"error": "no"}', 4)
            if number % 4 == 0:
                self.written += 1
                name = f"o-{number}"
                writer.append(
                    model, Outcome(name, request(number).prediction_id, None, 0, "redo", 1.5)
                )
            writer.flush()
            self.clock.advance(1_000_000)
        writer.append(
            MODELS[0], Decision("d", "rollout", "churn-1", "start", evidence='{"n": [1]}')
        )
        writer.append("_", Sample("host_cpu", {"k": "v"}, 0.5))
        writer.flush()

    def seal_all(self) -> None:
        """End all streams, and seal them."""
        for writer in self.writers:
            writer.close()
        self.sealer.round()

    def close(self) -> None:
        """End everything."""
        for writer in self.writers:
            writer.close()
        self.sealer.close()


@contextmanager
def log(folder: Path, **options: int) -> Iterator[Log]:
    """A log that is closed at the end."""
    found = Log(folder, **options)
    try:
        yield found
    finally:
        found.close()


def positions(folder: Path | DataDir) -> list[tuple[str, int]]:
    """Of every fact, as our own reader finds them."""
    return sorted((e.stream, e.sequence) for e in FileJournal(folder).read(raw=False))
