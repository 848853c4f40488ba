"""Evidence of one rollout: a fold of journal headers, by bucket of arrival.

Requests and live Answers come in any order, from any stream. They are kept in open buckets of
100 ms of ``Request.time``; :meth:`Evidence.close` folds those whose requests all have their answer,
in order, into wealth per bet, counts and (by unit) hashes. So the same facts give the same evidence
to the bit, however they were read, and an incident in which one arm fails faster than the other
convicts nobody: both arms' requests of one moment are counted together.

What counts: requests of this rollout with a drawn arm and a weight in (0, 1), each with the *arm*
drawn, whoever answered. Of several live answers the earliest counts: a failure before its fallback,
a real answer before a ``lost`` that comes on top. Once a bucket is closed, what still comes for it
changes nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from redpoll.facts import STATUSES, Answer, Entry, Request
from redpoll.rollout.evidence_buckets import BUCKET_US, OpenBuckets
from redpoll.rollout.evidence_records import (
    ArmReading,
    EvidenceSpec,
    GateReading,
    GateSpec,
    Reading,
    gate_specs,
    plain,
)
from redpoll.rollout.gate import OK, Bucket, Ints, distinct
from redpoll.rollout.gate_live import LiveGate, Split
from redpoll.rollout.gate_sentence import Latencies, gate_sentence, split_sentence
from redpoll.stats.latency import BINS, LatencyReference, bins_of, quantile_us

__all__ = [
    "BUCKET_US",
    "ArmReading",
    "Evidence",
    "EvidenceSpec",
    "GateReading",
    "GateSpec",
    "LatencyReference",
    "Reading",
    "gate_specs",
    "plain",
]

ARMS = ("stable", "candidate")
STATE = 2  # format of a checkpoint


class Evidence:
    """The fold. ``add`` entries, ``close`` what is complete, ``read``; ``state``/``load`` checkpoint.

    >>> evidence = Evidence.start(EvidenceSpec(rollout_id="churn-1"))
    >>> request = Request("a", "", 1, arm="candidate", arm_probability=0.1, rollout_id="churn-1")
    >>> evidence.add(Entry("s", 0, 1_000, 1, "churn", request))
    >>> evidence.close(200_000); evidence.read().requests        # no answer yet: the bucket is open
    0
    >>> evidence.add(Entry("s", 1, 9_000, 1, "churn", Answer("a", "v2", status="error")))
    >>> evidence.close(200_000); evidence.read().candidate.by_status
    {'error': 1}
    """

    def __init__(self, spec: EvidenceSpec) -> None:
        self.spec = spec
        self._model = spec.model
        self._open = OpenBuckets(spec.rollout_id, spec.unit != "request", spec.since_generation)
        self._gates = [LiveGate(gate, spec) for gate in spec.gates]
        self._split = Split(spec.unit)
        self._status = np.zeros((2, len(STATUSES)), dtype=np.int64)  # of each arm
        self._bins: dict[float, Ints] = {}  # of each arm's usable answers [2, BINS], by weight
        self._by_weight: dict[float, int] = {}
        self._requests = 0
        self._weight = 0.0  # the newest
        self._epoch = 0
        self._epoch_us = -1
        self._known_us: int | None = None
        self._stale = 0  # requests of a route generation below are of an older salt
        self._epochs: list[tuple[int, int]] = []  # (at_us, generation), not yet reached

    @classmethod
    def start(cls, spec: EvidenceSpec) -> Evidence:
        """Nothing known. RP-402 where a gate is not built yet."""
        return cls(spec)

    def add(self, entry: Entry) -> None:
        """A fact, in any order and from any stream; what does not count is passed over."""
        fact = entry.fact
        kind = type(fact)
        if self._model and entry.model != self._model:
            return
        if kind is Answer:
            self._open.answer(entry, fact)  # type: ignore[arg-type]
        elif kind is Request:
            self._open.request(entry, fact)  # type: ignore[arg-type]

    def new_epoch(self, at_us: int, generation: int = 0) -> None:
        """A new salt, from the Decision at ``at_us`` and its route ``generation`` on.

        From the bucket of ``at_us`` on every unit bets anew, and requests routed by an older table
        do not bet by unit; wealth is kept and alpha not renewed. Saying it twice changes nothing.
        """
        known = [self._epoch_us, *(at for at, _ in self._epochs)]
        if at_us > max(known):
            self._epochs.append((at_us, generation))

    def close(self, complete_us: int, known_us: int | None = None) -> None:
        """Every stream is complete up to ``complete_us``: fold the buckets that are whole, in order.

        The first bucket that lacks an answer stops it, however long that takes. ``known_us`` (at
        least ``complete_us``) is how far all streams are known, where buckets are closed one by
        one: an answer younger than that is none yet, since another stream may hold an older one.
        Without it answers count as they were read.
        """
        self._known_us = known_us
        for number, bucket in self._open.take(complete_us, known_us):
            while self._epochs and self._epochs[0][0] // BUCKET_US <= number:
                self._epoch_us, self._stale = self._epochs.pop(0)
                self._epoch += 1
                self._split.new_salt()
                for gate in self._gates:
                    gate.new_salt()
            at_us = (number + 1) * BUCKET_US
            for gate in self._gates:
                gate.bucket(bucket, self._stale, self._requests, at_us)
            self._split.bucket(bucket, self._stale)
            self._count(bucket)

    def _count(self, bucket: Bucket) -> None:
        arm, usable = bucket.arm, bucket.status == OK
        self._status += np.bincount(
            arm * len(STATUSES) + bucket.status, minlength=2 * len(STATUSES)
        ).reshape(2, -1)
        bins = arm * BINS + bins_of(bucket.latency_us)
        for weight in distinct(bucket.weight):
            here = bucket.weight == weight
            seen = np.bincount(bins[here & usable], minlength=2 * BINS).reshape(2, -1)
            self._bins[weight] = self._bins.get(weight, 0) + seen
            self._by_weight[weight] = self._by_weight.get(weight, 0) + int(arm[here].sum())
        self._requests += arm.size
        self._weight = float(bucket.weight[-1])

    def read(self) -> Reading:
        """What the closed buckets say."""
        stable, candidate = self._arm(0), self._arm(1)
        oldest = min(self._open.buckets, default=None)
        return Reading(
            rollout_id=self.spec.rollout_id,
            gates=tuple(self._gate(gate, stable, candidate) for gate in self._gates),
            stable=stable,
            candidate=candidate,
            requests=self._requests,
            candidate_requests=candidate.requests,
            by_weight=dict(self._by_weight),
            last_closed_us=self._open.closed * BUCKET_US,
            known_us=self._known_us,
            open_requests=len(self._open.open),
            oldest_open_us=None if oldest is None else oldest * BUCKET_US,
            split_log_evidence=self._split.log_evidence(),
            split_sentence=split_sentence(self._split.log_evidence(), stable, candidate),
            late=self._open.late,
            epoch=self._epoch,
        )

    def _arm(self, arm: int) -> ArmReading:
        counts, bins = self._status[arm].tolist(), self._all_bins()[arm]
        return ArmReading(
            arm=ARMS[arm],
            version=(self.spec.stable, self.spec.candidate)[arm],
            requests=sum(counts),
            bad=sum(counts) - counts[OK],
            by_status={name: n for name, n in zip(STATUSES, counts, strict=True) if n},
            p50_us=quantile_us(bins, 0.5),
            p95_us=quantile_us(bins, 0.95),
        )

    def _all_bins(self) -> Ints:
        """Latencies of each arm's usable answers, at all weights together: counts [2, BINS]."""
        return sum(self._bins.values(), np.zeros((2, BINS), dtype=np.int64))

    def _gate(self, gate: LiveGate, stable: ArmReading, candidate: ArmReading) -> GateReading:
        fails, passes = gate.fails(), gate.passes()
        latencies = Latencies(self._all_bins(), self._bins.get(self._weight))
        answer = "undecided"
        if fails.at is not None:
            answer = "fail"
        elif passes is not None and passes.at is not None:
            answer = "pass"
        return GateReading(
            metric=gate.spec.metric,
            kind=gate.spec.kind,
            answer=answer,
            log_evidence=fails.log_evidence,
            log_limit=fails.log_limit,
            sentence=gate_sentence(gate, answer, stable, candidate, self._weight, latencies),
            pass_log_evidence=None if passes is None else passes.log_evidence,
            pass_log_limit=None if passes is None else passes.log_limit,
            failed_us=fails.at,
            passed_us=None if passes is None else passes.at,
        )

    def state(self) -> bytes:
        """A checkpoint, open buckets included: :meth:`load` goes on as if nothing had happened."""
        return msgspec.msgpack.encode(
            {
                "state": STATE,
                "spec": self.spec,
                "open": self._open.state(),
                "gates": [gate.state() for gate in self._gates],
                "split": self._split.state(),
                "status": self._status.tolist(),
                "bins": [(weight, bins.tolist()) for weight, bins in self._bins.items()],
                "by_weight": list(self._by_weight.items()),
                "requests": self._requests,
                "weight": self._weight,
                "epoch": [self._epoch, self._epoch_us, self._stale, self._epochs],
            }
        )

    @classmethod
    def load(cls, state: bytes) -> Evidence:
        """From a checkpoint. ``ValueError`` where it is none of this format: fold again."""
        held: dict[str, Any] = msgspec.msgpack.decode(state)
        if not isinstance(held, dict) or held.get("state") != STATE:
            raise ValueError("no evidence checkpoint of this format; fold the journal again")
        self = cls(msgspec.convert(held["spec"], EvidenceSpec))
        self._open.restore(held["open"])
        for gate, one in zip(self._gates, held["gates"], strict=True):
            reference = one["reference"]
            gate.restore(
                one, None if reference is None else msgspec.convert(reference, LatencyReference)
            )
        self._split.restore(held["split"])
        self._status = np.array(held["status"], dtype=np.int64)
        self._bins = {weight: np.array(bins, dtype=np.int64) for weight, bins in held["bins"]}
        self._by_weight = dict(held["by_weight"])
        self._requests, self._weight = held["requests"], held["weight"]
        self._epoch, self._epoch_us, self._stale, epochs = held["epoch"]
        self._epochs = [(at, generation) for at, generation in epochs]
        return self
