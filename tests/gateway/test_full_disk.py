"""A whole gateway process on a disk that is really full, and on one that has room again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from redpoll.facts import LOST, Sample
from redpoll.testing.fake_oip import FakeOip
from tests.journal.disks import WAYS, Disk, small_disk
from tests.web_data.process import GatewayProcess, until
from tests.web_data.rig import INFER

every_way = pytest.mark.parametrize("how", WAYS)


def pid(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    return gateway.process.pid


def send(gateway: GatewayProcess, number: int, size: int = 0) -> tuple[int, str]:
    """One request; its status and prediction id."""
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["x" * size]}
    body = json.dumps({"id": f"r-{number}", "inputs": [tensor]}).encode()
    status, said, headers = gateway.ask("POST", INFER, body)
    if status == 503:
        assert said["code"] == "RP-300" and headers["retry-after"] == "1", said
    return status, headers.get("redpoll-prediction-id", "")


def lost(gateway: GatewayProcess, fact: str) -> int:
    """What ``/metrics`` says."""
    text = gateway.ask("GET", "/metrics")[1]
    start = f'redpoll_journal_lost_total{{fact="{fact}",reason="disk"}} '
    return sum(int(line[len(start) :]) for line in text.splitlines() if line.startswith(start))


def whole(gateway: GatewayProcess) -> set[str]:
    """Every request is there once, and so is its answer; their ids."""
    requests = Counter(fact.prediction_id for fact in gateway.requests())
    answers = Counter(fact.prediction_id for fact in gateway.answers())
    assert requests == answers and set(requests.values()) == {1}
    return set(requests)


@every_way
def test_requests_are_refused_until_there_is_room(how: str, tmp_path: Path) -> None:
    """503 at once, no backend asked; then it goes on, and each answered request is there once."""
    with (
        small_disk(how, tmp_path / "data", "2m") as disk,
        FakeOip() as backend,
        GatewayProcess(tmp_path, {"v1": backend.url}) as gateway,
    ):
        answered = [send(gateway, number, 2000) for number in range(5)]
        for turn in range(3):
            disk.fill(pid(gateway))
            statuses = [send(gateway, 100 * turn + n, 5000)[0] for n in range(4)]
            assert set(statuses[1:]) == {503}, "the first may fit into the last block"
            assert gateway.ask("GET", "/v2/health/ready")[0] == 503
            asked = len(backend.requests)
            assert send(gateway, 990)[0] == 503 and len(backend.requests) == asked
            assert gateway.ask("GET", "/metrics")[0] == 200
            disk.free(pid(gateway))
            until(lambda: gateway.ask("GET", "/v2/health/ready")[0] == 200)
            answered += [send(gateway, 1000 + 10 * turn + n, 2000) for n in range(3)]
        gateway.term()
        assert gateway.process is not None and gateway.process.wait(10) == 0
        assert {status for status, _ in answered} == {200}
        assert {number for _, number in answered} <= whole(gateway)


@every_way
def test_serve_answers_and_counts_what_is_lost(how: str, tmp_path: Path) -> None:
    """Past what it holds; a request is lost whole or not at all, and the journal says how many."""
    with (
        small_disk(how, tmp_path / "data", "200m") as disk,
        FakeOip() as backend,
        GatewayProcess(
            tmp_path, {"v1": backend.url}, on_journal_failure="serve", timeout_ms=20_000
        ) as gateway,
    ):
        first = send(gateway, 1)
        disk.fill(pid(gateway))
        sent = [send(gateway, 10 + number, 8 << 20) for number in range(9)]
        assert {status for status, _ in sent} == {200}
        until(lambda: send(gateway, 50)[0] == 200 and lost(gateway, "request") > 0)
        gone = [send(gateway, 60 + number) for number in range(5)]
        assert {status for status, _ in gone} == {200}
        assert gateway.ask("GET", "/v2/health/ready")[0] == 200
        missing = lost(gateway, "request")
        assert missing >= 5 and lost(gateway, "answer") == missing
        disk.free(pid(gateway))
        until(lambda: any(isinstance(fact, Sample) for fact in gateway.facts()))
        last = send(gateway, 99)
        kept = whole(gateway)
        assert {first[1], last[1], *(number for _, number in sent[:4])} <= kept
        assert not {number for _, number in gone} & kept
        told = {
            fact.labels["fact"]: fact.value
            for fact in gateway.facts()
            if isinstance(fact, Sample) and fact.name == LOST
        }
        assert told == {"request": missing, "answer": missing}


@every_way
@pytest.mark.parametrize("policy", ["refuse", "serve"])
def test_a_gateway_starts_on_a_full_disk(how: str, policy: str, tmp_path: Path) -> None:
    """It answers or refuses at once, as it was told; its stream begins when there is room."""
    with small_disk(how, tmp_path / "data", "2m") as disk, FakeOip() as backend:
        starting = GatewayProcess(tmp_path, {"v1": backend.url}, on_journal_failure=policy)
        disk.fill()
        serves = policy == "serve"
        with started(starting, disk, ready=serves) as gateway:
            assert send(gateway, 1)[0] == (200 if serves else 503)
            assert lost(gateway, "request") == lost(gateway, "answer") == (1 if serves else 0)
            disk.free(pid(gateway))
            until(lambda: gateway.ask("GET", "/v2/health/ready")[0] == 200)
            until(lambda: list(gateway.data.wal.glob("*.wal")))
            _, kept = send(gateway, 2)
            assert [fact.prediction_id for fact in gateway.requests()] == [kept]


@contextmanager
def started(gateway: GatewayProcess, disk: Disk, ready: bool) -> Iterator[GatewayProcess]:
    """A gateway that inherits our full disk; then we have room again, and it has none."""
    if ready:
        with gateway:
            disk.spare_us()
            yield gateway
        return
    gateway.start()
    try:
        until(lambda: gateway.ask("GET", "/v2/health/ready")[0] == 503)
        disk.spare_us()
        yield gateway
    finally:
        gateway.__exit__(None, None, None)
