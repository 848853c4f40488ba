"""Gates: three answers, limits, margins, what counts as slow, and the sentence of each."""

from __future__ import annotations

import math
import random
import re

import pytest

from redpoll.catalog import Gate, Plan
from redpoll.errors import RedpollError
from redpoll.rollout.evidence import BUCKET_US, Evidence, GateSpec, Reading, gate_specs

from .entries import REFERENCE, answer, request, spec

ERRORS = (GateSpec(metric="error_rate", alpha=0.025),)


def run(spec_of, rounds, *, weight=0.1, start=0):
    """One round a bucket: a list of (arm, status, latency_us). The evidence and its last reading."""
    evidence = Evidence.start(spec_of) if not isinstance(spec_of, Evidence) else spec_of
    for number, arrivals in enumerate(rounds, start):
        for index, (arm, status, latency_us) in enumerate(arrivals):
            name, time_us = f"r{number}.{index}", number * BUCKET_US + index
            evidence.add(request(name, time_us, arm, weight=weight))
            evidence.add(answer(name, time_us + 1, status, latency_us=latency_us))
        evidence.close((number + 1) * BUCKET_US)
    return evidence, evidence.read()


def draws(requests, candidate, stable, *, weight=0.1, seed=1, latency=(25_000, 25_000)):
    """One request a round; chances to be bad, and a latency for each arm."""
    rng = random.Random(seed)
    rounds = []
    for _ in range(requests):
        arm = "candidate" if rng.random() < weight else "stable"
        bad = rng.random() < (candidate if arm == "candidate" else stable)
        us = round(latency[arm == "candidate"] * math.exp(rng.gauss(0, 0.5)))
        rounds.append([(arm, "error" if bad else "ok", us)])
    return rounds


def test_a_candidate_that_fails_more_fails_the_gate_and_the_sentence_says_how():
    """Evidence reaches its limit; the answer, the moment and the counts are there."""
    _, reading = run(spec(gates=ERRORS), draws(1500, 0.06, 0.006))
    (gate,) = reading.gates
    assert gate.answer == "fail"
    assert gate.evidence >= gate.limit == pytest.approx(40.0)
    assert gate.failed_us is not None and gate.failed_us % BUCKET_US == 0
    stable, candidate = reading.stable, reading.candidate
    assert gate.sentence == (
        f"7 failed {candidate.bad / candidate.requests:.1%} of {candidate.requests} requests,"
        f" 6 failed {stable.bad / stable.requests:.1%} of {stable.requests:,}."
    )


def test_a_gate_that_failed_in_a_closed_bucket_stays_failed():
    """So the decision does not depend on how often anybody looked in between."""
    evidence, reading = run(spec(gates=ERRORS), draws(1500, 0.06, 0.006))
    failed = reading.gates[0]
    _, later = run(evidence, draws(1500, 0.0, 0.1, seed=2), start=1500)
    assert later.gates[0].answer == "fail"
    assert later.gates[0].failed_us == failed.failed_us
    assert later.gates[0].evidence >= later.gates[0].limit


def test_how_often_one_closes_does_not_change_when_it_failed():
    """A single close over everything notes the same bucket as a close for each."""
    rounds = draws(1500, 0.06, 0.006)
    _, often = run(spec(gates=ERRORS), rounds)
    once = Evidence.start(spec(gates=ERRORS))
    for number, [(arm, status, us)] in enumerate(rounds):
        once.add(request(f"r{number}.0", number * BUCKET_US, arm))
        once.add(answer(f"r{number}.0", number * BUCKET_US + 1, status, latency_us=us))
    once.close(1500 * BUCKET_US)
    assert once.read() == often


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.5, 1.0])
def test_without_a_margin_nothing_is_ever_proven(rate):
    """Margin 0: a better candidate is undecided, and no pass side exists."""
    _, reading = run(spec(gates=ERRORS), draws(400, rate / 2, rate))
    (gate,) = reading.gates
    assert gate.answer == "undecided"
    assert gate.pass_log_evidence is None and gate.pass_limit is None
    assert gate.sentence.startswith("Undecided")


def test_a_silent_metric_neither_fails_nor_passes():
    """No candidate request at all, or none of either arm: undecided for ever, evidence 1."""
    gates = (
        GateSpec(metric="error_rate", margin=0.05),
        GateSpec(metric="latency", margin_ratio=1.2),
    )
    for rounds in ([], [[("stable", "ok", 25_000)]] * 300):
        _, reading = run(spec(gates=gates), rounds)
        assert [gate.answer for gate in reading.gates] == ["undecided", "undecided"]
        assert reading.gates[0].evidence <= 1.0
        assert reading.gates[0].sentence == "Undecided, no request of 7 is counted yet."


@pytest.mark.parametrize(
    ("margin", "words"),
    [
        ({"margin": 0.02}, "at most 2 points more errors"),
        ({"margin_ratio": 3.0}, "at most 200% more errors"),
    ],
)
def test_within_a_margin_it_passes_by_its_own_limit(margin, words):
    """Equal rates, a margin to exclude: passes, with the whole alpha of the gate as its limit."""
    gates = (GateSpec(metric="error_rate", alpha=0.025, **margin),)
    _, reading = run(spec(gates=gates), draws(6000, 0.02, 0.02, weight=0.5), weight=0.5)
    (gate,) = reading.gates
    assert gate.answer == "pass"
    assert gate.pass_log_limit == gate.log_limit == pytest.approx(math.log(40.0))
    assert gate.pass_evidence >= gate.pass_limit
    assert gate.passed_us is not None
    assert words in gate.sentence


def test_undecided_says_how_many_requests_are_still_wanted():
    """`Undecided, about N more requests to exclude …`; N falls as evidence comes in."""
    gates = (GateSpec(metric="error_rate", alpha=0.025, margin=0.02),)
    wanted = []
    for requests in (300, 1200):
        _, reading = run(spec(gates=gates), draws(requests, 0.02, 0.02))
        sentence = reading.gates[0].sentence
        assert sentence.startswith("Undecided, about ")
        assert "more requests to exclude 2 points more errors: 7 failed" in sentence
        wanted.append(int(sentence.split()[2].replace(",", "")))
    assert wanted[1] < wanted[0]


def latency_gate(**changes):
    return spec(gates=(GateSpec(metric="latency", alpha=0.025, **changes),))


def test_a_slower_candidate_fails_the_latency_gate():
    """+30 % with no margin, and beyond a margin of 20 %."""
    rounds = draws(6000, 0.0, 0.0, latency=(40_000, 52_000))
    for changes, words in (
        ({}, "7 is slower than 6"),
        ({"margin_ratio": 1.1}, "more than 10% slower"),
    ):
        _, reading = run(latency_gate(**changes), rounds)
        assert reading.gates[0].answer == "fail"
        assert words in reading.gates[0].sentence
        assert "half of 7's answers took over 5" in reading.gates[0].sentence


def test_what_a_latency_gate_says_is_of_todays_weight():
    """Fast at 10 %, slow at 50 %, while the stable was slow before: over both the slow one looks fast."""
    gate = latency_gate(margin_ratio=1.2)
    evidence, _ = run(gate, draws(3000, 0.0, 0.0, latency=(90_000, 9_000)))
    rounds = draws(400, 0.0, 0.0, weight=0.5, latency=(20_000, 60_000))
    evidence, reading = run(evidence, rounds, weight=0.5, start=3000)
    assert reading.candidate.p50_us < reading.stable.p50_us
    sentence = reading.gates[0].sentence
    assert reading.gates[0].answer == "fail"
    assert re.search(
        r"than 6: at 50% half of 7's answers took over [56]\d\sms, 6's [12]\d\sms", sentence
    )
    again = Evidence.load(evidence.state())
    assert again.read() == reading, "a checkpoint keeps the weights apart"


def test_an_equally_fast_candidate_passes_the_latency_gate():
    """20 % slower is excluded soon, and said so."""
    _, early = run(latency_gate(margin_ratio=1.2), draws(150, 0, 0, latency=(40_000, 40_000)))
    assert early.gates[0].answer == "undecided"
    assert "more requests to exclude 20% slower" in early.gates[0].sentence
    _, reading = run(latency_gate(margin_ratio=1.2), draws(3000, 0, 0, latency=(40_000, 40_000)))
    assert reading.gates[0].answer == "pass"
    assert "7 is at most 20% slower than 6" in reading.gates[0].sentence


def test_a_failure_is_the_slowest_answer_not_the_fastest():
    """The candidate mends an error that came back in 1 ms: that is not "slower".

    And one that fails fast is not "faster": no answer is the slowest.
    """
    rng = random.Random(3)
    mends, breaks = [], []
    for _ in range(3000):
        arm = "candidate" if rng.random() < 0.1 else "stable"
        fast_error = (arm, "error", 1000)
        fine = (arm, "ok", 40_000)
        broken = rng.random() < 0.3
        mends.append([fast_error if broken and arm == "stable" else fine])
        breaks.append([fast_error if broken and arm == "candidate" else fine])
    assert run(latency_gate(), mends)[1].gates[0].evidence < 1.0
    assert run(latency_gate(), breaks)[1].gates[0].answer == "fail"


def test_with_a_margin_of_errors_only_silence_counts_as_slow():
    """Errors are then the error gate's affair; time-outs and lost requests stay the slowest."""
    loose = GateSpec(metric="error_rate", alpha=0.025, margin=0.5)
    gates = (loose, GateSpec(metric="latency", alpha=0.025))
    rng = random.Random(5)
    arms = ["candidate" if rng.random() < 0.1 else "stable" for _ in range(3000)]
    for status, answered in (("error", "undecided"), ("timeout", "fail"), ("lost", "fail")):
        rounds = [
            [(arm, status if arm == "candidate" and rng.random() < 0.3 else "ok", 40_000)]
            for arm in arms
        ]
        _, reading = run(spec(gates=gates), rounds)
        assert reading.gates[1].answer == answered, status


def test_a_first_deploy_takes_its_first_500_requests_as_the_scale_untested():
    """Until then evidence is 1, the sentence says how far it is, a checkpoint keeps it."""
    first = spec(gates=(GateSpec(metric="latency", alpha=0.025),), latency_reference=None)
    rounds = draws(500, 0.0, 0.0, latency=(40_000, 400_000))
    evidence, reading = run(first, rounds)
    assert reading.gates[0].log_evidence == 0.0
    assert "the first 500 requests of 6 set the scale" in reading.gates[0].sentence
    evidence = Evidence.load(evidence.state())
    more = draws(500, 0.0, 0.0, seed=2, latency=(40_000, 400_000))
    evidence, reading = run(evidence, more, start=500)
    assert reading.gates[0].answer == "fail"
    again = Evidence.load(evidence.state())
    assert again.read() == reading


def test_gates_share_alpha_as_declared_and_what_is_left_equally():
    """Two default gates: half each; a declared .2 leaves .8 for two others."""
    assert [g.alpha for g in gate_specs(Plan())] == pytest.approx([0.025, 0.025])
    gates = (
        Gate(metric="error_rate", margin=0.01, alpha_share=0.2),
        Gate(metric="latency", margin_ratio=1.2),
        Gate(metric="latency"),
    )
    found = gate_specs(Plan(alpha=0.1, gates=gates))
    assert [g.alpha for g in found] == pytest.approx([0.02, 0.04, 0.04])
    assert [g.has_margin for g in found] == [True, True, False]


@pytest.mark.parametrize("shares", [(0.8, 0.4), (1.0, None), (0.0, 0.5), (-0.1, None)])
def test_shares_that_cannot_be_are_refused(shares):
    """More than the whole, nothing left, or nothing at all: RP-402 names alpha_share."""
    gates = tuple(Gate(metric="error_rate", alpha_share=share) for share in shares)
    with pytest.raises(RedpollError, match="alpha_share") as error:
        gate_specs(Plan(gates=gates))
    assert error.value.code == "RP-402"


def test_a_gate_that_is_not_built_is_refused_with_the_nearest_name():
    """Slices, objectives and other metrics come later."""
    with pytest.raises(RedpollError, match="Did you mean 'error_rate'"):
        Evidence.start(spec(gates=(GateSpec(metric="eror_rate"),)))
    with pytest.raises(RedpollError, match="not built yet"):
        Evidence.start(spec(gates=(GateSpec(metric="latency", kind="objective"),)))


def test_a_reading_is_json_even_when_evidence_is_beyond_all_numbers():
    """Plain evidence is cut at 1e300, never infinite."""
    _, reading = run(spec(gates=ERRORS), [[("candidate", "error", 1000)] * 40] * 50)
    (gate,) = reading.gates
    assert gate.log_evidence > 690
    assert gate.evidence == 1e300
    assert isinstance(reading, Reading)


def test_the_split_is_tested_against_the_weight_that_was_drawn():
    """Half of the requests at a weight of 10 %: evidence 1,000 and a sentence; at 50 %: nothing."""
    rounds = [[("candidate", "ok", 25_000), ("stable", "ok", 25_000)]] * 40
    _, crooked = run(spec(), rounds, weight=0.1)
    assert crooked.split_log_evidence > crooked.split_log_limit
    assert crooked.split_sentence == "7 got 50.0% of 80 requests, which is not what was drawn."
    _, straight = run(spec(), rounds, weight=0.5)
    assert straight.split_log_evidence < 1.0
    assert straight.split_sentence == ""


def test_the_reference_of_a_rollout_is_kept_with_its_checkpoint():
    """A latency gate goes on with the very same scale."""
    evidence, _ = run(spec(), draws(50, 0.0, 0.0))
    assert Evidence.load(evidence.state()).spec.latency_reference == REFERENCE
