"""One request in words: its way in time, its input as a table, its answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from redpoll.views import AnswerView, RequestPage, RequestView
from redpoll.web import failing, words

ROWS_SHOWN = 5
VALUE_MAX = 200
OUTPUT_MAX = 4000
QUEUE_MS = 1.0  # waited longer than that for a place: said
WENT = {
    "ok": "answered",
    "error": "failed",
    "timeout": "gave no answer in time",
    "refused": "was refused",
    "invalid": "answered what cannot be read",
    "abandoned": "was left by the client",
    "lost": "was lost with its gateway",
}
ROLES = {"live": "", "shadow": " beside it", "noise": " once more", "human": " as a person"}


class Stop(NamedTuple):
    """A moment on the request's way."""

    css: str
    time_us: int
    text: str
    small: str = ""
    rollout: str = ""


def moment(time_us: int) -> str:
    """``01.284 210``: seconds, milliseconds and microseconds within the minute."""
    second = time_us // 1_000_000 % 60
    return f"{second:02d}.{time_us // 1000 % 1000:03d}{words.NB}{time_us % 1000:03d}"


def day(time_us: int) -> str:
    """``24 Nov 2026, 03:04``."""
    found = datetime.fromtimestamp(time_us / 1e6, UTC)
    return f"{found.day} {found:%b %Y, %H:%M}"


def way(view: RequestView) -> list[Stop]:
    """Arrival, draw, and every answer, in order of time."""
    rows = "1 row" if view.rows == 1 else f"{words.count(view.rows)} rows"
    found = [Stop("note", view.time_us, "Arrived", f"{rows}, {view.stream}"), _drawn(view)]
    return found + [_answered(answer) for answer in view.answers]


def _drawn(view: RequestView) -> Stop:
    if view.version_requested:
        text, small = f"{view.version_requested} was asked for by name", "never evidence"
    elif view.arm == "none":
        text = "No draw: no rollout took part"
        small = f"route generation {view.route_generation}"
    else:
        chance = view.arm_probability if view.arm == "candidate" else 1 - view.arm_probability
        text = f"Drawn: {view.arm}, probability {chance:.3g}"
        small = f"by {view.unit_kind}, route generation {view.route_generation}"
    return Stop("note", view.time_us, text, small, view.rollout_id or "")


def _answered(answer: AnswerView) -> Stop:
    css = "pass" if answer.status == "ok" else "off" if answer.status == "abandoned" else "fail"
    who = answer.version or "redpoll"
    text = f"{who} {WENT.get(answer.status, answer.status)}{ROLES.get(answer.role, '')} after "
    text += words.milliseconds(answer.latency_ms)
    small = []
    if answer.error_code:
        small.append(f"{answer.error_code}: {failing.answer(answer.outputs)}")
    elif answer.outputs:
        small.append(failing.answer(answer.outputs))
    if answer.queue_ms > QUEUE_MS:
        small.append(f"waited {words.milliseconds(answer.queue_ms)} for a place")
    if answer.decided_by != "model":
        small.append(f"decided by {answer.decided_by}")
    return Stop(css, answer.time_us, text, failing.short(", ".join(small), 300) if small else "")


def chip(answer: AnswerView) -> str:
    """``7 failed``, ``6 answered beside it``."""
    went = WENT.get(answer.status, answer.status)
    return f"{answer.version or 'redpoll'} {went}{ROLES.get(answer.role, '')}"


def columns(view: RequestView) -> list[tuple[str, list[str]]]:
    """Each column with the values of its first rows, and those that were never stored."""
    found: list[tuple[str, list[str]]] = []
    try:
        said = msgspec.json.decode(view.inputs) if view.inputs else {}
    except msgspec.DecodeError:
        said = {"inputs": [view.inputs]}
    if isinstance(said, dict):
        for name, values in said.items():
            if name in view.redacted:
                continue
            listed = values if isinstance(values, list) else [values]
            found.append((str(name), [_value(one) for one in listed[:ROWS_SHOWN]]))
    return found


def _value(value: Any) -> str:
    return "null" if value is None else failing.short(value, VALUE_MAX)


def captured(view: RequestView) -> str:
    """How much of the body was kept."""
    if view.capture == "full":
        text = "captured in full"
    elif view.capture == "cut":
        text = "too large: cut"
    else:
        text = "not captured"
    if view.capture_probability < 1:
        text += f", with probability {view.capture_probability:.3g}"
    if view.redacted:
        text += (
            f"; {words.names(view.redacted)} {'is' if len(view.redacted) == 1 else 'are'} redacted"
        )
    return text


def pretty(outputs: str | None) -> str:
    """Outputs as they stand; an error's text as its lines."""
    if not outputs:
        return ""
    try:
        said = msgspec.json.decode(outputs)
    except msgspec.DecodeError:
        return outputs[:OUTPUT_MAX]
    if isinstance(said, dict) and list(said) == ["error"] and isinstance(said["error"], str):
        text = said["error"]
    else:
        text = msgspec.json.format(outputs, indent=1 if len(outputs) > 80 else 0)
    return text if len(text) <= OUTPUT_MAX else f"{text[:OUTPUT_MAX]}…"


def listed(found: RequestPage, query: Mapping[str, str]) -> str:
    """What the list holds, in a sentence that says how far was looked."""
    number = len(found.lines)
    behind = " behind those before" if query.get("after") else ""
    if found.cut:
        back = f"back to {day(found.reached_us)} UTC" if found.reached_us else ""
        head = f"{words.count(number)} found so far" if number else "None found so far"
        return (
            f"{head}: looked at {words.count(found.looked)} facts, {back}. There may be older ones."
        )
    if not number:
        return f"No request fits{behind}."
    if number == 1:
        return f"One request fits{behind}."
    more = ", there are older ones" if found.more else ""
    return f"{words.count(number)} requests{behind}, newest first{more}."
