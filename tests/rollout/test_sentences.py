"""What a person reads: the state, what is missing, and what silence means."""

from __future__ import annotations

from msgspec.structs import replace

from redpoll.catalog import Plan, Step
from redpoll.rollout import sentences
from redpoll.rollout.machine_state import Health, ModelState
from redpoll.rollout.sentences import Lately
from tests.rollout.machines import (
    PLAN,
    SECOND,
    T0,
    live,
    reading,
    running,
    started,
    step,
    tell,
)


def following(state: ModelState, seen, now_us: int, rate: float | None = None, last=None) -> str:
    lately = Lately(requests_per_second=rate, last_us=last)
    return sentences.next_step(state.rollout, seen, Health(), now_us, lately)


def test_what_is_missing_is_counted_and_guessed():
    """Requests with a guess at today's rate, and the pause with its end."""
    seen = reading(T0 + 4 * SECOND, {0.1: 40})
    text = following(running(), seen, T0 + 4 * SECOND, 2.0, T0 + 4 * SECOND)
    assert text.startswith(
        "Next: 50%, after 60 more requests to v2, about 30 s and the pause until"
    )
    assert text.endswith("UTC.")


def test_the_last_step_leads_to_everything_and_a_manual_one_to_a_person():
    """100%, or somebody's word."""
    last = running(replace(PLAN, steps=(Step(weight=0.1),)))
    assert "Next: 100%" in following(last, reading(T0, {}), T0)
    manual = running(replace(PLAN, steps=(Step(weight=0.1, pause_s=None),)))
    assert "a person's word" in following(manual, reading(T0, {}), T0)


def test_silence_is_said_and_decides_nothing():
    """Traffic stopped: the sentence says since when, not that something is about to happen."""
    seen = reading(T0 + 300 * SECOND, {0.1: 40})
    text = following(running(), seen, T0 + 300 * SECOND, None, T0 + 60 * SECOND)
    assert "No request reached v2 for 4 min: nothing is decided on silence." in text


def test_evidence_that_stands_still_is_said():
    """Time passes and no bucket closes: an answer is missing, or a gateway is silent."""
    held = replace(reading(T0, {0.1: 40}), open_requests=1)
    text = following(running(), held, T0 + 60 * SECOND, 2.0, T0 + 60 * SECOND)
    assert "1 request waits for its answer" in text and "Nothing is decided" in text
    dumb = following(running(), reading(T0, {0.1: 900}), T0 + 60 * SECOND)
    assert "a gateway is silent" in dumb


def test_a_running_rollout_tells_what_was_seen():
    """No evidence, no harm, a pass, an accepted failure: four sentences."""
    rollout = running().rollout
    assert sentences.now(rollout, None) == "v2 at 10%: no evidence yet."
    fine = reading(T0, {0.1: 1200})
    assert sentences.now(rollout, fine) == "v2 at 10%: no harm seen in 1,200 requests."
    passed = reading(T0, {0.1: 1200}, passes=("error_rate", "latency"))
    assert "every gate passed" in sentences.now(rollout, passed)
    accepted = replace(rollout, waived=("latency",))
    assert "beside the accepted latency" in sentences.now(accepted, fine)


def test_no_harm_seen_is_said_only_where_no_guardrail_has_evidence():
    """What speaks against a version is named with its limit, before it fails; an accepted gate not."""
    rollout = running().rollout
    quiet = reading(T0, {0.1: 1200}, evidence={"error_rate": 1.4})
    assert sentences.now(rollout, quiet) == "v2 at 10%: no harm seen in 1,200 requests."
    loud = reading(T0, {0.1: 1200}, evidence={"error_rate": 8.0})
    assert sentences.now(rollout, loud) == (
        "v2 at 10%: no gate failed yet (error_rate evidence 8 of 40) in 1,200 requests."
    )
    both = reading(T0, {0.1: 1200}, evidence={"error_rate": 31.6, "latency": 2.5})
    assert "(error_rate evidence 32 of 40, latency evidence 2.5 of 40)" in sentences.now(
        rollout, both
    )
    accepted = replace(rollout, waived=("error_rate",))
    assert "no harm seen in 1,200 requests beside the accepted error_rate" in sentences.now(
        accepted, loud
    )


def test_a_step_that_is_taken_does_not_call_evidence_no_harm():
    """The Decision's sentence says the same truth: on, to a person, to the end."""
    loud = {"evidence": {"latency": 8.0}}
    told = "no gate failed yet (latency evidence 8 of 40)"
    on = step(running(), reading(T0 + 11 * SECOND, {0.1: 100}, **loud), T0 + 11 * SECOND)
    assert on.active.sentence == f"v2 goes to 50%: {told} at 10% with 100 requests."
    manual = running(replace(PLAN, steps=(Step(weight=0.1, pause_s=None),)))
    waits = step(manual, reading(T0 + 2 * SECOND, {0.1: 100}, **loud), T0 + 2 * SECOND)
    assert told in waits.active.sentence
    last = running(replace(PLAN, steps=(Step(weight=0.1),)))
    done = step(last, reading(T0 + 2 * SECOND, {0.1: 100}, **loud), T0 + 2 * SECOND)
    assert done.rollout.state == "promoted" and told in done.rollout.sentence


def test_whoever_must_act_is_told_what_can_be_done():
    """Each cause of a pause has its own advice; a person is named as needed."""
    seen = reading(T0 + SECOND, {0.1: 7}, fails=("latency",))
    failed = step(running(replace(PLAN, on_fail="pause")), seen, T0 + SECOND)
    assert "accept the failed gate" in following(failed, seen, T0)
    assert sentences.needs(failed).startswith("churn-1 waits for you: v2 paused at 10%")
    paused = tell(running(), "pause")
    assert "still rolls back" in following(paused, None, T0)
    assert sentences.needs(running()) == "" and sentences.needs(live()) == ""
    assert "no live version" in sentences.needs(ModelState(name="churn"))


def test_a_pending_candidate_says_what_it_waits_for():
    """And when it is given up."""
    health = Health(ready=False, detail="its worker is still loading", load_s=60.0)
    text = sentences.next_step(started().rollout, None, health, T0 + 5 * SECOND, Lately())
    assert text == "Waits until v2 is ready (its worker is still loading); gives up in 60 s."


def test_the_bound_on_false_alarms_in_words():
    """Odds where they are whole, else a share of a hundred; and what it cannot tell apart."""
    assert "1 rollout of 20" in sentences.false_alarm(running().rollout)
    odd = running(Plan(steps=PLAN.steps, alpha=0.03)).rollout
    assert "3 rollouts of 100" in sentences.false_alarm(odd)
    assert "bad host or cache" in sentences.false_alarm(odd)


def test_a_reason_is_kept_as_it_was_typed_and_its_sentence_ends_once():
    """Dots in it are not taken away, and none is added behind a sentence that has its end."""
    for reason, end in (("wait... what?", ""), ("seen enough.", ""), ("see 1..9", ".")):
        told = tell(running(), "promote", T0 + SECOND, reason=reason)
        assert told.active.sentence == f"v2 goes to 50% (step 2 of 2) by anna: {reason}{end}"
        out = tell(running(), "abort", T0 + SECOND, reason=reason)
        assert out.rollout.sentence == f"v2 aborted by anna: {reason}{end} v1 serves everything."
