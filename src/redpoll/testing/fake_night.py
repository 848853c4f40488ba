"""The records of the night that :mod:`redpoll.testing.fake_control` tells."""

from __future__ import annotations

from typing import Any

import msgspec

from redpoll.views import (
    ArmView,
    DecisionView,
    GateView,
    ModelView,
    RolloutView,
    StepView,
)

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_795_489_781_000_000  # 2026-11-24T03:09:41Z
NIGHT = NOW - (9 * 60 + 41) * SECOND  # 03:00:00Z
SWITCHED = NIGHT + 4 * MINUTE + 9_400_000
STARTED = NIGHT + 3 * MINUTE + 59_400_000
BOUND = (
    "If {1} were no worse than {0}, at most 1 rollout in 20 would be rolled back, however "
    "often redpoll looks."
)


def _churn_gates() -> tuple[GateView, ...]:
    """Churn's gates."""
    return (
        GateView(
            metric="error_rate",
            kind="guardrail",
            answer="undecided",
            evidence=0.4,
            limit=40.0,
            sentence="No harm seen: v2 fails 0.6%, v1 0.6%. Without a margin "
            "it cannot pass, only not fail.",
        ),
        GateView(
            metric="latency",
            kind="guardrail",
            answer="pass",
            evidence=0.02,
            limit=40.0,
            sentence="Not 20% slower: p95 39 ms, v1 38 ms.",
            pass_evidence=310.0,
            pass_limit=80.0,
        ),
    )


def _churn_steps() -> tuple[StepView, ...]:
    """Churn's steps."""
    return (
        StepView(
            weight=0.01,
            pause_s=600.0,
            state="done",
            requests=253,
            since_us=NIGHT - 16 * MINUTE + 6 * SECOND,
        ),
        StepView(
            weight=0.1,
            pause_s=1800.0,
            state="now",
            requests=3871,
            since_us=NIGHT - 6 * MINUTE + 8 * SECOND,
        ),
        StepView(weight=0.5, pause_s=1500.0, state="next"),
    )


def _churn_arms() -> tuple[ArmView, ...]:
    """Churn's arms."""
    return (
        ArmView(
            version="v1",
            requests=35_315,
            bad=215,
            p50_ms=17.0,
            p95_ms=38.0,
            by_status={"ok": 35_100, "error": 180, "timeout": 35},
            requests_per_second=37.8,
        ),
        ArmView(
            version="v2",
            requests=3_871,
            bad=24,
            p50_ms=17.0,
            p95_ms=39.0,
            by_status={"ok": 3_847, "error": 20, "timeout": 4},
            requests_per_second=4.2,
        ),
    )


def churn() -> RolloutView:
    """Churn v2 at 10 %, no harm seen."""
    return RolloutView(
        id="churn-17",
        model="churn",
        version="v2",
        stable="v1",
        strategy="canary",
        state="running",
        step=1,
        weight=0.1,
        sentence="v2 of churn has 10% of traffic and no harm is seen; about 40 min to go.",
        next_sentence="Next: 50% at 03:24 UTC, unless a gate fails.",
        gates=_churn_gates(),
        steps=_churn_steps(),
        arms=_churn_arms(),
        started_us=NIGHT - 16 * MINUTE + 6 * SECOND,
        since_us=NIGHT - 6 * MINUTE + 8 * SECOND,
        as_of_us=NOW - 4 * SECOND,
        age_s=4.0,
        generation=210,
        plan={"alpha": 0.05},
        spec_digest="a07be1137fd2",
        false_alarm=BOUND.format("v1", "v2"),
        actions=("pause", "promote", "abort"),
        shared_causes=("3,871 of 39,186 went to v2: fits 10%.", "No restart in either arm."),
        observed_share=0.0988,
        observed_requests=39_186,
        gateways={"gateway-4f0c9a2b7d11": 210},
    )


def _fraud_gates() -> tuple[GateView, ...]:
    """Fraud's gates."""
    return (
        GateView(
            metric="error_rate",
            kind="guardrail",
            answer="fail",
            evidence=913.0,
            limit=40.0,
            sentence="7 failed 5.9% of 136 requests, 6 failed 0.6% of 1,342.",
        ),
        GateView(
            metric="latency",
            kind="guardrail",
            answer="undecided",
            evidence=0.9,
            limit=40.0,
            pass_evidence=2.1,
            pass_limit=80.0,
            sentence="Undecided, 1,400 more requests to exclude 20% slower.",
        ),
    )


def _fraud_steps() -> tuple[StepView, ...]:
    """Fraud's steps."""
    return (
        StepView(weight=0.1, pause_s=600.0, state="done", since_us=STARTED, requests=136),
        StepView(weight=0.5, pause_s=600.0, state="next"),
    )


def _fraud_arms() -> tuple[ArmView, ...]:
    """Fraud's arms."""
    return (
        ArmView(
            version="6",
            requests=1_342,
            bad=8,
            by_status={"ok": 1_334, "timeout": 8},
            p50_ms=6.0,
            p95_ms=12.0,
            requests_per_second=310.0,
        ),
        ArmView(
            version="7",
            requests=136,
            bad=8,
            by_status={"ok": 128, "error": 8},
            p50_ms=5.0,
            p95_ms=11.0,
        ),
    )


def fraud() -> RolloutView:
    """Fraud 7, rolled back five minutes ago."""
    return RolloutView(
        id="fraud-9",
        model="fraud",
        version="7",
        stable="6",
        strategy="canary",
        state="rolled_back",
        step=0,
        weight=0.0,
        sentence="fraud 7 was rolled back at 03:04:09 UTC: 5.9% of its requests failed, 0.6% "
        "of 6’s.",
        next_sentence="Everything goes to 6 again. Nothing must be done tonight: 7 stays out "
        "until someone retries it.",
        gates=_fraud_gates(),
        steps=_fraud_steps(),
        arms=_fraud_arms(),
        started_us=STARTED,
        since_us=SWITCHED,
        as_of_us=STARTED + 5 * SECOND,
        age_s=337.0,
        generation=212,
        plan={"alpha": 0.05},
        spec_digest="3f9c41d0aa17",
        false_alarm=BOUND.format("6", "7"),
        actions=("retry",),
        shared_causes=(
            "Both arms: 6 rose too, from 0.1% to 0.6%: time-outs while 7 loaded.",
            "Host: serve-a1, the same for both.",
            "Restarts: none in either arm.",
            "Arms’ counts: 136 of 1,478 went to 7: fits 10%.",
        ),
        observed_share=0.0,
        observed_requests=102_765,
        gateways={"gateway-4f0c9a2b7d11": 212, "gateway-90aa17c3be52": 212},
    )


def _versions(fingerprint: str, backends: dict[str, str]) -> tuple[dict[str, Any], ...]:
    same = {"state": "ready", "workers": 1, "restarts": 0, "fingerprint": fingerprint}
    return tuple({"name": name, "backend": backend, **same} for name, backend in backends.items())


def models() -> tuple[ModelView, ...]:
    """The three models."""
    one, two = churn(), fraud()
    return (
        ModelView(
            name="churn",
            live="v1",
            candidate="v2",
            weight=0.1,
            generation=210,
            unit="user",
            requests_per_second=42.0,
            error_rate=0.006,
            p95_ms=38.0,
            unit_share=0.99,
            sentence=one.sentence,
            rollout=one,
            arms=one.arms,
            versions=_versions("4be7a91", {"v1": "sklearn:v1.pkl", "v2": "sklearn:v2.pkl"}),
        ),
        ModelView(
            name="fraud",
            live="6",
            candidate=None,
            weight=0.0,
            generation=212,
            unit="user",
            requests_per_second=310.0,
            error_rate=0.001,
            p95_ms=12.0,
            unit_share=0.98,
            sentence=two.sentence,
            rollout=two,
            arms=two.arms,
            needs=two.sentence,
            versions=_versions("90aa17c", {n: f"python:fraud:load_{n}" for n in ("6", "7")}),
        ),
        ModelView(
            name="defects",
            live="2.3",
            candidate=None,
            weight=0.0,
            generation=31,
            unit="request",
            requests_per_second=6.0,
            error_rate=0.0,
            p95_ms=212.0,
            sentence="2.3 answers all requests.",
            versions=_versions("77ab10e", {"2.3": "http://127.0.0.1:9000/v2"}),
        ),
    )


def decision(
    time_us: int,
    model: str,
    rollout_id: str,
    action: str,
    sentence: str,
    *,
    actor: str = "redpoll",
    reason: str | None = None,
    before: str | None = None,
    after: str | None = "running",
    number: int = 0,
    evidence: dict[str, Any] | None = None,
) -> DecisionView:
    """One line of a timeline, with an id in its time's order."""
    head = f"{time_us // 1000:012x}"
    return DecisionView(
        decision_id=f"{head[:8]}-{head[8:]}-7000-8000-{number:012x}",
        time_us=time_us,
        model=model,
        subject_kind="rollout",
        subject_id=rollout_id,
        action=action,
        from_state=before,
        to_state=after,
        actor=actor,
        reason=reason,
        sentence=sentence,
        evidence=evidence or {},
        cursors={"gateway-4f0c9a2b7d11": 88_213, "gateway-90aa17c3be52": 87_990},
        spec_digest="a07be1137fd2" if model == "churn" else "3f9c41d0aa17",
    )


def decisions() -> tuple[DecisionView, ...]:
    """What was decided, oldest first."""
    return (*_churn_decisions(), *_fraud_decisions())


def _churn_decisions() -> tuple[DecisionView, ...]:
    return (
        decision(
            NIGHT - 16 * MINUTE + 6 * SECOND,
            "churn",
            "churn-17",
            "start",
            "churn v2 started at 1%.",
            actor="team-ml",
            number=1,
            reason="retrained on October, offline recall +1.1 points",
            evidence={"step": 0, "weight": 0.01},
        ),
        decision(
            NIGHT - 6 * MINUTE + 8 * SECOND,
            "churn",
            "churn-17",
            "advance",
            "churn v2 went from 1% to 10%: no gate failed in 253 requests and 10 min.",
            before="running",
            number=2,
            evidence={"step": 1, "weight": 0.1},
        ),
    )


def _fraud_decisions() -> tuple[DecisionView, ...]:
    gate = msgspec.to_builtins(fraud().gates[0])
    closed = {"gates": [gate], "last_closed_us": STARTED + 5 * SECOND}
    return (
        decision(
            STARTED,
            "fraud",
            "fraud-9",
            "start",
            "fraud 7 started at 10%.",
            actor="team-fraud",
            reason="offline recall +0.8 points, undecided",
            number=3,
            evidence={"step": 0, "weight": 0.1},
        ),
        decision(
            SWITCHED,
            "fraud",
            "fraud-9",
            "rollback",
            "fraud 7 was rolled back: 5.9% of its requests failed, 0.6% of 6’s.",
            before="running",
            after="rolled_back",
            number=4,
            evidence={"step": 0, "weight": 0.0, **closed},
        ),
    )
