"""The gateway as a process: real sockets, real backends, signals, and a journal on disk."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from redpoll.catalog import Limits, Model, Server
from redpoll.host.paths import DataDir, replace
from redpoll.host.tokens import make
from redpoll.routes import Table
from redpoll.testing.fake_oip import Answer, FakeOip, echo
from redpoll.web import dataplane
from tests.web_data.process import GatewayProcess, until
from tests.web_data.rig import BODY, INFER, infer, replies, request


def read_all(sock: socket.socket, seconds: float = 10.0) -> bytes:
    """What comes until the other side closes."""
    sock.settimeout(seconds)
    out = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return out
        if not piece:
            return out
        out += piece


def test_a_prediction_goes_the_whole_way(tmp_path: Path) -> None:
    """Over TCP and over a worker's Unix socket, as tensors and as rows; the facts are on disk."""
    with FakeOip() as url, FakeOip(socket=str(tmp_path / "w.sock")) as worker:
        urls = {"v1": url.url, "v2": worker.url}
        with GatewayProcess(tmp_path, urls, Model(name="m", unit="user")) as gateway:
            status, said, headers = gateway.ask(
                "POST", INFER, infer(1.0, 2.0, id="k"), redpoll_unit="ann"
            )
            assert (status, said["id"], headers["redpoll-version"]) == (200, "k", "v1")
            assert said["outputs"][0]["data"] == [1.0, 2.0]
            status, said, headers = gateway.ask("POST", "/predict/m/versions/v2", b'{"x": 3}')
            assert (status, said["version"], said["rows"]) == (200, "v2", [{"x": 3}])
            request_one, answer_one, request_two, answer_two = gateway.facts()
            assert (request_one.unit, request_one.inputs) == ("ann", '{"x":[1.0,2.0]}')
            assert (answer_one.status, answer_one.outputs) == ("ok", '{"x":[1.0,2.0]}')
            assert answer_two.prediction_id == request_two.prediction_id == said["prediction_id"]
            text = gateway.ask("GET", "/metrics")[1]
            assert 'redpoll_requests_total{model="m",version="v1",arm="none",status="ok"} 1' in text
            assert 'redpoll_backend_ready{model="m",version="v2"} 1' in text
            assert 'redpoll_route_generation{process="gateway"} 1' in text


def test_draining_finishes_what_was_begun_and_takes_no_more(tmp_path: Path) -> None:
    """SIGTERM: ready says 503, idle connections close, the slow answer still comes, exit 0."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        server.decide = lambda r: Answer(body=echo(r).body, delay_s=1.0)
        idle, slow = gateway.connect(), gateway.connect()
        idle.sendall(request("GET", "/v2"))
        assert idle.recv(1000)
        slow.sendall(request("POST", INFER, BODY))
        until(lambda: server.requests)
        gateway.term()
        assert read_all(idle) == b""
        until(lambda: gateway.ask("GET", "/v2/health/ready")[0] == 503)
        status, said, headers = gateway.ask("POST", INFER, BODY)
        assert (status, said["code"]) == (503, "RP-110")
        (reply,) = replies(read_all(slow))
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert gateway.process is not None
        assert gateway.process.wait(5) == 0
        assert [a.status for a in gateway.answers()] == ["ok"]


def test_draining_ends_even_where_a_backend_never_answers(tmp_path: Path) -> None:
    """After drain_s the client gets 504 and the journal its answer."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}, drain_s=0.3) as gateway:
        server.decide = lambda _: Answer(delay_s=30)
        slow = gateway.connect()
        slow.sendall(request("POST", INFER, BODY))
        until(lambda: server.requests)
        began = time.monotonic()
        gateway.term()
        (reply,) = replies(read_all(slow))
        assert reply.status == 504
        slow.close()
        assert gateway.process is not None
        assert gateway.process.wait(5) == 0
        assert time.monotonic() - began < 3
        assert [a.status for a in gateway.answers()] == ["timeout"]


def test_a_client_that_resets_its_connection_is_abandoned_and_its_call_given_up(
    tmp_path: Path,
) -> None:
    """The backend sees its connection close long before it would have answered."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        server.decide = lambda _: Answer(delay_s=30)
        for how in ("reset", "close", "half"):
            client = gateway.connect()
            count = len(server.requests)
            client.sendall(request("POST", INFER, BODY))
            until(lambda n=count: len(server.requests) > n)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how == "half":
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b""
            client.close()
            until(lambda n=count: len(gateway.answers()) == n + 1, 3)
        assert [a.status for a in gateway.answers()] == ["abandoned"] * 3
        assert len(gateway.requests()) == 3


def test_slow_clients_are_told_and_closed(tmp_path: Path) -> None:
    """Headers or body that dribble: 408; what never speaks is closed."""
    limits = Limits(header_wait_s=0.3, body_wait_s=0.3, idle_s=0.5)
    with (
        FakeOip() as server,
        GatewayProcess(tmp_path, {"v1": server.url}, limits=limits) as gateway,
    ):
        silent, head, body, kept = (gateway.connect() for _ in range(4))
        raw = request("POST", INFER, BODY)
        head.sendall(raw[:30])
        body.sendall(raw[:-1])
        kept.sendall(raw)
        assert kept.recv(10_000).startswith(b"HTTP/1.1 200")
        assert read_all(silent) == b""
        assert [r.status for r in replies(read_all(head))] == [408]
        assert [r.status for r in replies(read_all(body))] == [408]
        assert read_all(kept) == b""
        assert len(gateway.requests()) == 1


def test_a_refusal_reaches_a_client_that_is_still_sending(tmp_path: Path) -> None:
    """413 is heard before the connection ends, however much was on its way."""
    limits = Limits(body_bytes=10_000)
    with (
        FakeOip() as server,
        GatewayProcess(tmp_path, {"v1": server.url}, limits=limits) as gateway,
    ):
        client = gateway.connect()
        head = f"POST {INFER} HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n".encode()
        client.sendall(head)

        def pump() -> None:
            try:
                for _ in range(30):
                    client.sendall(b"x" * 100_000)
            except OSError:
                pass

        sender = threading.Thread(target=pump)
        sender.start()
        out = read_all(client)
        sender.join(10)
        client.close()
        assert [r.status for r in replies(out)] == [413]


def test_pipelining_over_a_real_socket_keeps_its_order(tmp_path: Path) -> None:
    """Two hundred at once."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        client = gateway.connect()
        last = request("GET", "/v2", connection="close")
        raw = b"".join(request("POST", INFER, infer(float(n), id=f"r-{n}")) for n in range(200))
        client.sendall(raw + last)
        found = replies(read_all(client))
        assert [r.headers.get("x-request-id") for r in found] == [
            *(f"r-{n}" for n in range(200)),
            None,
        ]
        assert [r.said["outputs"][0]["data"] for r in found[:-1]] == [
            [float(n)] for n in range(200)
        ]


def test_every_answered_request_survives_kill_9(tmp_path: Path) -> None:
    """Killed under load, started again on the same socket: each answer a client has is on disk once."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        answered: list[str] = []
        stop = threading.Event()

        def client() -> None:
            while not stop.is_set():
                status, _, headers = gateway.ask("POST", INFER, BODY)
                if status == 200:
                    answered.append(headers["redpoll-prediction-id"])

        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            count = len(answered)
            until(lambda n=count: len(answered) > n + 15, 30)
            gateway.kill()
            gateway.start()
        count = len(answered)
        until(lambda n=count: len(answered) > n + 15, 30)
        stop.set()
        for thread in threads:
            thread.join(20)
        ok = [a.prediction_id for a in gateway.answers() if a.status == "ok"]
        asked = [r.prediction_id for r in gateway.requests()]
        assert set(answered) <= set(ok)
        assert len(ok) == len(set(ok))
        assert len(asked) == len(set(asked))
        assert set(ok) <= set(asked)
        # What a scrape saw before the kill is still counted after it.
        text = gateway.ask("GET", "/metrics")[1]
        line = next(x for x in text.splitlines() if 'arm="none",status="ok"' in x)
        assert float(line.split()[-1]) > 15


def test_a_gateway_ends_with_its_supervisor(tmp_path: Path) -> None:
    """The lifeline's other end closes: it is gone within a moment."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        os.close(gateway.lifeline[1])
        gateway.lifeline = (-1, -1)
        assert gateway.process is not None
        assert gateway.process.wait(5) != 0


def test_tokens_are_read_from_their_file(tmp_path: Path) -> None:
    """Health is open, the rest is not."""
    token, line = make("shop", ("predict",))
    path = tmp_path / "tokens"
    path.write_text(line)
    with (
        FakeOip() as server,
        GatewayProcess(tmp_path, {"v1": server.url}, tokens_file=str(path)) as gateway,
    ):
        assert gateway.ask("POST", INFER, BODY)[0] == 401
        assert gateway.ask("POST", INFER, BODY, authorization=f"Bearer {token}")[0] == 200
        assert gateway.ask("GET", "/metrics", authorization=f"Bearer {token}")[0] == 403


@pytest.mark.parametrize("address", ["0.0.0.0:0", "127.0.0.1:1x"])
def test_an_address_that_may_not_be_served_is_refused_at_the_start(
    tmp_path: Path, address: str
) -> None:
    """Beyond this machine without tokens; or no address at all. Exit 1, one sentence, no traceback."""
    data = DataDir(tmp_path / "data").make()
    replace(data.server, msgspec.json.encode({"server": Server(data=address)}))
    command = [sys.executable, "-m", "redpoll.web.dataplane", "--data-dir", str(data.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "RP-" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_can_run_alone_and_waits_for_its_routes(tmp_path: Path) -> None:
    """Without --fd it binds server.data itself; before the first table /readyz is 503."""
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    gateway = GatewayProcess(tmp_path, {})
    gateway.listener.close()
    gateway.port = port
    replace(gateway.data.server, msgspec.json.encode({"server": Server(data=f"127.0.0.1:{port}")}))
    gateway.data.routes.unlink()
    command = [sys.executable, "-m", "redpoll.web.dataplane", "--data-dir", str(gateway.data.root)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: gateway.ask("GET", "/readyz")[0] == 503)
        gateway.write(Table(generation=1))
        until(lambda: gateway.ask("GET", "/readyz")[0] == 200, 3)
        assert json.loads(json.dumps(gateway.ask("GET", "/v2/health/live")[1])) == {"live": True}
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 18080), "http://127.0.0.1:18080"),
        (("::1", 8080, 0, 0), "http://[::1]:8080"),
    ],
)
def test_the_log_names_an_address_that_can_be_opened(address, url):
    """No tuple of Python."""
    assert dataplane.url_of(address) == url
