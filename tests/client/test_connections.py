"""When a request is sent again, and when it must not be."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from redpoll.client import ClientError
from redpoll.client.transport import Transport
from tests.client.servers import ok, raw_server, read_request, recording


def _transport(url: str, timeout_s: float = 5.0) -> Transport:
    return Transport(url, token=None, timeout_s=timeout_s)


def test_a_connection_is_kept_for_the_next_request() -> None:
    """Ten requests, one connection."""
    with recording((200, {}, {})) as server:
        transport = _transport(server.url)
        for _ in range(10):
            transport.call("POST", "/x", b"{}")
        transport.close()
    assert len({seen.port for seen in server.seen}) == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_unnoticed() -> None:
    """The server gave it up between two requests: the second goes out on a fresh one, once."""

    def once(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(ok(1))

    with raw_server(once, once) as (url, opened):
        transport = _transport(url)
        assert transport.call("GET", "/").json() == 1
        time.sleep(0.1)
        assert transport.call("GET", "/").json() == 1
        transport.close()
        assert opened == [0, 1]


def test_a_reused_connection_closed_before_any_byte_is_tried_once_more() -> None:
    """The other side read the request and closed without a word: it may go out again, fresh."""
    got: list[bytes] = []

    def gives_up_on_the_second(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(ok(1))
        got.append(read_request(connection))

    def answers(connection: socket.socket) -> None:
        got.append(read_request(connection))
        connection.sendall(ok(2))

    with raw_server(gives_up_on_the_second, answers) as (url, opened):
        transport = _transport(url)
        transport.call("POST", "/a", b"first")
        assert transport.call("POST", "/b", b"second").json() == 2
        transport.close()
    assert opened == [0, 1]
    assert [data.endswith(b"second") for data in got] == [True, True]


def test_a_reset_of_a_reused_connection_is_tried_once_more() -> None:
    """RST instead of FIN: the same."""

    def resets_on_the_second(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(ok(1))
        read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def answers(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(ok(2))

    with raw_server(resets_on_the_second, answers) as (url, _):
        transport = _transport(url)
        transport.call("GET", "/a")
        assert transport.call("GET", "/b").json() == 2
        transport.close()


def test_a_fresh_connection_that_closes_without_an_answer_is_an_error_not_a_retry() -> None:
    """The server may have done what was asked."""

    def closes(connection: socket.socket) -> None:
        read_request(connection)

    with raw_server(closes, closes) as (url, opened):
        with pytest.raises(ClientError) as caught:
            _transport(url).call("POST", "/a", b"x")
        assert caught.value.code == "RP-601"
        assert opened == [0]


def test_half_an_answer_on_a_reused_connection_is_an_error_not_a_retry() -> None:
    """A byte came: the request was seen."""

    def breaks_off(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(ok(1))
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf")

    def never(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(ok(2))

    with raw_server(breaks_off, never) as (url, opened):
        transport = _transport(url)
        transport.call("GET", "/a")
        with pytest.raises(ClientError) as caught:
            transport.call("POST", "/b", b"x")
        assert caught.value.code == "RP-601"
        assert opened == [0]


def test_a_server_that_says_nothing_runs_into_the_time_limit() -> None:
    """RP-602, and the connection is not used again."""

    def silent(connection: socket.socket) -> None:
        read_request(connection)
        time.sleep(1.0)

    with raw_server(silent) as (url, _):
        with pytest.raises(ClientError) as caught:
            _transport(url, timeout_s=0.2).call("GET", "/")
        assert caught.value.code == "RP-602"


def test_an_early_refusal_of_a_long_body_is_read() -> None:
    """413 while the body is still on its way: the refusal counts, not the broken pipe."""

    def refuses(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(
            b"HTTP/1.1 413 x\r\nconnection: close\r\ncontent-length: 34\r\n\r\n"
            b'{"error": "large","code":"RP-106"}'
        )
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    with raw_server(refuses) as (url, _):
        with pytest.raises(ClientError) as caught:
            _transport(url).call("POST", "/", b"x" * 4_000_000)
        assert (caught.value.code, caught.value.status) == ("RP-106", 413)


def test_bytes_that_are_no_http_are_one_clear_error() -> None:
    """Another program on that port."""

    def speaks_otherwise(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"220 mail ready\r\n")

    with raw_server(speaks_otherwise) as (url, _):
        with pytest.raises(ClientError) as caught:
            _transport(url).call("GET", "/")
        assert caught.value.code == "RP-601"
