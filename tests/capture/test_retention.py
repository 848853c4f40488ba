"""`capture.keep` and `capture.max_disk_bytes`: the sealer lets old hours go, and says so."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from redpoll.catalog import Capture, Model
from redpoll.clock import SystemClock, hour
from redpoll.facts import Answer, Decision, Outcome, Sample
from redpoll.host.counters import render
from redpoll.host.paths import DataDir, replace
from redpoll.journal.files import FileJournal
from redpoll.routes import Route, Table
from redpoll.sealer import retention
from redpoll.sealer.service import Sealer
from redpoll.testing.journals import request

HOUR_US = 3_600_000_000
PER_HOUR = 20


class Then:
    """A clock that stands at a moment."""

    def __init__(self, at_us: int) -> None:
        self.at_us = at_us

    def now_us(self) -> int:
        return self.at_us

    def monotonic(self) -> float:
        return self.at_us / 1e6


def write(data: DataDir, hours_ago: int, models: tuple[str, ...] = ("churn", "fraud")) -> None:
    """Sealed facts that are so old: requests with answers, outcomes, a decision."""
    clock = Then(SystemClock().now_us() - hours_ago * HOUR_US)
    journal = FileJournal(data, clock)
    writer = journal.open("gateway")
    for model in models:
        for at in range(PER_HOUR):
            asked = request(at)
            writer.append(model, asked)
            writer.append(model, Answer(asked.prediction_id, "v1"))
        writer.append(model, Outcome("o", None, "r", 0, "redo"))
        writer.append(model, Decision("d", "route", model, "published"))
    writer.close()
    sealer = Sealer(data, journal, clock)
    sealer.round()
    sealer.close()


def publish(data: DataDir, **captures: Capture) -> None:
    """What the models declare, where the sealer reads it."""
    routes = {
        name: Route(model=Model(name=name, capture=capture), number=at, generation=1)
        for at, (name, capture) in enumerate(captures.items())
    }
    replace(data.routes, msgspec.json.encode(Table(generation=1, routes=routes)))


def hours(data: DataDir, model: str, kind: str = "request") -> list[str]:
    return sorted(p.name for p in data.journal.glob(f"{kind}/model={model}/hour=*"))


def named(hours_ago: int) -> str:
    return f"hour={hour(SystemClock().now_us() - hours_ago * HOUR_US)}"


def tidy(data: DataDir) -> Sealer:
    sealer = Sealer(data, FileJournal(data), SystemClock())
    sealer.round()
    sealer.close()
    return sealer


def told(data: DataDir) -> dict[tuple[str, str, str, str], set[float]]:
    """What the Samples say was removed: how many, by model, fact, hour and reason."""
    found: dict[tuple[str, str, str, str], set[float]] = {}
    for entry in FileJournal(data).read(kinds=["sample"]):
        fact = entry.fact
        assert isinstance(fact, Sample)
        if fact.name == retention.REMOVED:
            key = (entry.model, *(fact.labels[name] for name in ("fact", "hour", "reason")))
            found.setdefault(key, set()).add(fact.value)
    return found


def test_hours_older_than_keep_go_and_the_rest_stays(tmp_path: Path) -> None:
    """Requests, answers, outcomes of that model; its decisions stay, and so do other models."""
    data = DataDir(tmp_path).make()
    for ago in (60, 30, 3, 0):
        write(data, ago)
    publish(data, churn=Capture(keep_s=40 * 3600), fraud=Capture())
    sealer = tidy(data)
    for kind in retention.KINDS:
        assert hours(data, "churn", kind) == sorted(map(named, (30, 3, 0)))
        assert len(hours(data, "fraud", kind)) == 4
    assert len(hours(data, "churn", "decision")) == 4
    at = named(60).removeprefix("hour=")
    assert told(data) == {
        ("churn", "request", at, "keep"): {PER_HOUR},
        ("churn", "answer", at, "keep"): {PER_HOUR},
        ("churn", "outcome", at, "keep"): {1},
    }
    assert sealer.removed["churn", "answer", "keep"] == PER_HOUR
    tidy(data)
    assert len(told(data)) == 3, "nothing is told that did not happen"


def test_past_the_disk_budget_the_oldest_hours_go(tmp_path: Path) -> None:
    """As many as it takes, and never the newest two: they may not have been read yet."""
    data = DataDir(tmp_path).make()
    for ago in (30, 20, 10, 1, 0):
        write(data, ago, ("churn",))
    sizes = {
        name: sum(
            path.stat().st_size
            for kind in retention.KINDS
            for path in data.journal.glob(f"{kind}/model=churn/{name}/*.parquet")
        )
        for name in hours(data, "churn")
    }
    most = sum(sizes.values()) - sizes[named(30)] - 1
    publish(data, churn=Capture(max_disk_bytes=most))
    tidy(data)
    assert hours(data, "churn") == sorted(map(named, (10, 1, 0)))
    assert {reason for _, _, _, reason in told(data)} == {"disk"}
    publish(data, churn=Capture(max_disk_bytes=1))
    tidy(data)
    assert hours(data, "churn") == sorted(map(named, (1, 0)))


def test_a_model_that_is_declared_no_more_keeps_its_log(tmp_path: Path) -> None:
    """A line taken out of a file by mistake must not cost the log."""
    data = DataDir(tmp_path).make()
    write(data, 24 * 365)
    publish(data, fraud=Capture())
    tidy(data)
    assert (len(hours(data, "churn")), hours(data, "fraud")) == (1, [])
    data.routes.unlink()
    write(data, 24 * 365, ("other",))
    tidy(data)
    assert len(hours(data, "other")) == 1


@pytest.mark.parametrize("step", ["rename", "rmtree", "sync_folder"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_step_it_is_finished_by_the_next(
    step: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hour is wholly there or wholly gone, and what is gone was told."""
    data = DataDir(tmp_path).make()
    write(data, 60, ("churn",))
    write(data, 0, ("churn",))
    publish(data, churn=Capture(keep_s=3600))
    owner = {"rename": Path, "rmtree": retention.shutil, "sync_folder": retention}[step]
    real = getattr(owner, step)

    class Killed(BaseException):
        pass

    def deadly(*args, **more):
        if "hour=" not in str(args[0]) and "request" not in str(args[0]):
            return real(*args, **more)
        if after:
            real(*args, **more)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, step, deadly)
        tidy(data)
    gone = {kind for kind in retention.KINDS if len(hours(data, "churn", kind)) == 1}
    assert gone <= {fact for _, fact, _, _ in told(data)}
    tidy(data)
    assert hours(data, "churn") == [named(0)]
    assert not list(data.journal.glob(".removed"))
    at = named(60).removeprefix("hour=")
    assert told(data)["churn", "request", at, "keep"] == {PER_HOUR}


def sealer_of(data: DataDir) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "redpoll.sealer", "--data-dir", str(data.root)],
        stderr=subprocess.DEVNULL,
    )


def test_kill_9_in_the_middle_loses_nothing_and_tells_everything(tmp_path: Path) -> None:
    """The real process, killed again and again while it removes: each hour is told, whole."""
    data = DataDir(tmp_path).make()
    for ago in range(100, 160, 2):
        write(data, ago, ("churn",))
    write(data, 0, ("churn",))
    old = hours(data, "churn")[:-1]
    publish(data, churn=Capture(keep_s=3600))
    chance = random.Random(7)
    kills = 0
    for _ in range(5):
        left = len(hours(data, "churn"))
        child = sealer_of(data)
        try:
            deadline = time.monotonic() + 60
            while len(hours(data, "churn")) == left and left > 1:
                assert time.monotonic() < deadline, "nothing was removed in time"
                time.sleep(0.0005)
            time.sleep(chance.random() * 0.008)
            kills += len(hours(data, "churn")) > 1
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        if left == 1:
            break
    assert kills >= 2, "it was never killed in the middle"
    child = sealer_of(data)
    try:
        deadline = time.monotonic() + 60
        while b'redpoll_journal_removed_total{model="churn"' not in render(data.metrics):
            assert time.monotonic() < deadline, "nothing was counted"
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()
    assert hours(data, "churn") == [named(0)]
    assert not list(data.journal.glob(".removed"))
    expected = {("churn", "request", name.removeprefix("hour="), "keep") for name in old}
    found = told(data)
    assert expected <= found.keys()
    assert all(len(values) == 1 for values in found.values()), "what is told twice is the same"
    assert sum(1 for _ in FileJournal(data).read(kinds=["request"])) == PER_HOUR
