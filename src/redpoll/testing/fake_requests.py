"""*Requests* of the night that :mod:`redpoll.testing.fake_night` tells: one that 7 failed."""

from __future__ import annotations

from typing import Any

from redpoll.control.requests import FAILED, Asked
from redpoll.errors import RedpollError, closest
from redpoll.testing import fake_night as night
from redpoll.testing.fake_evidence import failures
from redpoll.views import (
    AnswerView,
    DecisionView,
    FailureView,
    RequestLine,
    RequestPage,
    RequestView,
    WindowView,
)

STREAM = "gateway-0a1b2c3d4e5f"
NEXT = (-night.STARTED, STREAM, -88_102)


def _answer(failure: FailureView, version: str, ok: bool) -> AnswerView:
    latency_ms = failure.stable_latency_ms if ok else failure.latency_ms
    said = failure.stable_answer if ok else '{"error": "ZeroDivisionError: division by zero"}'
    return AnswerView(
        version=version,
        role="shadow" if ok else "live",
        status="ok" if ok else "error",
        error_code=None if ok else failure.error_code,
        latency_ms=latency_ms or 0.0,
        queue_ms=0.1,
        attempts=1,
        decided_by="model",
        outputs=said,
        reported={},
        time_us=failure.time_us + int(latency_ms or 0) * 1000,
        stream=STREAM,
        sequence=88_104 + ok,
    )


def whole(failure: FailureView, decisions: tuple[DecisionView, ...] = ()) -> RequestView:
    """A failure of fraud 7 as *Requests* shows it."""
    return RequestView(
        prediction_id=failure.prediction_id,
        request_id="order-7719302",
        model="fraud",
        time_us=failure.time_us,
        stream=STREAM,
        sequence=88_102,
        rows=1,
        unit="u-58213",
        unit_kind="user",
        subject=None,
        groups={},
        arm="candidate",
        arm_probability=0.1,
        rollout_id="fraud-9",
        route_generation=211,
        version_requested=None,
        draws=[{"purpose": "arm", "choice": "candidate", "probability": 0.1}],
        inputs=failure.inputs,
        body=None,
        encoding=None,
        capture="full",
        capture_probability=1.0,
        redacted=("note",),
        trace_id="4bf9a3577b34da6a3ce929d0e0e47361",
        answers=(_answer(failure, "7", False), _answer(failure, "6", True)),
        outcomes=(),
        windows=(
            WindowView(
                name="chargeback",
                ends_us=night.NOW + 60 * 86_400 * night.SECOND,
                open=True,
                absent="negative",
            ),
        ),
        decisions=decisions,
        sentence="7 was drawn as the candidate and failed after 3.0\u00a0ms (RP-200); 6 answers "
        "the same request.",
    )


class FakeRequests:
    """Three requests that failed; ``asked`` holds what was looked for."""

    def __init__(self, log: list[DecisionView]) -> None:
        self.asked: list[Asked] = []
        self._log = log

    async def find(self, asked: Asked) -> RequestPage:
        """Those of fraud that failed, in two pages."""
        self.asked.append(asked)
        if asked.model not in ("", "churn", "fraud", "defects"):
            raise RedpollError(
                "RP-102", f"There is no model {asked.model!r}.{closest(asked.model, ['fraud'])}"
            )
        rows = [whole(one) for one in failures()]
        fits: dict[str, Any] = {
            "model": asked.model in ("", "fraud"),
            "status": asked.status in ("", "error", FAILED),
            "unit": asked.unit in ("", "u-58213"),
        }
        found = [
            one
            for one in rows
            if all(fits.values()) and asked.wanted_id in ("", one.prediction_id, one.request_id)
        ]
        more = NEXT if asked.after is None and len(found) > 1 else None
        return RequestPage(
            lines=tuple(_line(one) for one in (found if asked.after is None else found[:1])),
            more=more,
            looked=412,
            reached_us=night.STARTED if more else None,
            cut=False,
        )

    async def one(self, prediction_id: str) -> RequestView:
        """One of the three, or RP-405."""
        for one in failures():
            if one.prediction_id == prediction_id:
                mine = [d for d in self._log if d.model == "fraud"]
                return whole(one, tuple(mine[-3:]))
        raise RedpollError("RP-405", f"{prediction_id[:60]!r} is not in the log of fraud.")


def _line(one: RequestView) -> RequestLine:
    answer = one.answers[0]
    return RequestLine(
        prediction_id=one.prediction_id,
        request_id=one.request_id,
        model=one.model,
        time_us=one.time_us,
        unit=one.unit,
        rows=one.rows,
        arm=one.arm,
        rollout_id=one.rollout_id,
        version=answer.version,
        status=answer.status,
        error_code=answer.error_code,
        decided_by=answer.decided_by,
        latency_ms=answer.latency_ms,
    )
