"""How the console says numbers, times, states and consequences. Pure: the time now is an argument.

Numbers and their units are joined by a no-break space; rates are fractions, times µs since the
epoch, durations seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from redpoll.views import DecisionView, RolloutView

NB = "\u00a0"
SECOND_US = 1_000_000
DAY_S = 86_400


def count(number: float) -> str:
    """``102,765``."""
    return f"{round(number):,}"


def share(fraction: float | None) -> str:
    """A weight or a part: ``10%``, ``9.9%``, ``0.5%``, ``0%``; ``under 0.1%``; unknown: ``–``."""
    if fraction is None:
        return "–"
    percent = fraction * 100
    if 0 < percent < 0.1:
        return "under 0.1%"
    if 99.9 < percent < 100:
        return "over 99.9%"
    return f"{percent:.1f}".removesuffix(".0") + "%"


def rate(fraction: float | None) -> str:
    """A rate of something bad, always with one decimal: ``5.9%``, ``0.0%``."""
    if fraction is None:
        return "–"
    return f"{fraction * 100:.1f}%" if not 0 < fraction < 0.0005 else "under 0.1%"


def rate2(fraction: float | None) -> str:
    """A rate beside another one, with two decimals: ``0.61%``."""
    return "–" if fraction is None else f"{fraction * 100:.2f}%"


def number(value: float) -> str:
    """Two or three figures that matter: ``310``, ``4.2``, ``0.3``."""
    if value == 0 or abs(value) >= 9.95:
        return count(value)
    return f"{value:.1f}".removesuffix(".0") if abs(value) >= 0.095 else "under 0.1"


def per_second(value: float | None) -> str:
    """``42 requests/s``."""
    return "–" if value is None else f"{number(value)}{NB}requests/s"


def milliseconds(value: float | None) -> str:
    """``38 ms``, ``0.8 ms``, ``1.3 s``."""
    if value is not None and value >= 999.5:
        return f"{value / 1000:.1f}{NB}s"
    return "–" if value is None else f"{number(value)}{NB}ms"


def evidence(value: float) -> str:
    """An e-value as people read it: ``913``, ``3.1``, ``under 0.1``."""
    if math.isnan(value):
        return "unknown"
    if value >= 1e6:
        return "over 1,000,000"
    return count(value) if value >= 9.95 else f"{value:.1f}" if value >= 0.095 else "under 0.1"


def duration(seconds: float) -> str:
    """``0.3 s``, ``4 s``, ``5 min 32 s``, ``2 h 5 min``, ``3 d 4 h``."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + f"{NB}s"
    whole = round(seconds)
    for size, name, small, small_name in (
        (DAY_S, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size}{NB}{name}" + (f" {rest}{NB}{small_name}" if rest else "")
    return f"{whole}{NB}s"


def about(seconds: float) -> str:
    """A length of time in one unit: ``40 min``, ``3 h``, ``20 s``."""
    for size, name in ((DAY_S, "d"), (3600, "h"), (60, "min")):
        if seconds >= size * 0.995:
            value = f"{seconds / size:.1f}".removesuffix(".0")
            return f"{value}{NB}{name}"
    return f"{round(seconds)}{NB}s"


def lasting(seconds: float | None) -> str:
    """A duration, ``–`` where it is not known."""
    return "–" if seconds is None else duration(seconds)


def whole(value: int | None) -> str:
    """``212``, ``–`` where it is not known."""
    return "–" if value is None else count(value)


def size(number_of_bytes: float | None) -> str:
    """``212 GiB``, ``3.5 MiB``, ``900 bytes``; unknown: ``–``."""
    if number_of_bytes is None:
        return "–"
    value, unit = float(number_of_bytes), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1023.5 or unit == "TiB":
            break
        value /= 1024
    text = f"{value:,.0f}" if value >= 9.95 or unit == "bytes" else f"{value:.1f}"
    return f"{text.removesuffix('.0')}{NB}{unit}"


def core(ratio: float | None) -> str:
    """A share of one core: ``31%``, ``0%``, ``140%``; unknown: ``–``."""
    return "–" if ratio is None else f"{ratio * 100:.0f}%"


def iso(time_us: int) -> str:
    """For ``<time datetime>``: RFC 3339 with milliseconds."""
    moment = datetime.fromtimestamp(time_us / SECOND_US, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_us // 1000 % 1000:03d}Z"


def clock(time_us: int, now_us: int, *, tenths: bool = False) -> str:
    """``03:04:09``, with ``.4`` where wanted, and the date in front where it is another day's."""
    moment = datetime.fromtimestamp(time_us / SECOND_US, UTC)
    text = moment.strftime("%H:%M:%S") + (f".{time_us // 100_000 % 10}" if tenths else "")
    if moment.date() != datetime.fromtimestamp(now_us / SECOND_US, UTC).date():
        text = f"{moment.day}{NB}{moment:%b} {text}"
    return text


class Mark(NamedTuple):
    """A status on the page: the class that brings colour and glyph, and its word."""

    css: str
    word: str


_STATES = {
    "pending": Mark("wait", "waiting"),
    "running": Mark("run", ""),
    "paused": Mark("wait", "paused"),
    "promoted": Mark("pass", "promoted"),
    "rolled_back": Mark("back", "rolled back"),
    "aborted": Mark("off", "aborted"),
    "superseded": Mark("off", "superseded"),
}
_ANSWERS = {
    "pass": Mark("pass", "pass"),
    "fail": Mark("fail", "fail"),
    "undecided": Mark("undecided", "undecided"),
}
_ACTIONS = {
    "rollback": "back",
    "pause": "wait",
    "abort": "off",
    "supersede": "off",
    "promote": "pass",
    "live": "pass",
    "apply": "off",
    "add_version": "off",
    "fail": "back",
}


def state(rollout: RolloutView) -> Mark:
    """The chip of a rollout."""
    mark = _STATES.get(rollout.state, Mark("off", rollout.state))
    if rollout.state == "running":
        return Mark(mark.css, f"{rollout.strategy} {share(rollout.weight)}")
    if rollout.state == "paused":
        return Mark(mark.css, f"paused at {share(rollout.weight)}")
    return mark


def severity(rollout: RolloutView) -> str:
    """The class of a rollout's sentence: calm, note, warn or back."""
    if rollout.state == "rolled_back":
        return "back"
    if rollout.state == "paused":
        return "warn"
    return "note" if rollout.state == "promoted" else "calm"


def brief(sentence: str, rollout: RolloutView | None) -> str:
    """A model's sentence behind a chip and a version, which it need not say again."""
    if rollout is None:
        return sentence
    for head in (f"{rollout.version} at {share(rollout.weight)}: ", f"{rollout.version}: "):
        if sentence.startswith(head):
            return sentence.removeprefix(head)
    return sentence


def names(found: Sequence[str]) -> str:
    """``a, b and c``."""
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + " and " + found[-1]


def answer(name: str) -> Mark:
    """The chip of a gate's answer."""
    return _ANSWERS.get(name, Mark("undecided", name))


def decided(decision: DecisionView) -> str:
    """The class of a line in the timeline."""
    return _ACTIONS.get(decision.action, "run")


_VERSIONS = {
    "ready": "pass",
    "live": "pass",
    "starting": "wait",
    "backoff": "warn",
    "stopped": "off",
    "unreachable": "warn",
}


def version_state(name: str) -> Mark:
    """The chip of a version's workers."""
    return Mark(_VERSIONS.get(name, "off"), name.replace("_", " "))


class Button(NamedTuple):
    """An action: the value that the form sends, and its name with what it will do."""

    action: str
    label: str

    @property
    def verb(self) -> str:
        """The name alone, for a link to the form."""
        return self.label.split(":", 1)[0]


def buttons(rollout: RolloutView, per_s: float) -> list[Button]:
    """What can be done about a rollout now, each with its consequence in requests/s.

    ``per_s``: requests/s of the whole model over the last minute.
    """
    v, stable = rollout.version, rollout.stable
    everything, now = per_second(per_s), per_second(per_s * rollout.weight)
    left = [s for s in rollout.steps[rollout.step + 1 :] if s.state == "next"]
    after = left[0].weight if left else 1.0
    skipped = {0: "", 1: ", one step skipped"}.get(len(left), f", {len(left)} steps skipped")
    resumed = next((s.weight for s in rollout.steps if s.state == "now"), rollout.weight)
    first = rollout.steps[0].weight if rollout.steps else 0.0
    texts: dict[str, list[tuple[str, str]]] = {
        "pause": [("pause", f"Pause: {v} stays at {share(rollout.weight)}, {now}")],
        "resume": [
            ("resume", f"Resume: {v} goes on at {share(resumed)}, {per_second(per_s * resumed)}")
        ],
        "promote": (
            [("promote", f"Next step: {per_second(per_s * after)} go to {v}, {share(after)}")]
            if left
            else []
        )
        + [("promote_full" if left else "promote", f"Promote: {everything} go to {v}{skipped}")],
        "abort": [("abort", f"Abort: {everything} go back to {stable}")],
        "retry": [
            (
                "retry",
                f"Retry: {share(first)} of traffic, {per_second(per_s * first)}, goes to {v} again",
            )
        ],
        "rollback": [("rollback", f"Undo: {everything} go back to {stable}")],
    }
    return [Button(*text) for action in rollout.actions for text in texts.get(action, ())]
