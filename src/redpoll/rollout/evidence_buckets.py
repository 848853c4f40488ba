"""Open buckets: requests that arrived, waiting for answers. Order of reading makes no difference."""

from __future__ import annotations

from typing import Any

from redpoll.facts import STATUSES, Answer, Entry, Request
from redpoll.rollout.gate import Arrival
from redpoll.rollout.units import unit_hash

BUCKET_US = 100_000
ARM_INDEX = {"stable": 0, "candidate": 1}
STATUS_INDEX = {name: index for index, name in enumerate(STATUSES)}
LOST = STATUS_INDEX["lost"]
# Which of several live answers counts: the first bad one, else the first good one, and `lost` (the
# sealer's guess about a dead stream) only where nobody else answered.
RANK = tuple(2 if name == "lost" else int(name == "ok") for name in STATUSES)

# An answer as kept: rank, time, stream, sequence, status, latency; the smallest counts.
Kept = tuple[int, int, str, int, int, int]


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
        kept = (RANK[status], entry.time_us, entry.stream, entry.sequence, status, fact.latency_us)
        record = self.open.get(fact.prediction_id)
        if record is None:
            known = self.early.get(fact.prediction_id)
            if known is None or kept < known:
                self.early[fact.prediction_id] = kept
        elif record[7] is None or kept < record[7]:
            record[7] = kept

    def take(self, complete_us: int) -> list[tuple[int, list[Arrival]]]:
        """The buckets that are whole now that every stream is complete up to ``complete_us``.

        In order; the first that lacks an answer stops it. Arrivals come sorted.
        """
        whole = complete_us // BUCKET_US
        taken = []
        for bucket in sorted(self.buckets):
            if bucket >= whole or any(self.open[i][7] is None for i in self.buckets[bucket]):
                whole = min(whole, bucket)
                break
            arrivals = [self._arrival(self.open.pop(i)) for i in self.buckets.pop(bucket)]
            arrivals.sort()
            taken.append((bucket, arrivals))
        self.closed = max(self.closed, whole)
        # An answer that is older than what every stream is complete up to has no request that counts.
        if self.early:
            self.early = {i: kept for i, kept in self.early.items() if kept[1] > complete_us}
        return taken

    @staticmethod
    def _arrival(record: list[Any]) -> Arrival:
        time_us, stream, sequence, arm, weight, unit, generation, answer = record
        return Arrival(
            time_us, stream, sequence, arm, weight, unit, generation, answer[4], answer[5]
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
