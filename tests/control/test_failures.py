"""Failing requests of the candidate, beside what the stable answered to the same."""

from __future__ import annotations

import json

from redpoll import capture
from redpoll.catalog import Plan, Step
from redpoll.control.failures import FailureBook
from redpoll.facts import Answer, Request
from tests.control.rig import Rig

HALF = Plan(steps=(Step(weight=0.5),), min_requests=10_000)


def ask(rig: Rig, age: int, arm: str, status: str, answer: bytes, form: int) -> str:
    """One request with a body, assigned by hand."""
    route = rig.route()
    prediction = rig.ids.prediction_id(7, rig.clock.now_us())
    request = Request(
        prediction,
        prediction,
        1,
        arm=arm,
        arm_probability=0.5,
        rollout_id=route.rollout_id,
        route_generation=route.generation,
    )
    body = json.dumps({"age": age}).encode()
    rig.gateway.append("churn", request, body, capture.ROWS_REQUEST)
    version = "v2" if arm == "candidate" else "v1"
    rig.gateway.append(
        "churn", Answer(prediction, version, status=status, latency_us=2500), answer, form
    )
    return prediction


def test_a_failure_shows_its_input_its_error_and_the_stables_answer(tmp_path):
    """The stable was asked the same (shadow), or had answered an equal input before."""
    rig = Rig(tmp_path, plan=HALF)
    rig.live()
    rig.start()
    rig.run(1, 0)
    good = b'{"outputs":[{"name":"churn","datatype":"FP64","shape":[1],"data":[0.25]}]}'
    ask(rig, 41, "stable", "ok", good, capture.OIP_ANSWER)
    ask(rig, 41, "candidate", "error", b"ValueError: plan 'gold' is unknown", capture.TEXT)
    shadowed = ask(rig, 17, "candidate", "error", b"KeyError: 'age'", capture.TEXT)
    rig.gateway.append(
        "churn", Answer(shadowed, "v1", role="shadow", latency_us=900), good, capture.OIP_ANSWER
    )
    ask(rig, 99, "candidate", "timeout", b"", 0)
    rig.clock.advance(300_000)
    rig.gateway.beat()
    rig.gateway.flush()
    rig.engine.tick()
    model = rig.engine.catalog.models["churn"].model
    book, cursors = FailureBook(rig.journal), rig.engine.follower.cursors
    equal, shadow, alone = (book.view(model, "v1", one, cursors) for one in rig.watch.failures)
    assert json.loads(equal.inputs) == {"age": [41]}
    assert "gold" in equal.candidate_answer and equal.stable_version == "v1"
    assert json.loads(equal.stable_answer) == {"churn": [0.25]}
    assert (shadow.prediction_id, shadow.stable_latency_ms) == (shadowed, 0.9)
    assert (alone.status, alone.stable_answer, alone.candidate_answer) == ("timeout", None, None)


def test_only_the_newest_failures_are_kept(tmp_path):
    """Twenty, however many there are."""
    rig = Rig(tmp_path, plan=HALF)
    rig.live()
    rig.start()
    rig.run(1, 0)
    asked = [ask(rig, age, "candidate", "error", b"no", capture.TEXT) for age in range(30)]
    rig.gateway.flush()
    rig.engine.tick()
    assert [one.prediction_id for one in rig.watch.failures] == asked[-20:]
