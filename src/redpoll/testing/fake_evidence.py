"""The evidence and the failing requests of the night in :mod:`redpoll.testing.fake_night`."""

from __future__ import annotations

import math

from redpoll.testing.fake_night import SECOND, STARTED, churn
from redpoll.views import EvidencePoint, FailureView

STDERR = """Traceback (most recent call last):
  File "fraud_model.py", line 88, in predict
    velocity = amount_30d / card_age_days
ZeroDivisionError: division by zero"""


def curve(rollout_id: str) -> tuple[EvidencePoint, ...]:
    """Evidence over the rollout's time."""
    points: list[EvidencePoint] = []
    if rollout_id == "churn-17":
        for step in range(60):
            at = churn().started_us + step * 25 * SECOND
            value = 0.4 + 0.6 * math.exp(-step / 20) + 0.05 * math.sin(step)
            points.append(EvidencePoint(time_us=at, metric="error_rate", evidence=value))
            points.append(EvidencePoint(time_us=at, metric="latency", evidence=0.98**step))
    elif rollout_id == "fraud-9":
        for tenth, value in enumerate((1.0, 0.9, 1.6, 5.8, 31.0, 122.0, 913.0)):
            at = STARTED + tenth * 833_000
            points.append(EvidencePoint(time_us=at, metric="error_rate", evidence=value))
            points.append(EvidencePoint(time_us=at, metric="latency", evidence=0.95))
    return tuple(points)


def failures() -> tuple[FailureView, ...]:
    """Three requests that 7 failed, with what 6 answered."""
    rows = (
        ("b1f5", 1_884_000, 18.4, "PT", "app", 3.0, "pay", 0.031, 9.0),
        ("a973", 2_717_000, 240.0, "DE", "web", 4.0, "pay", 0.118, 11.0),
        ("3ffd", 4_260_000, 6.99, "FR", "app", 3.0, "pay", 0.007, 9.0),
    )
    return tuple(
        FailureView(
            prediction_id=f"01a20b82-5c10-7001-8f4e-6c1d09e2{tail}",
            time_us=STARTED + offset,
            inputs=f'{{"amount": [{amount}], "country": ["{country}"], "channel": ["{channel}"], '
            '"card_age_days": [0]}',
            status="error",
            error_code="RP-200",
            latency_ms=latency,
            candidate_answer="ZeroDivisionError: division by zero",
            stable_version="6",
            stable_answer=f'{{"decision": ["{word}"], "score": [{score}]}}',
            stable_latency_ms=stable,
        )
        for tail, offset, amount, country, channel, latency, word, score, stable in rows
    )
