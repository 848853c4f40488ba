"""Several replicas of one version: who is asked, who is left out, and how they return."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from redpoll.backends import replicas
from redpoll.backends.pool import HttpBackend
from redpoll.backends.port import Failure
from redpoll.backends.replicas import Replicas
from redpoll.catalog import Version
from redpoll.routes import Target
from redpoll.testing import backends as conformance
from redpoll.testing.backends import FakeBackend, Waited
from redpoll.testing.fake_oip import Answer, FakeOip
from tests.gateway.rig import answer, infer
from tests.web_data.process import GatewayProcess, until


def http(url: str) -> HttpBackend:
    return HttpBackend((url,), "m", connections=8, idle_s=4.0, resend=True)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_replicas_are_a_backend_like_any_other(check: Any) -> None:
    """The conformance suite, with two replicas that are the same server."""
    with FakeOip() as server:
        asyncio.run(check(lambda: Replicas([http(server.url), http(server.url)]), server))


class Story:
    """Replicas in memory, with a clock and a die that the test moves."""

    def __init__(self, count: int = 3) -> None:
        self.time = 1000.0
        self.die = 0.5
        self.members = [FakeBackend() for _ in range(count)]
        self.all = Replicas(self.members, lambda: self.time, lambda: self.die)

    def ask(self) -> tuple[Waited, int]:
        """An ask, and which replica has it."""
        before = [len(member.asked) for member in self.members]
        asked = Waited(b"{}")
        self.all.ask(asked)
        after = [len(member.asked) for member in self.members]
        (at,) = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        return asked, at

    def answer(self, at: int, status: int = 200) -> None:
        self.members[at].answer(status, answer(1.0))

    def turn(self, bad: int, status: int = 503) -> int:
        """One ask, answered at once: with the status by the bad one."""
        _, at = self.ask()
        self.answer(at, status if at == bad else 200)
        return at


def test_the_one_with_the_fewest_under_way_is_asked_and_equals_take_turns() -> None:
    """Least outstanding."""
    story = Story()
    assert sorted(story.ask()[1] for _ in range(3)) == [0, 1, 2]
    story.answer(1)
    assert story.ask()[1] == 1
    story.answer(2)
    story.answer(2) if story.members[2].asked else None
    assert story.ask()[1] == 2
    idle = Story()
    counts = [0, 0, 0]
    for _ in range(300):
        counts[idle.turn(-1)] += 1
    assert counts == [100, 100, 100]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_one_that_fails_in_a_row_is_left_out_and_returns_slowly(status: int) -> None:
    """Fast failures have nothing under way: without this they would draw all traffic."""
    story = Story()
    failed = 0
    for _ in range(60):
        failed += story.turn(1, status) == 1
    assert failed == replicas.FAILURES_MAX
    story.time += replicas.OUT_S + 0.01
    story.die = 0.99  # of the share that it takes at first, nothing
    assert all(story.turn(-1) != 1 for _ in range(10))
    story.die = 0.05
    assert any(story.turn(-1) == 1 for _ in range(3))
    story.die = 0.6
    assert all(story.turn(-1) != 1 for _ in range(10))
    story.time += replicas.RAMP_S
    assert sorted({story.turn(-1) for _ in range(3)}) == [0, 1, 2]


def test_one_that_goes_on_failing_is_left_out_longer_each_time() -> None:
    """Doubling, to a bound; calm for a while makes it short again."""
    story = Story(2)
    story.die = 0.0
    lengths = []
    for _ in range(9):
        while story.all.replicas[0].out_until <= story.time:
            story.turn(0)
        lengths.append(story.all.replicas[0].out_s)
        story.time = story.all.replicas[0].out_until + 0.01
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    story.time += replicas.CALM_S + replicas.RAMP_S
    for _ in range(4):
        story.turn(-1)
    assert story.all.replicas[0].out_s == 0.0


def test_failures_with_answers_between_leave_nobody_out() -> None:
    """A model that fails on some inputs is no broken replica."""
    story = Story(2)
    for turn in range(400):
        _, at = story.ask()
        story.answer(at, 500 if turn % 3 in (0, 1) else 200)
    assert all(replica.out_s == 0.0 for replica in story.all.replicas)


def test_where_all_are_out_all_are_asked() -> None:
    """Nothing would be helped by refusing everything."""
    story = Story(2)
    seen = set()
    for _ in range(40):
        _, at = story.ask()
        story.answer(at, 503)
        seen.add(at)
    assert seen == {0, 1}
    assert all(replica.out_until > story.time for replica in story.all.replicas)


def test_one_that_hangs_is_left_out_too() -> None:
    """Asks that are given up unanswered count."""
    story = Story(2)
    hung = 0
    for _ in range(40):
        asked, at = story.ask()
        if at == 0:
            story.all.cancel(asked)
            hung += 1
        else:
            story.answer(1)
    assert hung == replicas.FAILURES_MAX
    assert story.members[0].cancelled and asked.told <= 1


def test_one_that_cannot_be_reached_costs_no_request() -> None:
    """Nothing was sent: another one is asked. Where something was, nobody else is."""
    story = Story(2)
    asked, at = story.ask()
    story.members[at].asked.pop().failed(Failure("RP-200", "refused", asked=False))
    story.answer(1 - at)
    assert (asked.told, asked.status) == (1, 200)
    asked, at = story.ask()
    story.members[at].asked.pop().failed(Failure("RP-200", "broken off"))
    assert asked.failure is not None and asked.told == 1
    asked, at = story.ask()
    story.members[at].asked.pop().failed(Failure("RP-200", "refused", asked=False))
    story.members[1 - at].asked.pop().failed(Failure("RP-200", "refused too", asked=False))
    assert asked.failure is not None and asked.failure.message == "refused too"


def test_a_replica_that_dies_under_traffic_and_comes_back(tmp_path: Path) -> None:
    """Real servers: clients see no failure once it is gone, and it is asked again when it is back."""
    with FakeOip() as first, FakeOip() as second, FakeOip() as third:
        urls = (first.url, second.url, third.url)
        version = Version(name="v1", backend=urls[0], replicas=urls[1:])
        targets = {"v1": Target(version=version, addresses=urls)}
        with GatewayProcess(tmp_path, {"v1": urls[0]}, targets=targets) as gateway:
            until(lambda: all(server.probed for server in (first, second, third)))

            def ask(count: int) -> set[int]:
                return {
                    gateway.ask("POST", "/v2/models/m/infer", infer(1.0))[0] for _ in range(count)
                }

            assert ask(30) == {200}
            assert all(len(server.requests) >= 8 for server in (first, second, third))
            second.decide = lambda request: Answer(status=503, body=b"{}")
            for _ in range(30):
                ask(1)
            bad = len(second.requests)
            assert ask(30) == {200}
            assert len(second.requests) - bad <= replicas.FAILURES_MAX
