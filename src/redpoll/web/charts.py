"""Server-rendered SVG: x in percent, y in pixels; curves in an inner viewBox that stretches.

So text keeps its size at any width, and no ``style`` attribute is needed. Evidence moves by the
same distance with each doubling, while every number that is written is the plain one. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from redpoll.views import EvidencePoint, GateView
from redpoll.web import words

HEIGHT, FLOOR, TOP = 150, 132, 14
BOTTOM = FLOOR - 20  # of the curve: below it stand the names of the steps
CURVE_POINTS = 160  # more would not be seen

Scale = Callable[[float], float]


def _svg(text: str) -> Markup:
    """Mark as safe: every text in it went through ``escape``."""
    return Markup(text)  # noqa: S704


def _x(fraction: float) -> str:
    return f"{min(max(fraction, 0.0), 1.0) * 100:.1f}".removesuffix(".0") + "%"


def split(version: str, observed: float | None, wanted: float) -> Markup:
    """How traffic is shared: fill is what was observed, the tick what is wanted (fractions)."""
    seen = wanted if observed is None else observed
    label = f"{version} has {words.share(observed)} of traffic, {words.share(wanted)} wanted"
    if observed is None:
        label = f"{version} should have {words.share(wanted)} of traffic"
    fill = f'<rect class="ca" y="3" width="{_x(seen)}" height="6" rx="2"/>' if seen else ""
    tick = _x(max(wanted, 0.001))
    return _svg(
        f'<svg class="split" height="12" role="img" aria-label="{escape(label)}">'
        f'<rect class="so" y="3" width="100%" height="6" rx="2"/>{fill}'
        f'<line class="tick" x1="{tick}" x2="{tick}" y1="0" y2="12"/></svg>'
    )


def whole(version: str) -> Markup:
    """One version has everything."""
    label = f"{version} has all traffic"
    return _svg(
        f'<svg class="split" height="12" role="img" aria-label="{escape(label)}">'
        '<rect class="so" y="3" width="100%" height="6" rx="2"/></svg>'
    )


def _reach(value: float, limit: float) -> float:
    """How far a bar goes from the middle, in percent: the limit is at 40, the end at 48.8."""
    if not value > 1 or limit <= 1:
        return 0.0
    return min(math.log(value) / math.log(limit) * 40, 48.8)


def meter(gate: GateView) -> Markup:
    """One gate's evidence: middle nothing known, right tick fails, left tick passes."""
    words_now = f"evidence {words.evidence(gate.evidence)}, limit {words.evidence(gate.limit)}"
    passes = gate.pass_limit is not None
    right, left = _reach(gate.evidence, gate.limit), 0.0
    if passes and gate.pass_limit is not None:
        left = _reach(gate.pass_evidence or 0.0, gate.pass_limit)
    ground = (
        '<rect class="tr" x="0%" y="4" width="100%" height="6" rx="3"/>'
        if passes
        else '<rect class="tr" x="50%" y="4" width="50%" height="6" rx="3"/>'
        '<line class="few" x1="0" x2="50%" y1="7" y2="7"/>'
    )
    bars = ""
    if left:
        kind = "fl pass" if gate.answer == "pass" else "st"
        bars += f'<rect class="{kind}" x="{50 - left:.1f}%" y="4" width="{left:.1f}%" height="6"/>'
    if right:
        kind = "fl fail" if gate.answer == "fail" else "st"
        bars += f'<rect class="{kind}" x="50%" y="4" width="{right:.1f}%" height="6"/>'
    tick = '<line class="tick" x1="10%" x2="10%" y1="1" y2="13"/>' if passes else ""
    return _svg(
        f'<svg class="meter" height="14" role="img" aria-label="{escape(words_now)}: '
        f'{escape(gate.answer)}">{ground}{bars}{tick}'
        '<line class="tick" x1="90%" x2="90%" y1="1" y2="13"/>'
        '<circle class="dot" cx="50%" cy="7" r="2"/></svg>'
    )


def spark(values: Sequence[float], label: str) -> Markup:
    """A line beside the number that it explains; nothing where fewer than two values are known."""
    if len(values) < 2:
        return _svg("")
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    path = " ".join(
        f"{i} {20 - 18 * (value - low) / span:.0f}" if high > low else f"{i} 11"
        for i, value in enumerate(values)
    )
    return _svg(
        f'<svg class="spark" role="img" aria-label="{escape(label)}" height="22" '
        f'viewBox="0 0 {len(values) - 1} 22" preserveAspectRatio="none">'
        f'<path class="l" d="M{path}"/></svg>'
    )


class Band(NamedTuple):
    """A step of the plan on the time axis."""

    start_us: int
    end_us: int
    label: str


class Path(NamedTuple):
    """All that the chart of one gate's evidence shows."""

    points: Sequence[EvidencePoint]
    limit: float
    consequence: str  # "rolls back"
    failed: bool
    start_us: int
    end_us: int
    now_us: int
    bands: Sequence[Band] = ()
    ended: str = ""  # "decided": what happened at the last point


def _thin(points: Sequence[EvidencePoint]) -> list[EvidencePoint]:
    """At most ``CURVE_POINTS``: of each stretch the highest, and always the last."""
    if len(points) <= CURVE_POINTS:
        return list(points)
    size = math.ceil(len(points) / (CURVE_POINTS - 1))
    kept = [
        max(points[i : i + size], key=lambda point: point.evidence)
        for i in range(0, len(points) - 1, size)
    ]
    return [*kept, points[-1]]


def evidence_path(path: Path) -> Markup:
    """Evidence over time against its limit; bands are steps, the dotted line is now."""
    points = _thin([p for p in path.points if path.start_us <= p.time_us <= path.end_us])
    values = [max(p.evidence, 1e-9) for p in points] or [1.0]
    most = max(path.limit, 2.0) ** 2  # beyond that a line would flatten all the rest
    top = math.log2(max(path.limit * 1.6, min(max(values) * 1.2, most)))
    low = math.log2(max(min(*values, 0.5), 0.02))
    span = max(path.end_us - path.start_us, 1)

    def y(value: float) -> float:
        height = (min(math.log2(max(value, 0.02)), top) - low) / (top - low)
        return round(BOTTOM - height * (BOTTOM - TOP), 1)

    def x(time_us: float) -> float:
        return (time_us - path.start_us) / span

    parts = [_bands(path, x), f'<line class="ax" x2="100%" y1="{FLOOR}" y2="{FLOOR}"/>']
    for value, text in ((1.0, "1: nothing known"), (_between(path.limit), "")):
        if value and abs(y(value) - y(path.limit)) > 14:
            parts.append(
                f'<line class="ax" x2="100%" y1="{y(value)}" y2="{y(value)}"/>'
                f'<text class="e" x="100%" y="{y(value) - 4}">{text or words.number(value)}</text>'
            )
    parts.append(
        f'<line class="lim" x2="100%" y1="{y(path.limit)}" y2="{y(path.limit)}"/>'
        f'<text class="limt" x="0" y="{y(path.limit) - 6}">limit {words.evidence(path.limit)}: '
        f"{escape(path.consequence)}</text>"
    )
    if points:
        parts.append(_curve(path, points, x, y))
    parts.append(_times(path))
    label = (
        f"Evidence is {words.evidence(values[-1])}, was between {words.evidence(min(values))} and "
        f"{words.evidence(max(values))}, limit {words.evidence(path.limit)}"
        if points
        else f"No evidence yet, limit {words.evidence(path.limit)}"
    )
    return _svg(
        f'<svg class="chart" height="{HEIGHT}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def _between(limit: float) -> float:
    """A round number between 1 and the limit for a second line; 0 where there is no room."""
    return next((float(n) for n in (100, 10, 5, 2) if n < limit / 3), 0.0)


def _bands(path: Path, x: Scale) -> str:
    parts = []
    last_label = -1.0
    for i, band in enumerate(path.bands):
        left, right = x(max(band.start_us, path.start_us)), x(min(band.end_us, path.end_us))
        if i % 2:
            parts.append(
                f'<rect class="tr" x="{_x(left)}" width="{_x(right - left)}" '
                f'height="{FLOOR}" opacity=".55"/>'
            )
        if left - last_label > 0.12 and left < 0.9:  # names must not lie on each other
            parts.append(
                f'<text x="{_x(left + 0.006)}" y="{FLOOR - 6}">{escape(band.label)}</text>'
            )
            last_label = left
    return "".join(parts)


def _curve(path: Path, points: Sequence[EvidencePoint], x: Scale, y: Scale) -> str:
    line = " ".join(f"{x(p.time_us) * 100:.1f} {y(p.evidence)}" for p in points)
    last = points[-1]
    at, height, one = x(last.time_us), y(last.evidence), y(1.0)
    kind, dot = ("fl fail", "pt fail") if path.failed else ("ca", "ca")
    baseline = max(height + 4, TOP + 4)
    if at > 0.8:  # no room at the right: above the line, or below it
        side, baseline = f'class="now e" x="{_x(at - 0.015)}"', height - 8
        if height < TOP + 8 or -8 < height - one < 16:
            baseline = height + 16
    else:
        side = f'class="now" x="{_x(at + 0.015)}"'
        if 0 <= one - height < 18:  # not on the words "1: nothing known"
            baseline = one + 13
    text = words.evidence(last.evidence) + ("" if path.ended else " now")
    return (
        f'<line class="dep" x1="{_x(at)}" x2="{_x(at)}" y1="0" y2="{FLOOR}"/>'
        f'<svg viewBox="0 0 100 {FLOOR}" height="{FLOOR}" preserveAspectRatio="none">'
        f'<path class="l {kind}" d="M{line}"/></svg>'
        f'<circle class="{dot}" cx="{_x(at)}" cy="{height}" r="4"/>'
        f'<text {side} y="{baseline:.1f}">{text}</text>'
    )


def _times(path: Path) -> str:
    short = path.end_us - path.start_us < 120 * words.SECOND_US
    first = words.clock(path.start_us, path.now_us, tenths=short)
    last = words.clock(path.end_us, path.now_us, tenths=short)
    ended = f"{path.ended} " if path.ended else ""
    return (
        f'<text x="0%" y="{HEIGHT - 3}">{first}</text>'
        f'<text class="e" x="100%" y="{HEIGHT - 3}">{escape(ended)}{last} UTC</text>'
    )
