"""Numbers, times and charts: how they read, and that no value breaks them."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.testing import fake_night as night
from redpoll.views import EvidencePoint, FailureView, GateView, StepView
from redpoll.web import charts, failing, words

anything = st.floats(allow_nan=False, allow_infinity=False)
rates = st.floats(0, 1)


@pytest.mark.parametrize(
    ("value", "says"),
    [(0, "0%"), (0.1, "10%"), (0.0988, "9.9%"), (0.005, "0.5%"), (1, "100%"), (0.0004, "under 0.1%"),
     (0.9996, "over 99.9%"), (None, "–"), (0.015, "1.5%")],
)  # fmt: skip
def test_shares_are_tight_and_never_round_to_all_or_nothing(value, says):
    """What has a little traffic does not read 0 %."""
    assert words.share(value) == says


@pytest.mark.parametrize(
    ("value", "says"), [(0.059, "5.9%"), (0, "0.0%"), (0.0061, "0.6%"), (0.0001, "under 0.1%"), (1, "100.0%"), (None, "–")]
)  # fmt: skip
def test_rates_have_one_decimal(value, says):
    """Something bad that is rare does not read 0.0 %."""
    assert words.rate(value) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.3, "0.3 s"), (4, "4 s"), (59, "59 s"), (332, "5 min 32 s"), (60, "1 min"), (7500, "2 h 5 min"),
     (273_600, "3 d 4 h"), (-5, "0 s"), (9.97, "10 s"), (3600, "1 h")],
)  # fmt: skip
def test_durations_have_at_most_two_units(seconds, says):
    """Joined by no-break spaces."""
    assert words.duration(seconds).replace("\u00a0", " ") == says


@pytest.mark.parametrize(
    ("value", "says"),
    [(913, "913"), (0.4, "0.4"), (1, "1.0"), (12345.6, "12,346"), (1e300, "over 1,000,000"),
     (1e-9, "under 0.1"), (math.inf, "over 1,000,000"), (math.nan, "unknown")],
)  # fmt: skip
def test_evidence_is_plain(value, says):
    """Never a logarithm, never scientific."""
    assert words.evidence(value) == says


def test_a_time_of_another_day_carries_its_date():
    """03:04 may be last week's."""
    now = night.NOW
    assert words.clock(now, now) == "03:09:41"
    assert words.clock(now - 86_400_000_000, now).replace("\u00a0", " ") == "23 Nov 03:09:41"
    assert words.iso(now + 250_000) == "2026-11-24T03:09:41.250Z"


@given(anything, rates)
def test_no_number_breaks_its_words(value, fraction):
    """Every formatter answers something short."""
    for say in (words.number, words.per_second, words.milliseconds, words.evidence):
        assert say(abs(value))
    for say in (words.share, words.rate, words.rate2):
        assert say(fraction).endswith("%")
    assert len(words.duration(min(abs(value), 1e12))) < 20


def test_buttons_name_consequences_and_only_what_is_possible():
    """A paused rollout offers resume, not pause; the last step offers one way to promote."""
    view = msgspec.structs.replace(night.churn(), state="paused", actions=("resume", "abort"))
    assert [b.action for b in words.buttons(view, 42.0)] == ["resume", "abort"]
    last = msgspec.structs.replace(
        view, step=1, actions=("promote",),
        steps=(StepView(weight=0.1, pause_s=0, state="done"), StepView(weight=0.5, pause_s=0, state="now")),
    )  # fmt: skip
    (button,) = words.buttons(last, 42.0)
    assert button.action == "promote"
    assert button.label.replace("\u00a0", " ") == "Promote: 42 requests/s go to v2"


def xml(svg: object) -> ElementTree.Element:
    """Charts are well-formed and carry no style attribute."""
    text = str(svg)
    assert "style=" not in text
    return ElementTree.fromstring(text)


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.floats(1e-300, 1e300)), max_size=400),
    st.floats(1.01, 1e6),
    st.integers(1, 10**12),
    st.booleans(),
)
def test_any_curve_is_drawn_within_its_chart(points, limit, length, failed):
    """Every coordinate lies in the picture, however large or small the evidence is."""
    start = 10**15
    found = sorted((start + at % length, value) for at, value in points)
    path = charts.Path(
        points=[EvidencePoint(time_us=t, metric="m", evidence=v) for t, v in found],
        limit=limit, consequence="rolls back", failed=failed, start_us=start,
        end_us=start + length, now_us=start + length,
        bands=[charts.Band(start, start + length // 2, "1%"), charts.Band(start + length // 2, start + length, "<&>")],
    )  # fmt: skip
    root = xml(charts.evidence_path(path))
    assert root.get("aria-label")
    for curve in root.iter("path"):
        numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", curve.get("d", ""))]
        for x, y in zip(numbers[::2], numbers[1::2]):
            assert 0 <= x <= 100
            assert 0 <= y <= charts.FLOOR
        assert len(numbers) <= 2 * charts.CURVE_POINTS
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cy", "0")) <= charts.FLOOR


def test_a_thinned_curve_keeps_its_peaks_and_its_end():
    """The point that crossed the limit is never left out."""
    points = [EvidencePoint(time_us=i, metric="m", evidence=1.0) for i in range(5000)]
    points[2345] = EvidencePoint(time_us=2345, metric="m", evidence=99.0)
    path = charts.Path(points=points, limit=40, consequence="", failed=True, start_us=0, end_us=5000, now_us=5000)  # fmt: skip
    assert "99" in (xml(charts.evidence_path(path)).get("aria-label") or "")


@given(st.floats(0, 1e300), st.floats(1, 1e6), st.none() | st.floats(0, 1e300))
def test_a_meter_never_leaves_its_track(value, limit, passing):
    """Bars end at the edge."""
    gate = GateView(metric="m", kind="guardrail", answer="undecided", evidence=value, limit=limit,
                    sentence="", pass_evidence=passing, pass_limit=None if passing is None else 40.0)  # fmt: skip
    for bar in xml(charts.meter(gate)).iter("rect"):
        left = float((bar.get("x") or "0").rstrip("%"))
        width = float((bar.get("width") or "0").rstrip("%"))
        assert 0 <= left <= left + width <= 100.1


def test_twice_the_evidence_is_the_same_distance():
    """The meter's axis is one of doublings; its words are plain."""
    at = [charts._reach(value, 64.0) for value in (2, 4, 8, 64)]
    assert [round(x, 3) for x in at] == [6.667, 13.333, 20.0, 40.0]
    assert charts._reach(1.0, 64.0) == charts._reach(0.2, 64.0) == 0.0


@given(st.lists(st.floats(0, 1e9), max_size=70))
def test_a_spark_needs_two_values(values):
    """One value is no line."""
    svg = charts.spark(values, "requests <per> second")
    assert (str(svg) == "") == (len(values) < 2)
    if svg:
        xml(svg)


def failure(inputs: str | None) -> FailureView:
    return FailureView(prediction_id="x" * 36, time_us=0, inputs=inputs, status="error",
                       error_code=None, latency_ms=1, candidate_answer=None)  # fmt: skip


@given(st.none() | st.text(max_size=50) | st.builds(
    lambda v: msgspec.json.encode(v).decode(),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                 lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)),
))  # fmt: skip
def test_any_input_and_answer_can_be_shown(raw):
    """Models get and say whatever they like."""
    line = failing.line(failure(raw), {})
    assert all(len(value.value) <= failing.VALUE_MAX for value in line)
    assert failing.answer(raw)


def test_what_all_failures_share_is_found_and_what_says_nothing_is_not():
    """Two are too few; identical rows share everything."""
    rows = [f'{{"a": [{i}], "b": ["?"], "c": [{i % 2}]}}' for i in range(4)]
    found = [failure(row) for row in rows]
    assert failing.shared(found) == {"b": "?"}
    assert failing.shared(found[:2]) == {}
    assert failing.shared([found[0]] * 5) == {}
    assert failing.shared([failure(None)] * 5) == {}
    marked = failing.line(found[0], {"b": "?"})
    assert [(v.name, v.marked) for v in marked] == [("b", True), ("a", False), ("c", False)]


def test_what_an_error_names_comes_first():
    """The value in quotes is what the model stumbled over; a line is two lines at most."""
    wide = {f"column_{i}": ["some value"] for i in range(20)} | {"workclass": ["?"], "job": ["?"]}
    found = msgspec.structs.replace(
        failure(msgspec.json.encode(wide).decode()),
        candidate_answer='{"error": "ValueError: unknown categories [\'?\'] in column 0"}',
    )
    line = failing.line(found, {"column_3": "some value"})
    assert [(v.name, v.value) for v in line if v.marked] == [("workclass", "?"), ("job", "?")]
    assert line[0].name == "workclass"
    assert sum(len(v.name) + len(v.value) for v in line) <= failing.LINE_MAX


def test_the_last_words_of_a_worker_are_its_error():
    """Only the last call's block, and not the lines that only point."""
    text = "loaded\n2026 call a failed\n  | Old: error\n2026 call b failed\n  | Traceback\n  |   f(x)\n  |     ~~^^^\n  | New: error\n2026 worker ended\n"
    assert failing.last_words(text) == "Traceback\n  f(x)\nNew: error"
    assert failing.last_words("a\nb") == "a\nb"
    assert failing.last_words("") == ""


def test_titles_count_in_words():
    """Numbers of failures do not look like versions."""
    assert failing.title(3, 8, "6") == "Three of its eight failures, beside 6’s answers"
    assert failing.title(1, 1, "6") == "Its only failure, beside 6’s answers"
    assert failing.title(3, 40, "6") == "Three of its 40 failures, beside 6’s answers"
