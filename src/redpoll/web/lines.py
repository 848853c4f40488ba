"""A number over the last hour as a small line; grey is where it usually is. Pure."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup, escape

from redpoll.views import LineView
from redpoll.web import words

HEIGHT, FLOOR, TOP = 72, 56, 8


def said(value: float, unit: str) -> str:
    """A value with its unit: ``744/s``, ``0.3 s``, ``212 GiB``."""
    if unit == "bytes":
        return words.size(value)
    if unit == "s":
        return words.duration(value)
    return f"{words.number(value)}{unit}" if unit else words.count(value)


def line(view: LineView, now_us: int) -> Markup:
    """The chart: x in percent, y in pixels, the curve in an inner viewBox that stretches."""
    ends = [*view.values, *(view.usual or ())]
    high = max(ends) or 1.0  # from zero up: what hardly changes is to look so

    def y(value: float) -> float:
        return round(FLOOR - value / high * (FLOOR - TOP), 1)

    last = len(view.values) - 1
    path = " ".join(f"{at} {y(value)}" for at, value in enumerate(view.values))
    label = (
        f"{view.name}: {said(view.now, view.unit)} now, at most {said(max(view.values), view.unit)}"
    )
    text = (
        f'<svg class="chart" height="{HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'{_band(view, y)}<line class="ax" x2="100%" y1="{FLOOR}" y2="{FLOOR}"/>'
        f'<svg viewBox="0 0 {last} {FLOOR}" height="{FLOOR}" preserveAspectRatio="none">'
        f'<path class="l" d="M{path}"/></svg>'
        f'<circle class="dot" cx="100%" cy="{y(view.values[-1])}" r="2.5"/>'
        f'<text y="{HEIGHT - 2}">{words.clock(view.start_us, now_us)}</text>'
        f'<text class="e" x="100%" y="{HEIGHT - 2}">{words.clock(view.end_us, now_us)}</text></svg>'
    )
    return Markup(text)  # noqa: S704 - numbers of ours, and a label that was escaped


def _band(view: LineView, y: Callable[[float], float]) -> str:
    if view.usual is None:
        return ""
    low, high = view.usual
    top, height = y(high), max(2.0, y(low) - y(high))
    return f'<rect class="tr" width="100%" y="{top}" height="{round(height, 1)}"/>'
