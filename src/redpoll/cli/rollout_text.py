"""A rollout in plain text: what is and why, the gates, the steps, the arms, the timeline."""

from __future__ import annotations

from typing import Any

from redpoll.cli.output import clock, milliseconds, quantity, seconds, share, table

STATE_WORDS = {"rolled_back": "rolled back"}


def line(rollout: dict[str, Any]) -> str:
    """One line: id, versions, state, sentence."""
    state = STATE_WORDS.get(rollout["state"], rollout["state"])
    at = f" at {share(rollout['weight'])}" if rollout["state"] in ("running", "paused") else ""
    return f"{rollout['id']}: {state}{at}. {rollout['sentence']}"


def whole(rollout: dict[str, Any]) -> str:
    """Everything that fits a screen."""
    state = STATE_WORDS.get(rollout["state"], rollout["state"])
    steps = rollout["steps"]
    at = f", step {rollout['step'] + 1} of {len(steps)} ({share(rollout['weight'])})"
    parts = [
        f"{rollout['id']}: {rollout['version']} beside {rollout['stable']}, {rollout['strategy']}, "
        f"{state}{at if rollout['state'] in ('running', 'paused') else ''}",
        rollout["sentence"],
        rollout["next_sentence"],
        "",
        _gates(rollout["gates"]),
        "",
        _steps(steps),
        "",
        _arms(rollout["arms"]),
    ]
    if rollout["shared_causes"]:
        parts += ["", *rollout["shared_causes"]]
    parts += [
        "",
        f"evidence as of {clock(rollout['as_of_us'])} ({seconds(rollout['age_s'])} old) · "
        f"route generation {rollout['generation']}",
    ]
    return "\n".join(part for i, part in enumerate(parts) if part or parts[i - 1])


def timeline(decisions: list[dict[str, Any]]) -> str:
    """Decisions, oldest first, a line each: when, who, what, why."""
    return "\n".join(decision_line(d) for d in reversed(decisions))


def decision_line(decision: dict[str, Any]) -> str:
    """``03:04:09Z rollback by redpoll: …``."""
    reason = decision.get("reason")
    sentence = decision["sentence"]
    why = f" ({reason})" if reason and reason not in sentence else ""
    return (
        f"{clock(decision['time_us'])} {decision['subject_id']} {decision['action']} "
        f"by {decision['actor']}: {sentence}{why}"
    )


def evidence_line(rollout: dict[str, Any]) -> str:
    """``error_rate .4 of 40, latency .02 of 40``: how far each gate is from failing."""
    return ", ".join(
        f"{gate['metric']} {quantity(gate['evidence'])} of {quantity(gate['limit'])}"
        for gate in rollout["gates"]
    )


def _gates(gates: list[dict[str, Any]]) -> str:
    rows = [
        (
            gate["metric"] + ("" if gate["slice"] == "all" else f" [{gate['slice']}]"),
            gate["answer"],
            quantity(gate["evidence"]),
            quantity(gate["limit"]),
            gate["sentence"],
        )
        for gate in gates
    ]
    return table(("GATE", "ANSWER", "EVIDENCE", "LIMIT", ""), rows, right=(2, 3)) if rows else ""


def _steps(steps: list[dict[str, Any]]) -> str:
    rows = [
        (
            number,
            share(step["weight"]),
            "manual" if step["pause_s"] is None else seconds(step["pause_s"]),
            step["state"],
            f"{step['requests']:,}",
        )
        for number, step in enumerate(steps, 1)
    ]
    return table(("STEP", "WEIGHT", "PAUSE", "STATE", "REQUESTS"), rows, right=(0, 1, 2, 4))


def _arms(arms: list[dict[str, Any]]) -> str:
    rows = [
        (
            arm["version"],
            f"{arm['requests']:,}",
            f"{arm['bad']:,}",
            share(arm["bad"] / arm["requests"] if arm["requests"] else None),
            milliseconds(arm["p50_ms"]),
            milliseconds(arm["p95_ms"]),
        )
        for arm in arms
    ]
    header = ("VERSION", "REQUESTS", "BAD", "RATE", "P50", "P95")
    return table(header, rows, right=(1, 2, 3, 4, 5)) if rows else ""
