"""Evidence by unit: a returning user bets once a test, at the k-th event after the test's start.

Requests of one user are not independent, so a bet per request convicts the blameless (9 to 50 %
false rollbacks). The arm is drawn once per unit, and so a unit bets once per test. Tests (start, k)
hold parts of alpha and are never multiplied or averaged. An event is what bets at all: a bad
request; for latency and absolute margins every request.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from redpoll.rollout.gate import UNCOUNTED, Arrival, GateFold, Rule

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
COUNT_MAX = 9  # beyond the largest k nothing more is noted
# For each start: which row of TESTS bets at the k-th event.
ROWS: tuple[dict[int, int], ...] = tuple(
    {test.k: row for row, test in enumerate(TESTS) if test.start == start} for start in STARTS
)


def unit_hash(unit: str) -> int:
    """64 bits that stand for a unit; the unit itself is not kept."""
    return int.from_bytes(hashlib.blake2b(unit.encode(), digest_size=8).digest(), "big")


class Ledger:
    """How many events each unit has had, up to COUNT_MAX."""

    def __init__(self, limit: int = UNITS_MAX) -> None:
        self.counts: dict[int, int] = {}
        self.limit = limit

    def visit(self, unit: int) -> int:
        """Note one event; which one it was for the unit (1 = its first); 0: the ledger is full.

        >>> ledger = Ledger(limit=1)
        >>> ledger.visit(7), ledger.visit(7), ledger.visit(8)
        (1, 2, 0)
        """
        seen = self.counts.get(unit, 0)
        if seen >= COUNT_MAX:
            return COUNT_MAX
        if not seen and len(self.counts) >= self.limit:
            return 0
        self.counts[unit] = seen + 1
        return seen + 1

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
        self.opened: list[Ledger] = [Ledger()]

    def open_due(self, requests: int, length: float) -> None:
        """Start the tests that fall due after ``requests`` of a plan of ``length`` requests."""
        while len(self.opened) < len(STARTS) and requests >= STARTS[len(self.opened)] * length:
            self.opened.append(Ledger())

    def rows(self, unit: int) -> list[int]:
        """The rows of TESTS that bet on this event of the unit; notes the event."""
        found = []
        for ledger, by_k in zip(self.opened, ROWS):
            row = by_k.get(ledger.visit(unit))
            if row is not None:
                found.append(row)
        return found

    def clear(self) -> None:
        """A new salt: every unit bets anew."""
        self.opened = [Ledger() for _ in self.opened]

    def state(self) -> list[tuple[bytes, bytes]]:
        """All ledgers."""
        return [ledger.state() for ledger in self.opened]

    def restore(self, state: list[tuple[bytes, bytes]]) -> None:
        """Take over what :meth:`state` gave."""
        self.opened = []
        for held in state:
            ledger = Ledger()
            ledger.restore(held)
            self.opened.append(ledger)


def unit_gate(rule: Rule) -> GateFold:
    """The fold whose rows are TESTS. No later starts: with units they do not apply."""
    return GateFold(rule, np.array([test.share for test in TESTS]), late=False)


def fold_units(gate: GateFold, ledgers: UnitLedgers, arrivals: list[Arrival], at_us: int) -> None:
    """One bucket's arrivals, sorted by arrival, those of an older salt left out."""
    rule, rows = gate.rule, len(TESTS)
    fail = np.zeros((rows, rule.fail_stakes.size))
    passing = None if rule.pass_stakes is None else np.zeros((rows, rule.pass_stakes.size))
    bet = False
    for arrival in arrivals:
        found = rule.class_of(arrival.arm, arrival.status, arrival.latency_us)
        if found == UNCOUNTED or not rule.bets[found]:
            continue
        for row in ledgers.rows(arrival.unit):
            bet = True
            fail[row] += rule.fail_table(arrival.weight)[found]
            if passing is not None:
                passing[row] += rule.pass_table(arrival.weight)[found]
    if bet:
        none = np.zeros(rows, dtype=np.int64)
        gate.fold(fail, passing, none, np.full(rows, at_us, dtype=np.int64))


def plain_state(ledgers: UnitLedgers | None) -> Any:
    """For a checkpoint; None where requests are the unit."""
    return None if ledgers is None else ledgers.state()
