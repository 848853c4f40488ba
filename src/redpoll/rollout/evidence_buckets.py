"""Open buckets: requests that arrived, waiting for answers. Order of reading makes no difference."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import numpy as np

from redpoll.facts import STATUSES, Answer, Entry, Request
from redpoll.rollout.gate import Bucket
from redpoll.rollout.units import unit_hash

BUCKET_US = 100_000
NEVER = 2**62  # µs
# Answers kept until their request is read. Most have none that counts and go at the next close.
EARLY_MAX = 100_000
ARM_INDEX = {"stable": 0, "candidate": 1}
STATUS_INDEX = {name: index for index, name in enumerate(STATUSES)}

# An answer as kept: time, stream, sequence, status, latency. The smallest of several counts.
Kept = tuple[int, str, int, int, int]

# Sorts by arrival: time, then position.
_arrival = itemgetter(0, 1, 2)


class OpenBuckets:
    """Requests by bucket of 100 ms of their arrival, until they are taken out closed."""

    def __init__(self, rollout_id: str, by_unit: bool, since_generation: int) -> None:
        self.rollout_id = rollout_id
        self.by_unit = by_unit
        self.since_generation = since_generation
        # prediction id -> [time, stream, sequence, arm, weight, unit, generation, answer or None]
        self.open: dict[str, list[Any]] = {}
        self.buckets: dict[int, list[str]] = {}
        self.early: dict[str, Kept] = {}  # answers read before their request
        self.closed = 0  # buckets below this number were taken
        self.late = 0

    def request(self, entry: Entry, fact: Request) -> None:
        """A request. Passed over: other rollouts, arms that are not compared, weights 0 and 1."""
        if fact.rollout_id != self.rollout_id:
            return
        arm = ARM_INDEX.get(fact.arm)
        weight = fact.arm_probability
        if arm is None or not 0.0 < weight < 1.0 or fact.route_generation < self.since_generation:
            return
        prediction_id = fact.prediction_id
        if prediction_id in self.open:
            return
        bucket = entry.time_us // BUCKET_US
        if bucket < self.closed:
            self.late += 1
            return
        unit = unit_hash(fact.unit or prediction_id) if self.by_unit else 0
        self.open[prediction_id] = [
            entry.time_us,
            entry.stream,
            entry.sequence,
            arm,
            weight,
            unit,
            fact.route_generation,
            self.early.pop(prediction_id, None),
        ]
        ids = self.buckets.get(bucket)
        if ids is None:
            self.buckets[bucket] = [prediction_id]
        else:
            ids.append(prediction_id)

    def answer(self, entry: Entry, fact: Answer) -> None:
        """An answer: of a request that is open, or one whose request is not read yet."""
        if fact.role != "live":
            return
        status = STATUS_INDEX[fact.status]
        kept = (entry.time_us, entry.stream, entry.sequence, status, fact.latency_us)
        record = self.open.get(fact.prediction_id)
        if record is None:
            known = self.early.get(fact.prediction_id)
            if known is None or kept < known:
                self.early[fact.prediction_id] = kept
                if len(self.early) > EARLY_MAX:
                    del self.early[next(iter(self.early))]
        elif record[7] is None or kept < record[7]:
            record[7] = kept

    def take(self, complete_us: int, known_us: int | None = None) -> list[tuple[int, Bucket]]:
        """The buckets that end by ``complete_us`` and are whole, in order; see ``Evidence.close``."""
        known = NEVER if known_us is None else known_us
        whole = complete_us // BUCKET_US
        taken = []
        for number in sorted(self.buckets):
            if number >= whole or not self._answered(number, known):
                whole = min(whole, number)
                break
            taken.append((number, self._columns(self.buckets.pop(number))))
        self.closed = max(self.closed, whole)
        # An answer that is older than what every stream is complete up to has no request that counts.
        if self.early:
            self.early = {i: kept for i, kept in self.early.items() if kept[0] > complete_us}
        return taken

    def _answered(self, number: int, known_us: int) -> bool:
        answers = (self.open[prediction_id][7] for prediction_id in self.buckets[number])
        return all(answer is not None and answer[0] <= known_us for answer in answers)

    def _columns(self, ids: list[str]) -> Bucket:
        pop = self.open.pop
        records = [pop(prediction_id) for prediction_id in ids]
        records.sort(key=_arrival)
        return Bucket(
            arm=np.array([record[3] for record in records], dtype=np.int64),
            weight=np.array([record[4] for record in records], dtype=np.float64),
            unit=np.array([record[5] for record in records], dtype=np.uint64),
            generation=np.array([record[6] for record in records], dtype=np.int64),
            status=np.array([record[7][3] for record in records], dtype=np.int64),
            latency_us=np.array([record[7][4] for record in records], dtype=np.int64),
        )

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "open": list(self.open.items()),
            "buckets": list(self.buckets.items()),
            "early": list(self.early.items()),
            "closed": self.closed,
            "late": self.late,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.open = {i: [*r[:7], None if r[7] is None else tuple(r[7])] for i, r in state["open"]}
        self.buckets = {bucket: list(ids) for bucket, ids in state["buckets"]}
        self.early = {i: tuple(kept) for i, kept in state["early"]}
        self.closed, self.late = state["closed"], state["late"]
