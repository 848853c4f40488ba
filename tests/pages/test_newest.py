"""Facts found by what they say, newest first, in sealed files and live ones: the same as by reading all."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redpoll.clock import SimClock
from redpoll.control import requests_find
from redpoll.control.requests import Asked
from redpoll.facts import Answer, Entry, Outcome, Request
from redpoll.host.paths import DataDir
from redpoll.journal import newest, newest_sealed
from redpoll.journal.files import FileJournal
from redpoll.journal.newest import Budget, find
from redpoll.journal.wanted import LATEST_US, Wanted, key_of
from redpoll.sealer.service import Sealer

START_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


class Log:
    """Two streams over some hours; part of it sealed, part of it live."""

    def __init__(self, root: Path, seed: int = 1, rotate_bytes: int = 8_000) -> None:
        self.clock = SimClock(START_US)
        self.data = DataDir(root).make()
        self.journal = FileJournal(
            self.data, self.clock, rotate_bytes=rotate_bytes, rotate_us=HOUR_US
        )
        self.writers = [self.journal.open("gateway") for _ in range(2)]
        self.random = random.Random(seed)

    def write(self, number: int) -> None:
        for at in range(number):
            self.clock.advance(self.random.choice((0, 0, 1, 1000, 900_000_000)))
            writer = self.random.choice(self.writers)
            model = self.random.choice(("churn", "fraud"))
            unit = f"u-{self.random.randint(0, 4)}"
            one = f"{self.clock.now_us():08x}-{at}"
            body = b'{"age": %d}' % at
            fact = Request(one, f"order-{at}", 1, unit, groups={"sex": "f"})
            writer.append(model, fact, body, 2)
            status = self.random.choice(("ok", "ok", "error"))
            writer.append(model, Answer(one, "v1", "live", status, outputs='{"y":[1]}'))
            writer.flush()

    def seal(self) -> None:
        Sealer(self.data, self.journal, self.clock).round()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    def truth(self, wanted: Wanted) -> list[Entry]:
        """By reading everything."""
        kept = [
            entry
            for entry in self.journal.read(kinds=[wanted.kind], models=wanted.models)
            if wanted.since_us <= entry.time_us < wanted.until_us
            and all(getattr(entry.fact, name) in v for name, v in wanted.texts.items())
        ]
        return sorted(kept, key=key_of)

    def pages(self, wanted: Wanted, limit: int, facts: int = 10**9) -> list[Entry]:
        """Page after page until there is nothing older."""
        found: list[Entry] = []
        after = None
        for _ in range(1000):
            page = find(
                self.journal.layout,
                wanted,
                limit=limit,
                after=after,
                budget=Budget(facts, 60.0),
            )
            found += page.entries
            assert len(page.entries) <= limit
            if page.more is None:
                return found
            assert after is None or page.more > after, "a page that leads to itself"
            after = page.more
        raise AssertionError("the pages do not end")


WANTED = (
    Wanted("request"),
    Wanted("request", ("churn",)),
    Wanted("request", None, {"unit": frozenset(["u-3"])}),
    Wanted("answer", ("fraud",), {"status": frozenset(["error"]), "role": frozenset(["live"])}),
    Wanted("request", None, {}, START_US + HOUR_US, START_US + 2 * HOUR_US),
    Wanted("outcome"),
)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000), limit=st.integers(1, 40), facts=st.sampled_from([1, 10**9]))
def test_pages_are_the_whole_log_in_order_each_fact_once(tmp_path_factory, seed, limit, facts):
    """Whatever is sealed, whatever is live, however large a page and however small the budget."""
    log = Log(tmp_path_factory.mktemp("log"), seed)
    log.write(30)
    log.seal()
    log.write(15)
    for wanted in WANTED:
        found = [key_of(one) for one in log.pages(wanted, limit, facts)]
        assert found == [key_of(one) for one in log.truth(wanted)], wanted
    log.close()
    log.seal()
    assert [key_of(e) for e in log.pages(WANTED[0], limit)] == [
        key_of(e) for e in log.truth(WANTED[0])
    ]


def test_what_is_found_has_its_columns_and_bodies_only_where_asked(tmp_path):
    """The same from a write-ahead file and from Parquet."""
    log = Log(tmp_path)
    log.write(3)
    live = log.pages(Wanted("request", bodies=True), 10)
    log.close()
    log.seal()
    sealed = log.pages(Wanted("request", bodies=True), 10)
    assert [one.fact for one in live] == [one.fact for one in sealed]
    assert live[0].fact.inputs == '{"age":[2]}' and live[0].fact.groups == {"sex": "f"}
    lean = log.pages(Wanted("request"), 10)[0].fact
    assert lean.inputs is None and lean.unit == live[0].fact.unit


def test_a_file_is_not_opened_before_it_is_needed(tmp_path, monkeypatch):
    """The newest page of a log of many hours reads the newest files."""
    log = Log(tmp_path)
    log.write(120)
    log.close()
    log.seal()
    opened: list[str] = []
    real = newest_sealed.rows
    monkeypatch.setattr(
        newest_sealed, "rows", lambda segment, *more: opened.append(segment.hour) or real(segment, *more)
    )  # fmt: skip
    budget = Budget(10**9, 60)
    page = find(log.journal.layout, Wanted("request"), limit=5, after=None, budget=budget)
    hours = {segment.hour for segment in log.journal.layout.segments(["request"])}
    assert len(page.entries) == 5 and len(hours) > 5
    assert set(opened) <= set(sorted(hours)[-2:]) and budget.looked < 200


def test_files_that_vanish_are_looked_for_again(tmp_path, monkeypatch):
    """Sealing between the listing and the opening loses and doubles nothing."""
    log = Log(tmp_path)
    log.write(50)
    real = newest.newest_live.rows
    done: list[int] = []

    def rows(*arguments):
        if not done:
            done.append(1)
            log.close()
            log.seal()
        return real(*arguments)

    monkeypatch.setattr(newest.newest_live, "rows", rows)
    wanted = Wanted("request")
    found = log.pages(wanted, 200)
    assert done and [key_of(e) for e in found] == [key_of(e) for e in log.truth(wanted)]


def test_a_value_that_stands_nowhere_costs_no_decoding(tmp_path, monkeypatch):
    """A rare value's bytes are sought before any frame is read."""
    log = Log(tmp_path, rotate_bytes=10**7)
    log.write(40)
    monkeypatch.setattr(newest.newest_live, "WalReader", pytest.fail)
    wanted = Wanted("request", None, {"request_id": frozenset(["order-999"])})
    assert log.pages(wanted, 5) == []


def test_a_budget_that_is_spent_says_where_to_go_on(tmp_path):
    """Nothing is told as not there that was not looked for."""
    log = Log(tmp_path)
    log.write(100)
    log.close()
    log.seal()
    wanted = Wanted("request", None, {"request_id": frozenset(["order-0"])})
    page = find(log.journal.layout, wanted, limit=5, after=None, budget=Budget(1, 60))
    assert page.entries == [] and page.more is not None and page.more[1:] == ("", 0)
    assert [e.fact.request_id for e in log.pages(wanted, 5, 1)] == ["order-0"]
    assert LATEST_US > -page.more[0] > START_US


def test_outcomes_are_facts_like_others(tmp_path):
    """Nullable columns, numbers and texts come back as they were."""
    log = Log(tmp_path)
    fact = Outcome("o-1", None, "order-7", 0, "bought", 1.0, None, START_US, None, "shop")
    log.writers[0].append("churn", fact)
    log.close()
    log.seal()
    wanted = Wanted("outcome", ("churn",), {"request_id": frozenset(["order-7"])})
    assert [one.fact for one in log.pages(wanted, 5)] == [fact]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_passed_over_and_told(tmp_path, damage):
    """One bad file hides no other, and nobody takes what it held for not there."""
    log = Log(tmp_path)
    log.write(60)
    log.close()
    log.seal()
    segments = sorted(log.journal.layout.segments(["request"]), key=lambda one: one.path)
    bad = Path(segments[len(segments) // 2].path)
    raw = bytearray(bad.read_bytes())
    if damage == "flipped":
        raw[4:200] = bytes(b ^ 0xFF for b in raw[4:200])
    bad.write_bytes(
        {"cut": bytes(raw[: len(raw) // 2]), "flipped": bytes(raw), "empty": b""}[damage]
    )
    budget = Budget(10**9, 60.0)
    wanted = Wanted("request")
    page = find(log.journal.layout, wanted, limit=1000, after=None, budget=budget)
    kept = sum(one.path != str(bad) for one in segments)
    assert budget.unreadable == {str(bad)} and kept == len(segments) - 1
    assert 0 < len(page.entries) < 60 and page.more is None


def test_what_belongs_to_a_row_is_looked_for_though_the_row_was_found_late(tmp_path, monkeypatch):
    """A search that took all its time still knows how its request was answered."""
    log = Log(tmp_path)
    log.write(20)
    monkeypatch.setattr(requests_find, "SECONDS_MAX", 0.4)
    real = requests_find.find

    def slow(layout, wanted, **more):
        found = real(layout, wanted, **more)
        if wanted.kind == "request":
            time.sleep(0.5)
        return found

    monkeypatch.setattr(requests_find, "find", slow)
    page = requests_find.page(log.data, Asked(wanted_id="order-7"), None)
    (line,) = page.lines
    assert line.request_id == "order-7" and line.status in ("ok", "error")
