"""Evidence: the same facts give the same evidence, however they are read."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpoll.rollout.evidence import BUCKET_US, Evidence

from .entries import Traffic, answer, request, spec, traffic

SEEDS = st.integers(0, 10**6)
UNITS = st.sampled_from(["request", "user"])


def whole(found: Traffic, unit: str) -> Evidence:
    """Everything read, then everything closed."""
    evidence = Evidence.start(spec(unit=unit, length=200.0))
    for entries in found.streams.values():
        for entry in entries:
            evidence.add(entry)
    evidence.close(found.end_us)
    return evidence


def known(evidence: Evidence) -> bytes:
    """All that closed buckets say, to the bit."""
    state = msgspec.msgpack.decode(evidence.state())
    return msgspec.msgpack.encode({key: state[key] for key in state if key != "open"})


@given(seed=SEEDS, unit=UNITS)
@settings(deadline=None, max_examples=25)
def test_the_order_of_reading_makes_no_difference(seed, unit):
    """Streams interleaved at random and closed as they go, or shuffled whole: equal to the bit."""
    found, rng = traffic(seed), random.Random(seed)
    expected = whole(found, unit)
    assert expected.read().requests > 0

    shuffled = Evidence.start(spec(unit=unit, length=200.0))
    entries = [entry for stream in found.streams.values() for entry in stream]
    rng.shuffle(entries)
    for entry in entries:
        shuffled.add(entry)
    shuffled.close(found.end_us)
    assert known(shuffled) == known(expected)

    live = Evidence.start(spec(unit=unit, length=200.0))
    left = {stream: list(reversed(entries)) for stream, entries in found.streams.items()}
    while any(left.values()):
        stream = rng.choice([name for name, entries in left.items() if entries])
        for _ in range(rng.randrange(1, 30)):
            if left[stream]:
                live.add(left[stream].pop())
        # Complete up to before the oldest fact that any stream still holds.
        known_us = min((rest[-1].time_us for rest in left.values() if rest), default=0) - 1
        for end_us in (*range(live.read().last_closed_us, known_us, 30 * BUCKET_US), known_us):
            live.close(end_us, known_us)
    live.close(found.end_us)
    assert known(live) == known(expected)
    assert live.read() == expected.read()
    assert live.read().late == 0


@given(seed=SEEDS, unit=UNITS, cuts=st.lists(st.integers(0, 700), min_size=1, max_size=4))
@settings(deadline=None, max_examples=25)
def test_a_checkpoint_anywhere_changes_nothing(seed, unit, cuts):
    """State and load between any two facts, closing as it goes: the same state, to the byte."""
    found = traffic(seed, gateways=1)
    entries = sorted((e for s in found.streams.values() for e in s), key=lambda e: e.time_us)
    straight, held = (Evidence.start(spec(unit=unit, length=150.0)) for _ in range(2))
    for index, entry in enumerate(entries):
        if index in cuts:
            held = Evidence.load(held.state())
        for evidence in (straight, held):
            evidence.add(entry)
            evidence.close(entry.time_us)
    assert held.state() == straight.state()
    assert Evidence.load(held.state()).read() == straight.read()


@given(seed=SEEDS, unit=UNITS, delay=st.integers(1, 80))
@settings(deadline=None, max_examples=20)
def test_answers_that_come_late_change_nothing_but_when_it_is_known(seed, unit, delay):
    """The stable's failures 8 s late, the candidate's at once: evidence is by arrival, so equal."""
    found = traffic(seed, gateways=1)
    late = Evidence.start(spec(unit=unit, length=200.0))
    stable = {
        entry.fact.prediction_id
        for entry in found.streams["gateway-0"]
        if getattr(entry.fact, "arm", None) == "stable"
    }
    moved = []
    for stream, entries in found.streams.items():
        for entry in entries:
            slow = entry.fact.prediction_id in stable and hasattr(entry.fact, "status")
            time_us = entry.time_us + delay * 100_000 if slow else entry.time_us
            moved.append(msgspec.structs.replace(entry, time_us=time_us, stream=stream))
    for entry in sorted(moved, key=lambda entry: entry.time_us):
        late.add(entry)
        late.close(entry.time_us)
    late.close(found.end_us + 10**8)
    assert known(late) == known(whole(found, unit))


def test_a_bucket_waits_for_its_last_answer_and_holds_back_those_behind_it():
    """One request without an answer: later buckets stay open, however complete the streams are."""
    evidence = Evidence.start(spec())
    evidence.add(request("a", 50_000))
    for number in range(5):
        evidence.add(request(f"b{number}", 150_000 + number * BUCKET_US, "stable"))
        evidence.add(answer(f"b{number}", 160_000 + number * BUCKET_US, version="6"))
    evidence.close(10**9)
    reading = evidence.read()
    assert (reading.requests, reading.open_requests, reading.oldest_open_us) == (0, 6, 0)
    assert reading.last_closed_us == 0
    evidence.add(answer("a", 5_000_000, "timeout"))
    evidence.close(10**9)
    reading = evidence.read()
    assert (reading.requests, reading.open_requests, reading.oldest_open_us) == (6, 0, None)
    assert reading.last_closed_us == 10**9
    assert reading.candidate.by_status == {"timeout": 1}


def test_a_bucket_waits_until_every_stream_is_past_its_end():
    """A request of another gateway may still be unread until then."""
    evidence = Evidence.start(spec())
    evidence.add(request("a", 150_000))
    evidence.add(answer("a", 160_000))
    evidence.close(199_999)
    assert evidence.read().requests == 0
    evidence.add(request("b", 199_000, stream="gateway-b"))
    evidence.close(200_000)
    assert evidence.read().requests == 0
    evidence.add(answer("b", 200_500, stream="gateway-b"))
    evidence.close(200_000, known_us=200_499)
    assert evidence.read().requests == 0  # an older answer to b may still be unread
    evidence.close(200_000, known_us=200_500)
    assert evidence.read().requests == 2
    assert evidence.read().late == 0


@pytest.mark.parametrize(
    ("arm", "changes"),
    [
        ("none", {}),
        ("baseline", {}),
        ("candidate", {"rollout_id": "churn-6"}),
        ("candidate", {"rollout_id": None}),
        ("candidate", {"weight": 0.0}),
        ("stable", {"weight": 1.0}),
        ("candidate", {"route_generation": 3}),
    ],
)
def test_what_does_not_count_does_not_count(arm, changes):
    """No arm, another rollout, weights 0 and 1, a route older than the evidence: passed over."""
    evidence = Evidence.start(spec(since_generation=4))
    evidence.add(request("a", 1000, arm, **({"route_generation": 4} | changes)))
    evidence.add(answer("a", 2000, "error"))
    evidence.close(10**6)
    assert evidence.read().requests == 0
    assert evidence.read().open_requests == 0
    evidence.add(request("b", 10**6, route_generation=4))
    evidence.add(answer("b", 10**6 + 1, "error"))
    evidence.close(10**7)
    assert evidence.read().candidate.by_status == {"error": 1}


@pytest.mark.parametrize("role", ["shadow", "noise", "human"])
def test_only_live_answers_count(role):
    """A shadow's failure convicts nobody."""
    evidence = Evidence.start(spec())
    evidence.add(request("a", 1000))
    evidence.add(answer("a", 1500, "error", role=role))
    evidence.close(10**6)
    assert evidence.read().requests == 0
    evidence.add(answer("a", 2000))
    evidence.close(10**6)
    assert evidence.read().candidate.by_status == {"ok": 1}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([("ok", 30), ("lost", 40)], "ok"),
        ([("error", 20), ("ok", 30)], "error"),
        ([("timeout", 20), ("error", 30)], "timeout"),
        ([("error", 20), ("lost", 30), ("ok", 40)], "error"),
        ([("lost", 20)], "lost"),
        ([("ok", 20), ("ok", 20)], "ok"),
    ],
)
def test_of_several_answers_one_counts(answers, expected):
    """The earliest: a failure before its fallback, a real one before `lost`; however it is read."""
    for order in (answers, answers[::-1]):
        for first in ("request", "answers"):
            evidence = Evidence.start(spec())
            if first == "request":
                evidence.add(request("a", 1000))
            for number, (status, time_us) in enumerate(order):
                evidence.add(answer("a", time_us * 1000, status, sequence=number + 1))
            if first == "answers":
                evidence.add(request("a", 1000))
            evidence.close(10**6)
            assert evidence.read().candidate.by_status == {expected: 1}


def test_after_its_bucket_is_closed_nothing_more_comes_of_a_request():
    """A second answer, and the request once more, are ignored; the latter is said."""
    evidence = Evidence.start(spec())
    evidence.add(request("a", 1000))
    evidence.add(answer("a", 2000))
    evidence.close(10**6)
    before = evidence.read()
    evidence.add(answer("a", 3000, "error"))
    evidence.add(request("a", 1000))
    evidence.close(2 * 10**6)
    after = evidence.read()
    assert after.candidate == before.candidate
    assert (after.late, after.open_requests) == (1, 0)


def test_answers_without_a_request_are_forgotten():
    """Named versions and other rollouts answer too: nothing of them is kept."""
    evidence = Evidence.start(spec())
    for number in range(100):
        evidence.add(answer(f"x{number}", 1000 * number))
    empty = Evidence.start(spec())
    evidence.close(10**6)
    empty.close(10**6)
    assert evidence.state() == empty.state()


def test_answers_without_a_request_are_bounded_even_when_nothing_closes(monkeypatch):
    """A rollout that waits for its candidate closes nothing, while the stable answers on."""
    monkeypatch.setattr("redpoll.rollout.evidence_buckets.EARLY_MAX", 10)
    evidence = Evidence.start(spec())
    for number in range(50):
        evidence.add(answer(f"x{number}", 1000 + number))
    evidence.add(request("x49", 900))
    evidence.close(10**6)
    assert evidence.read().requests == 1
    evidence.add(request("x1", 2 * 10**6))
    evidence.close(10**7)
    assert evidence.read().open_requests == 1


def test_another_model_is_passed_over_where_the_spec_names_one():
    """Ids of rollouts are unique anyway; this saves the look."""
    evidence = Evidence.start(spec(model="fraud"))
    evidence.add(request("a", 1000))
    evidence.add(answer("a", 2000))
    evidence.close(10**6)
    assert evidence.read().requests == 0


def test_the_state_does_not_grow_with_traffic_by_request():
    """Ten times the requests, the same size of checkpoint (but for larger numbers)."""
    sizes = []
    for requests in (300, 3000):
        found = traffic(5, requests)
        evidence = whole(found, "request")
        sizes.append(len(evidence.state()))
    assert sizes[1] < sizes[0] * 1.3


def test_something_else_is_no_checkpoint():
    """A file of another format is refused, so that control folds again."""
    with pytest.raises(ValueError, match="fold the journal again"):
        Evidence.load(msgspec.msgpack.encode({"state": 0}))


def test_counts_by_weight_are_the_candidates():
    """What the machine asks for: candidate requests at each weight."""
    evidence = Evidence.start(spec())
    for number, (arm, weight) in enumerate(
        [("candidate", 0.1), ("stable", 0.1), ("candidate", 0.5), ("candidate", 0.5)]
    ):
        evidence.add(request(f"a{number}", 1000 * number, arm, weight=weight))
        evidence.add(answer(f"a{number}", 1000 * number + 500))
    evidence.close(10**6)
    reading = evidence.read()
    assert reading.by_weight == {0.1: 1, 0.5: 2}
    assert (reading.requests, reading.candidate_requests) == (4, 3)
