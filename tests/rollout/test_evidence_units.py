"""Evidence by unit: who bets when, once a test, and what a new salt changes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from redpoll.rollout.evidence import BUCKET_US, Evidence, GateSpec
from redpoll.rollout.units import STARTS, TESTS, Ledger, UnitLedgers, unit_hash
from redpoll.stats.bets import FAIL_RATIOS, event_log_factors

from .entries import answer, request, spec

ALPHA = 0.05
ERRORS = (GateSpec(metric="error_rate", alpha=ALPHA),)


def by_unit(**changes):
    return Evidence.start(spec(**({"unit": "user", "gates": ERRORS, "length": 1e9} | changes)))


class Feed:
    """Adds requests one a bucket."""

    def __init__(self, evidence):
        self.evidence, self.number = evidence, 0

    def __call__(self, unit, arm="candidate", status="error", *, weight=0.1, generation=1):
        name, time_us = f"p{self.number}", self.number * BUCKET_US
        entry = request(name, time_us, arm, weight=weight, unit=unit, route_generation=generation)
        self.evidence.add(entry)
        self.evidence.add(answer(name, time_us + 1, status))
        self.number += 1
        self.evidence.close(self.number * BUCKET_US)
        return self

    @property
    def reading(self):
        return self.evidence.read()


def mixture(*bets):
    """Log evidence of one test after bets (arm, weight): the mean over all r of their products."""
    total = np.zeros(len(FAIL_RATIOS))
    for arm, weight in bets:
        total += event_log_factors(FAIL_RATIOS, weight)[arm]
    return math.log(np.exp(total).mean())


def rows(evidence):
    return evidence._gates[0].fold.fails.wealth.log_evidence()


def test_a_unit_bets_at_its_first_second_fourth_and_eighth_bad_request_and_never_else():
    """One user with twelve failures: one bet in each test that begins at the start."""
    feed = Feed(by_unit())
    one = mixture((1, 0.1))
    seen = []
    for _ in range(12):
        feed("u1")
        seen.append(int((rows(feed.evidence) > 0).sum()))
    assert seen == [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4]
    assert rows(feed.evidence).tolist() == pytest.approx([one] * 4 + [0.0] * 3)


def test_good_requests_bet_nothing_and_do_not_use_up_the_unit():
    """The first *bad* request bets, however many good ones came before."""
    feed = Feed(by_unit())
    for _ in range(5):
        feed("u1", status="ok")
    assert rows(feed.evidence).tolist() == [0.0] * len(TESTS)
    feed("u1")
    assert rows(feed.evidence)[0] == pytest.approx(mixture((1, 0.1)))


def test_the_bet_is_made_with_that_requests_arm_and_weight():
    """Not the first visit's: the weight in force when it failed."""
    feed = Feed(by_unit())
    feed("u1", status="ok", weight=0.05)
    feed("u1", weight=0.4)
    feed("u2", "stable", weight=0.4)
    assert rows(feed.evidence)[0] == pytest.approx(mixture((1, 0.4), (0, 0.4)))


def test_the_reading_shows_the_test_that_is_nearest_its_limit():
    """At first the first failure's, which holds half of alpha: evidence 1, weighed by a half."""
    gate = Feed(by_unit()).reading.gates[0]
    assert gate.evidence == pytest.approx(0.5)
    assert gate.limit == pytest.approx(1 / ALPHA)


def test_a_gate_by_unit_fails_when_one_of_its_tests_does():
    """Many users of the candidate fail: once each is enough."""
    feed = Feed(by_unit())
    for number in range(8):
        feed(f"u{number}")
    gate = feed.reading.gates[0]
    assert gate.answer == "fail"
    assert gate.limit == pytest.approx(1 / ALPHA)
    assert gate.sentence.startswith("7 failed 100% of 8 requests")


def test_later_tests_begin_at_quarters_of_the_plan_and_let_every_unit_bet_anew():
    """Length 40: after 10, 20 and 30 requests a fresh ledger opens, at a bucket's begin."""
    feed = Feed(by_unit(length=40.0))
    opened = []
    for number in range(35):
        feed("u1", status="error" if number in (0, 15) else "ok")
        opened.append(len(feed.evidence._gates[0].ledgers.opened))
    assert [opened.index(count) for count in (1, 2, 3, 4)] == [0, 10, 20, 30]
    one = pytest.approx(mixture((1, 0.1)))
    assert rows(feed.evidence).tolist() == [one, one, 0.0, 0.0, one, 0.0, 0.0]


def test_a_new_epoch_empties_the_ledgers_and_keeps_the_wealth():
    """After a new salt a unit bets again; what was won or lost before stays."""
    feed = Feed(by_unit())
    feed("u1").evidence.new_epoch(5 * BUCKET_US, generation=9)
    while feed.number < 5:
        feed("u2", status="ok")
    feed("u1", "stable", weight=0.05, generation=9)
    assert rows(feed.evidence)[0] == pytest.approx(mixture((1, 0.1), (0, 0.05)))
    assert feed.reading.epoch == 1


def test_requests_of_the_old_salt_do_not_bet_after_the_epoch_began():
    """A gateway that still works with the old table for a moment: counted, but no bet by unit."""
    feed = Feed(by_unit())
    feed("u1").evidence.new_epoch(2 * BUCKET_US, generation=9)
    feed("u2", status="ok")
    feed("u3", generation=8)
    assert rows(feed.evidence)[0] == pytest.approx(mixture((1, 0.1)))
    assert feed.reading.candidate.bad == 2


def test_telling_of_an_epoch_twice_or_after_a_restart_changes_nothing():
    """Decisions are read again after a restart: the same epoch begins once."""
    feed = Feed(by_unit())
    feed("u1").evidence.new_epoch(BUCKET_US, 9)
    feed.evidence.new_epoch(BUCKET_US, 9)
    feed("u1", generation=9)
    feed.evidence = Evidence.load(feed.evidence.state())
    feed.evidence.new_epoch(BUCKET_US, 9)
    feed("u1", generation=9)
    assert feed.reading.epoch == 1
    assert rows(feed.evidence)[:2].tolist() == pytest.approx(
        [mixture((1, 0.1), (1, 0.1)), mixture((1, 0.1))]
    )


def test_within_a_bucket_the_earliest_arrival_is_the_units_first():
    """Two failures of one unit in one bucket, at different weights, read in either order."""
    found = []
    for order in ((0, 1), (1, 0)):
        evidence = by_unit()
        entries = [
            request("a", 10, weight=0.1, unit="u1", stream="gateway-b"),
            request("b", 20, weight=0.4, unit="u1", stream="gateway-a"),
        ]
        for index in order:
            evidence.add(entries[index])
            evidence.add(answer("ab"[index], 30, "error", stream=entries[index].stream))
        evidence.close(BUCKET_US)
        found.append(rows(evidence).tolist())
    assert found[0] == found[1]
    assert found[0][:2] == pytest.approx([mixture((1, 0.1)), mixture((1, 0.4))])


def test_the_split_by_unit_counts_first_visits_only():
    """One user of the candidate who comes a hundred times is one assignment, not a hundred."""
    feed = Feed(by_unit())
    for _ in range(100):
        feed("u1", status="ok")
    once = Feed(by_unit())("u1", status="ok")
    assert feed.reading.split_log_evidence == once.reading.split_log_evidence
    for number in range(40):
        feed(f"v{number}", status="ok")
    assert feed.reading.split_log_evidence > feed.reading.split_log_limit


def test_latency_by_unit_bets_once_at_a_units_first_request():
    """Every request is an event for latency; the first, second, fourth and eighth bet."""
    evidence = by_unit(gates=(GateSpec(metric="latency", alpha=ALPHA),))
    feed = Feed(evidence)
    counts = []
    for _ in range(9):
        feed("u1", status="ok")
        counts.append(int((rows(evidence) != 0).sum()))
    assert counts == [1, 2, 2, 3, 3, 3, 3, 4, 4]


def test_a_full_ledger_takes_no_new_units_and_serves_the_old_ones():
    """Memory is bounded; beyond that only power is lost."""
    ledger = Ledger((1, 2), limit=2)
    assert ledger.visits([1, 2, 3, 1, 3]) == [(0, 1), (1, 1), (3, 2)]
    assert set(ledger.counts) == {1, 2}


def test_ledgers_survive_a_checkpoint():
    """Hashes of 64 bits and counts, back as they were."""
    ledgers = UnitLedgers()
    ledgers.bets([unit_hash(f"u{i % 7}") for i in range(30)])
    ledgers.open_due(50, 100)
    ledgers.bets([unit_hash("u1"), 2**64 - 1])
    again = UnitLedgers()
    again.restore(ledgers.state())
    assert [ledger.counts for ledger in again.opened] == [
        ledger.counts for ledger in ledgers.opened
    ]
    assert len(again.opened) == 3
    probe = [unit_hash(f"u{i}") for i in range(9)]
    assert again.bets(probe) == ledgers.bets(probe)


def test_the_parts_of_alpha_are_as_the_design_splits_them():
    """½; a tenth for k = 2, 4, 8; the rest for k = 1 anew at ¼, ½ and ¾."""
    assert [(t.start, t.k, round(t.share, 4)) for t in TESTS] == [
        (0.0, 1, 0.5),
        (0.0, 2, 0.1),
        (0.0, 4, 0.1),
        (0.0, 8, 0.1),
        (0.25, 1, 0.0667),
        (0.5, 1, 0.0667),
        (0.75, 1, 0.0667),
    ]
    assert STARTS == (0.0, 0.25, 0.5, 0.75)


def test_evidence_by_unit_is_read_against_one_limit():
    """Whichever test speaks, the limit is 1 / alpha; evidence reaches it just as that test does.

    Of the test that is nearest (k = 2, a tenth of alpha) the e-value is shown times its share.
    """
    feed, shown = Feed(by_unit()), []
    for visit in range(60):
        feed(f"u{visit // 2}", "candidate" if visit % 2 else "stable")
        gate = feed.reading.gates[0]
        values = rows(feed.evidence)
        weighed = [value + math.log(test.share) for value, test in zip(values, TESTS, strict=True)]
        assert gate.log_limit == pytest.approx(math.log(1 / ALPHA))
        if gate.answer == "undecided":
            assert gate.log_evidence == pytest.approx(max(weighed))
            assert gate.log_evidence < gate.log_limit
        else:
            assert gate.answer == "fail" and gate.log_evidence >= gate.log_limit
        shown.append((gate.answer, int(np.argmax(weighed))))
    assert shown[-1][0] == "fail" and len({row for _, row in shown}) > 1
