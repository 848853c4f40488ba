"""Evidence by unit: a returning user bets once a test, at the k-th event after the test's start.

Requests of one user are not independent, so a bet per request convicts the blameless (9 to 50 %
false rollbacks). The arm is drawn once per unit, and so a unit bets once per test. Tests (start, k)
hold parts of alpha and are never multiplied or averaged. An event is what bets at all: a bad
request; for latency and absolute margins every request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from redpoll.rollout.gate import UNCOUNTED, Bucket, GateFold, Rule

UNITS_MAX = 200_000  # a ledger takes no new unit beyond: bounded memory; costs only power


class UnitTest(NamedTuple):
    """Bets at a unit's k-th event after ``start`` (a share of the plan's length)."""

    start: float
    k: int
    share: float  # of the gate's alpha


TESTS: tuple[UnitTest, ...] = (
    UnitTest(0.0, 1, 0.5),
    UnitTest(0.0, 2, 0.1),
    UnitTest(0.0, 4, 0.1),
    UnitTest(0.0, 8, 0.1),
    UnitTest(0.25, 1, 0.2 / 3),
    UnitTest(0.5, 1, 0.2 / 3),
    UnitTest(0.75, 1, 0.2 / 3),
)
STARTS: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
# For each start: which row of TESTS bets at the k-th event.
ROWS: tuple[dict[int, int], ...] = tuple(
    {test.k: row for row, test in enumerate(TESTS) if test.start == start} for start in STARTS
)


def unit_hash(unit: str) -> int:
    """64 bits that stand for a unit; the unit itself is not kept."""
    return int.from_bytes(hashlib.blake2b(unit.encode(), digest_size=8).digest(), "big")


class Ledger:
    """How many events each unit has had, as far as it matters: up to the largest of ``ks``."""

    def __init__(self, ks: Collection[int] = (1,), limit: int = UNITS_MAX) -> None:
        self.counts: dict[int, int] = {}
        self.ks = frozenset(ks)
        self.limit = limit

    def visits(self, units: Iterable[int]) -> list[tuple[int, int]]:
        """Note one event of each of these, in order; (index, k) where it was the unit's k-th.

        Only for the ``ks`` asked for. Units that a full ledger has no room for are passed over.

        >>> ledger = Ledger((1, 2), limit=1)
        >>> ledger.visits([7, 8, 7]), ledger.visits([7])
        ([(0, 1), (2, 2)], [])
        """
        counts, ks, most, limit = self.counts, self.ks, max(self.ks), self.limit
        found = []
        for index, unit in enumerate(units):
            k = counts.get(unit, 0) + 1
            if k > most or (k == 1 and len(counts) >= limit):
                continue
            counts[unit] = k
            if k in ks:
                found.append((index, k))
        return found

    def state(self) -> tuple[bytes, bytes]:
        """Hashes (uint64, little-endian, ascending) and their counts (uint8)."""
        hashes = np.fromiter(self.counts.keys(), dtype="<u8", count=len(self.counts))
        counts = np.fromiter(self.counts.values(), dtype="u1", count=len(self.counts))
        order = np.argsort(hashes)
        return hashes[order].tobytes(), counts[order].tobytes()

    def restore(self, state: tuple[bytes, bytes]) -> None:
        """Take over what :meth:`state` gave."""
        hashes, counts = np.frombuffer(state[0], "<u8"), np.frombuffer(state[1], "u1")
        self.counts = dict(zip(hashes.tolist(), counts.tolist(), strict=True))


class UnitLedgers:
    """Which tests bet on an event: one ledger for each start that has come."""

    def __init__(self) -> None:
        self.opened: list[Ledger] = []
        self._open()

    def _open(self) -> None:
        self.opened.append(Ledger(ROWS[len(self.opened)]))

    def open_due(self, requests: int, length: float) -> None:
        """Start the tests that fall due after ``requests`` of a plan of ``length`` requests."""
        while len(self.opened) < len(STARTS) and requests >= STARTS[len(self.opened)] * length:
            self._open()

    def bets(self, units: Sequence[int]) -> list[tuple[int, int]]:
        """Note one event of each of these units, in order; (index, row of TESTS) where one bets."""
        return [
            (index, by_k[k])
            for ledger, by_k in zip(self.opened, ROWS)
            for index, k in ledger.visits(units)
        ]

    def clear(self) -> None:
        """A new salt: every unit bets anew."""
        for ledger in self.opened:
            ledger.counts.clear()

    def state(self) -> list[tuple[bytes, bytes]]:
        """All ledgers."""
        return [ledger.state() for ledger in self.opened]

    def restore(self, state: list[tuple[bytes, bytes]]) -> None:
        """Take over what :meth:`state` gave."""
        self.opened = []
        for held in state:
            self._open()
            self.opened[-1].restore(held)


def unit_gate(rule: Rule) -> GateFold:
    """The fold whose rows are TESTS. No later starts: with units they do not apply."""
    return GateFold(rule, np.array([test.share for test in TESTS]), late=False)


def fold_units(gate: GateFold, ledgers: UnitLedgers, bucket: Bucket) -> None:
    """One bucket in order of arrival, requests of an older salt left out."""
    rule, rows = gate.rule, len(TESTS)
    found = rule.classes_of(bucket.arm, bucket.status, bucket.latency_us)
    index = np.flatnonzero((found != UNCOUNTED) & rule.bets[found])
    bets = ledgers.bets(bucket.unit[index].tolist())
    if not bets:
        return
    kinds, weights = found[index].tolist(), bucket.weight[index].tolist()
    fail = np.zeros((rows, rule.fail_stakes.size))
    passing = None if rule.pass_stakes is None else np.zeros((rows, rule.pass_stakes.size))
    for at, row in bets:
        fail[row] += rule.fail_table(weights[at])[kinds[at]]
        if passing is not None:
            passing[row] += rule.pass_table(weights[at])[kinds[at]]
    gate.fold(fail, passing, np.zeros(rows, dtype=np.int64))
