"""One rollout under watch: its evidence, its curves, its failures, its observed share."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from redpoll.catalog import Record
from redpoll.facts import Answer, Entry, Request
from redpoll.rollout.evidence import Evidence, Reading
from redpoll.rollout.machine_fold import plain
from redpoll.rollout.machine_state import RolloutState
from redpoll.rollout.plan import spec_of
from redpoll.views import EvidencePoint

CURVE_POINTS = 400  # a gate; when full every other point is dropped and the grid coarsens
FAILURES_KEPT = 20
OPEN_KEPT = 20_000  # requests to the candidate that have no answer yet
BUCKET_US = 100_000


class Failure(Record, frozen=True, kw_only=True):
    """Where a failed request of the candidate stands in the journal."""

    prediction_id: str
    time_us: int
    status: str
    error_code: str | None
    latency_us: int
    request: tuple[str, int]  # stream, sequence
    answer: tuple[str, int]
    shadow: tuple[str, int] | None = None  # the stable's answer to the same request


class Curve:
    """A gate's evidence over time, bounded: the newest point, and older ones on a grid."""

    def __init__(self, points: Sequence[tuple[int, float]] = (), grid_us: int = 1_000_000) -> None:
        self.points = list(points)
        self.grid_us = grid_us

    def add(self, time_us: int, log_value: float) -> None:
        """One more point."""
        points = self.points
        if len(points) >= 2 and points[-1][0] - points[-2][0] < self.grid_us:
            points[-1] = (time_us, log_value)
        else:
            points.append((time_us, log_value))
        if len(points) > CURVE_POINTS:
            del points[1:-1:2]
            self.grid_us *= 2


class WatchState(Record, frozen=True, kw_only=True):
    """A :class:`Watch` on disk. ``evidence`` is empty once the rollout is over."""

    id: str
    set: int
    generation: int
    epoch: int
    over: bool
    evidence: bytes
    reading: Reading | None
    curves: dict[str, tuple[int, list[tuple[int, float]]]]
    failures: list[Failure]
    before: tuple[int, int]
    share_since_us: int
    share: tuple[int, int]
    last_candidate_us: int | None
    open: dict[str, tuple[str, int]]


class Watch:
    """Folds entries for one rollout; ``close`` moves its evidence on."""

    def __init__(self, rollout: RolloutState, before: tuple[int, int] = (0, 0)) -> None:
        self.id = rollout.id
        self.before = before  # the stable's requests in the hour before, and how many were bad
        self.generation = rollout.evidence_generation
        self.set = rollout.evidence_set
        self.epoch = rollout.epoch
        self.evidence = Evidence.start(spec_of(rollout))
        self.reading: Reading | None = None
        self.curves: dict[str, Curve] = {}
        self.failures: list[Failure] = []
        self.share_since_us = max(rollout.step_since_us, rollout.ended_us or 0)
        self.share = (0, 0)  # requests since then, of them to the candidate
        self.last_candidate_us: int | None = None  # arrival of the candidate's newest request
        self.over = not rollout.active  # only the share and the stable's answers still matter
        self._oldest: int | None = None  # the oldest arrival that is not counted yet, or less
        self._open: dict[str, tuple[str, int]] = {}

    def add(self, entry: Entry) -> None:
        """Fold one entry; anything that is not this rollout's is left alone."""
        fact = entry.fact
        if isinstance(fact, Request):
            self.request(entry, fact)
        elif isinstance(fact, Answer):
            self.answer(entry, fact)

    def request(self, entry: Entry, fact: Request) -> None:
        """Fold a request of this model."""
        time_us = entry.time_us
        if time_us >= self.share_since_us:
            total, mine = self.share
            self.share = (total + 1, mine + (fact.arm == "candidate"))
        if self.over or fact.rollout_id != self.id or fact.route_generation < self.generation:
            return
        self.evidence.add(entry)
        if self._oldest is None or time_us < self._oldest:
            self._oldest = time_us // BUCKET_US * BUCKET_US
        if fact.arm == "candidate":
            self.last_candidate_us = max(self.last_candidate_us or 0, time_us)
            self._open[fact.prediction_id] = (entry.stream, entry.sequence)
            if len(self._open) > OPEN_KEPT:
                del self._open[next(iter(self._open))]

    def answer(self, entry: Entry, fact: Answer) -> None:
        """Fold an answer of this model."""
        if fact.role == "shadow":
            self._shadow(entry, fact)
        if self.over or fact.role != "live":
            return
        self.evidence.add(entry)
        request = self._open.pop(fact.prediction_id, None)
        if request is None or fact.status == "ok":
            return
        self.failures.append(
            Failure(
                prediction_id=fact.prediction_id,
                time_us=entry.time_us,
                status=fact.status,
                error_code=fact.error_code,
                latency_us=fact.latency_us,
                request=request,
                answer=(entry.stream, entry.sequence),
            )
        )
        del self.failures[:-FAILURES_KEPT]

    def _shadow(self, entry: Entry, fact: Answer) -> None:
        for index, failure in enumerate(self.failures):
            if failure.prediction_id == fact.prediction_id:
                shadow = (entry.stream, entry.sequence)
                self.failures[index] = msgspec.structs.replace(failure, shadow=shadow)

    def close(self, bound_us: int, known_us: int | None = None) -> bool:
        """Fold the buckets that are whole by then; True where any was.

        ``known_us``: how far all streams are known, at least ``bound_us``. A younger answer is none
        yet, since another stream may hold an older one: what a bucket says must not depend on which
        stream was read first. None: everything is known.
        """
        before = self.reading.last_closed_us if self.reading is not None else -1
        self.evidence.close(bound_us, known_us)
        self.reading = self.evidence.read()
        self._oldest = self.reading.oldest_open_us
        if self.reading.last_closed_us == before:
            return False
        for gate in self.reading.gates:
            curve = self.curves.setdefault(gate.metric, Curve())
            curve.add(self.reading.last_closed_us, gate.log_evidence)
        return True

    def next_bucket(self, rollout: RolloutState, bound_us: int) -> int:
        """Up to where to close next: one bucket, or as far as nothing can follow from."""
        reading = self.reading
        closed = 0 if reading is None else reading.last_closed_us
        pause_s = rollout.plan.steps[rollout.step].pause_s or 0.0
        stops = [bound_us]
        due = rollout.step_since_us + int(pause_s * 1e6)
        if closed < due:
            stops.append(-(-due // BUCKET_US) * BUCKET_US)
        oldest = self._oldest
        if oldest is not None:
            stops.append(max(oldest + BUCKET_US, closed + BUCKET_US))
        return max(min(stops), closed)

    def follow(self, rollout: RolloutState) -> None:
        """Take over what a Decision changed: epochs, evidence set aside, the share's start."""
        self.over = not rollout.active
        since_us = max(rollout.step_since_us, rollout.ended_us or 0)
        if since_us != self.share_since_us:
            self.share_since_us, self.share = since_us, (0, 0)
        if rollout.evidence_set != self.set:
            self.set, self.generation = rollout.evidence_set, rollout.evidence_generation
            self.evidence, self.reading = Evidence.start(spec_of(rollout)), None
            self.epoch = rollout.epoch
            self._open.clear()
            self._oldest = None
        elif rollout.epoch != self.epoch:
            self.epoch = rollout.epoch
            self.evidence.new_epoch(rollout.step_since_us, rollout.step_generation)

    def points(self) -> tuple[EvidencePoint, ...]:
        """All curves, in order of time."""
        found = [
            EvidencePoint(time_us=at, metric=metric, evidence=plain(value))
            for metric, curve in self.curves.items()
            for at, value in curve.points
        ]
        return tuple(sorted(found, key=lambda point: point.time_us))

    def state(self) -> WatchState:
        """All of it, to be kept with the cursors of this very moment."""
        return WatchState(
            id=self.id,
            set=self.set,
            generation=self.generation,
            epoch=self.epoch,
            over=self.over,
            evidence=b"" if self.over else self.evidence.state(),
            reading=self.reading,
            curves={name: (one.grid_us, one.points) for name, one in self.curves.items()},
            failures=self.failures,
            before=self.before,
            share_since_us=self.share_since_us,
            share=self.share,
            last_candidate_us=self.last_candidate_us,
            open={} if self.over else self._open,
        )

    @classmethod
    def load(cls, rollout: RolloutState, kept: WatchState) -> Watch:
        """Go on from a checkpoint; ``ValueError`` where its evidence cannot be read."""
        self = cls(rollout, kept.before)
        self.set, self.generation, self.epoch = kept.set, kept.generation, kept.epoch
        if kept.evidence:
            self.evidence = Evidence.load(kept.evidence)
        elif not kept.over:
            raise ValueError("a running rollout's checkpoint without evidence")
        self.reading, self.over = kept.reading, kept.over
        self._oldest = kept.reading.oldest_open_us if kept.reading is not None else None
        self.curves = {
            name: Curve(points, grid_us) for name, (grid_us, points) in kept.curves.items()
        }
        self.failures, self._open = kept.failures, kept.open
        self.share_since_us, self.share = kept.share_since_us, kept.share
        self.last_candidate_us = kept.last_candidate_us
        return self
