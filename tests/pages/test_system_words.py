"""What *System* says of redpoll itself, and the numbers of its last hour: pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.control.system_history import EVERY_US, KEPT, POINTS, History
from redpoll.control.system_words import Known, sentences
from redpoll.views import CountView, ProcessView
from redpoll.web import lines, words

WELL = Known("", 0.3, 1000, 0, (), (), 0.0, 50 << 30, None)
GATEWAY = ProcessView(name="gateway", kind="gateway", state="does not run", well="fail")
CRASHING = ProcessView(
    name="worker price/v2",
    kind="worker",
    state="crashed and is started again",
    well="warn",
    detail="no module named shop",
)


def test_where_nothing_is_wrong_the_sentence_does_not_change_with_the_numbers():
    """It is read out when its words change; the numbers stand beside it."""
    calm = sentences(WELL)
    later = sentences(WELL._replace(written=2000, age_s=0.4))
    assert calm[:2] == later[:2] == ("calm", "redpoll has lost nothing, and everything runs.")
    assert "0 of 2,000 facts" in later[2][0] and "0.4 s" in later[2][0]


@pytest.mark.parametrize(
    ("known", "severity", "said"),
    [
        (WELL._replace(processes=(GATEWAY,)), "back", "The gateway does not run: no request"),
        (WELL._replace(trouble="disk full"), "back", "Control cannot go on: disk full."),
        (WELL._replace(free_bytes=100 << 20), "back", "Only 0.1 GiB are free"),
        (WELL._replace(processes=(CRASHING,)), "warn", "no module named shop"),
        (WELL._replace(age_s=30.0), "warn", "The newest evidence is 30 s old"),
        (WELL._replace(sealer_behind_s=300.0), "warn", "The sealer is 5 min behind"),
        (WELL._replace(bytes_a_day=50 << 30), "warn", "is full in about 24 h"),
        (WELL._replace(unsynced_s=4.0), "warn", "The disk has not synced for 4 s"),
        (WELL._replace(clock_held_s=61.5), "warn", "The clock stepped back by 61.5 s"),
        (
            WELL._replace(lost=3, losses=(CountView(name="answer", reason="disk", count=3),)),
            "warn",
            "has lost 3 of 1,003 facts (3 answer: disk)",
        ),
    ],
)  # fmt: skip
def test_each_trouble_has_its_sentence(known, severity, said):
    """What is wrong stands first, with what it means."""
    found = sentences(known)
    assert found[0] == severity and said in found[1]


def test_the_worst_comes_first_and_nothing_is_left_out():
    """A process that does not run before one that crashes; the rest stands in the notes."""
    known = WELL._replace(age_s=30.0, processes=(CRASHING, GATEWAY))
    severity, sentence, notes = sentences(known)
    assert severity == "back" and sentence.startswith("The gateway does not run")
    assert any("price/v2" in one for one in notes) and any("30 s old" in one for one in notes)


def test_a_rate_is_taken_over_seconds_and_a_counter_that_begins_anew_is_none_below_zero():
    """One look alone tells no rate."""
    history = History()
    history.add(0, {"facts": 100.0})
    assert history.rate("facts") is None and history.rate("unknown") is None
    history.add(2_000_000, {"facts": 300.0})
    assert history.rate("facts") == 100.0
    history.add(3_000_000, {"facts": 0.0})
    assert history.rate("facts") == 0.0


@given(st.lists(st.floats(0, 1e12), min_size=2, max_size=900))
def test_a_line_is_bounded_and_within_what_was_seen(values):
    """At most an hour is kept, at most 60 points are drawn, and every chart is drawable."""
    history = History()
    for at, value in enumerate(values):
        history.add(at * EVERY_US, {"room": value})
    line = history.line("room", "Room", "bytes")
    kept = values[-KEPT:]
    assert line is not None and 1 < len(line.values) <= POINTS and line.now == kept[-1]
    assert min(kept) * 0.999 <= min(line.values) and max(line.values) <= max(kept) * 1.001
    assert history.most("room", 0.0) == max(kept)
    drawn = lines.line(line, line.end_us)
    assert drawn.count("<path") == 1 and "nan" not in drawn


def test_numbers_that_are_not_known_are_a_dash():
    """Never a zero that nobody counted."""
    assert [words.size(None), words.core(None), words.lasting(None), words.whole(None)] == ["–"] * 4
    assert words.size(0) == "0\u00a0bytes" and words.size(1023 * 1024) == "1,023\u00a0KiB"
    assert words.size(3.52 * 2**30) == "3.5\u00a0GiB" and words.core(1.4) == "140%"
