"""What happened to one request, in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from redpoll.facts import Request
from redpoll.views import AnswerView

WENT = {
    "error": "failed",
    "timeout": "did not answer in time",
    "refused": "was refused a place",
    "invalid": "answered what cannot be read",
    "abandoned": "was left: the client went away",
    "lost": "never answered: the gateway died",
}


def sentence(fact: Request, answers: Sequence[AnswerView]) -> str:
    """Who was drawn, how it ended, and after how long."""
    live = next((one for one in answers if one.role == "live"), None)
    if live is None:
        return "It has no answer yet."
    if fact.arm == "none" and live.status == "refused" and not live.version:
        return f"redpoll refused it before any version was asked{_code(live)}."
    if fact.version_requested:
        who = f"{live.version} was asked for by name and"
    elif fact.arm in ("candidate", "baseline"):
        who = f"{live.version} was drawn as the {fact.arm} and"
    else:
        who = live.version
    if live.status == "ok":
        what = f"answered after {_ms(live.latency_ms)}"
        if live.decided_by != "model":
            what += f", decided by {live.decided_by}"
    else:
        what = f"{WENT.get(live.status, live.status)} after {_ms(live.latency_ms)}{_code(live)}"
    beside = [one for one in answers if one.role == "shadow" and one.status == "ok"]
    if beside and live.status != "ok":
        return f"{who} {what}; {beside[0].version} answers the same request."
    return f"{who} {what}."


def _code(answer: AnswerView) -> str:
    return f" ({answer.error_code})" if answer.error_code else ""


def _ms(value: float) -> str:
    if value >= 999.5:
        return f"{value / 1000:.1f}\u00a0s"
    return f"{value:.0f}\u00a0ms" if value >= 9.95 else f"{value:.1f}\u00a0ms"
