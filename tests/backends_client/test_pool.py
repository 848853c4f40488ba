"""The pool's own promises: kept connections, one resend at most, several workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from redpoll.backends.pool import HttpBackend
from redpoll.backends.unreachable import Unreachable
from redpoll.errors import RedpollError
from redpoll.testing.backends import Waited, ask, infer
from redpoll.testing.fake_oip import Answer, FakeOip, echo


def backend(*servers: FakeOip, connections: int = 8, idle_s: float = 4.0, resend: bool = True, **more) -> HttpBackend:  # fmt: skip
    addresses = tuple(server.url for server in servers)
    return HttpBackend(
        addresses, "m", connections=connections, idle_s=idle_s, resend=resend, **more
    )


def test_connections_are_kept_and_used_again() -> None:
    """Ten asks one after another need one connection."""

    async def go(server: FakeOip) -> None:
        pool = backend(server)
        for _ in range(10):
            assert (await ask(pool)).attempts == 1
        assert server.connections == 1
        pool.close()

    with FakeOip() as server:
        uvloop.run(go(server))


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_answer() -> None:
    """Sent a second time, once, on a fresh connection: before any byte of an answer, nothing is lost."""

    async def go(server: FakeOip) -> None:
        pool = backend(server)
        await ask(pool)
        # This very ask meets the other side's hang-up on the kept connection.
        server.decide = lambda r: Answer(hang_up="before") if r.connection == 0 else echo(r)
        done = await ask(pool, infer(7.0))
        assert (done.status, done.attempts) == (200, 2)
        assert server.requests[-1].connection == 1
        pool.close()

    with FakeOip() as server:
        uvloop.run(go(server))


@pytest.mark.parametrize("hang_up", ["before", "middle"])
def test_nothing_is_sent_twice_where_that_could_do_harm(hang_up: str) -> None:
    """Not on a fresh connection, not after a byte of the answer, not with resend = false, not thrice."""

    async def go(server: FakeOip) -> None:
        server.decide = lambda _: Answer(hang_up=hang_up)
        fresh = backend(server)
        assert (await ask(fresh)).attempts == 1
        assert len(server.requests) == 1
        for resend, sent in ((False, 1), (True, 2 if hang_up == "before" else 1)):
            server.decide = echo
            pool = backend(server, resend=resend)
            await ask(pool)
            server.requests.clear()
            server.decide = lambda _: Answer(hang_up=hang_up)
            done = await ask(pool)
            assert done.failure is not None
            assert done.failure.code == "RP-200"
            assert (done.attempts, len(server.requests)) == (sent, sent)
            pool.close()
        fresh.close()

    with FakeOip() as server:
        uvloop.run(go(server))


def test_idle_connections_are_given_up_before_the_other_side_does() -> None:
    """After pool.idle, oldest first; what was just used stays."""

    async def go(server: FakeOip) -> None:
        pool = backend(server, idle_s=0.1)
        server.decide = lambda r: Answer(body=echo(r).body, delay_s=0.02)
        both = [Waited(infer(1.0)), Waited(infer(2.0))]
        for one in both:
            pool.ask(one)
        for one in both:
            await one.end.wait()
        assert server.open == 2
        await asyncio.sleep(0.07)
        await ask(pool)  # keeps one of them young
        await asyncio.sleep(0.05)
        pool.sweep()
        await asyncio.sleep(0.05)
        assert server.open == 1
        await asyncio.sleep(0.1)
        pool.sweep()
        await asyncio.sleep(0.05)
        assert server.open == 0
        pool.close()

    with FakeOip() as server:
        uvloop.run(go(server))


def test_a_server_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    """At once, and whether to try again (a worker) or to look (a server); readiness falls too."""

    async def go() -> None:
        for address, code, words in (
            (f"unix:{tmp_path / 'none.sock'}", "RP-114", "starting again"),
            ("http://127.0.0.1:1/v2/models/m", "RP-200", "could not be reached"),
        ):
            pool = HttpBackend((address,), "m", connections=1, idle_s=1.0, resend=True)
            done = await ask(pool)
            assert done.failure is not None
            assert done.failure.code == code
            assert words in done.failure.message
            assert await pool.probe() is False
            assert pool.free()
            pool.close()

    uvloop.run(go())


def test_asks_go_to_the_worker_with_the_fewest_and_dead_ones_are_passed_by(tmp_path: Path) -> None:
    """One call a worker; one that hung up is not asked while another is ready."""

    async def go(first: FakeOip, second: FakeOip) -> None:
        pool = backend(first, second, connections=1)
        await pool.probe()
        slow = [Waited(infer(1.0)), Waited(infer(2.0))]
        for one in slow:
            pool.ask(one)
        assert not pool.free()
        for one in slow:
            await one.end.wait()
        assert (len(first.requests), len(second.requests)) == (1, 1)
        dead = first if first.requests else second
        dead.decide = lambda _: Answer(hang_up="middle")
        while dead.open:
            dead.hang_up()
            await asyncio.sleep(0.02)
        dead.ready = False
        await pool.probe()
        for _ in range(5):
            assert (await ask(pool)).status == 200
        assert len(dead.requests) == 1
        assert pool.ready
        pool.close()

    with FakeOip(socket=str(tmp_path / "a")) as one, FakeOip(socket=str(tmp_path / "b")) as two:
        one.decide = two.decide = lambda r: Answer(body=echo(r).body, delay_s=0.05)
        uvloop.run(go(one, two))


def test_a_worker_that_dies_with_a_call_has_it_answered_by_another(tmp_path: Path) -> None:
    """A reused connection closed before any byte: the second try goes where somebody lives."""

    async def go(one: FakeOip, two: FakeOip) -> None:
        pool = backend(one, two, connections=1)
        both = [Waited(infer(1.0)), Waited(infer(2.0))]
        for waited in both:
            pool.ask(waited)
        for waited in both:
            await waited.end.wait()
        one.decide = lambda _: Answer(hang_up="before")
        both = [Waited(infer(1.0)), Waited(infer(2.0))]
        pool.ask(both[0])
        pool.ask(both[1])
        for waited in both:
            await asyncio.wait_for(waited.end.wait(), 5)
        assert sorted(waited.status for waited in both) in ([0, 200], [200, 200])
        assert pool.free()
        pool.close()

    with (
        FakeOip(socket=str(tmp_path / "a")) as first,
        FakeOip(socket=str(tmp_path / "b")) as second,
    ):
        uvloop.run(go(first, second))


def test_an_answer_past_the_bound_is_not_taken() -> None:
    """By what its length says, by its chunks, by what came until the end."""

    async def go(server: FakeOip) -> None:
        pool = backend(server, answer_bytes_max=1000)
        for framing in ("length", "chunked", "eof"):
            server.decide = lambda _, f=framing: Answer(body=b"x" * 1001, framing=f)
            done = await ask(pool)
            assert done.failure is not None, framing
            assert (done.failure.code, "1000 bytes" in done.failure.message) == ("RP-201", True)
            server.decide = lambda _, f=framing: Answer(body=b"x" * 1000, framing=f)
            assert (await ask(pool)).status == 200
        pool.close()

    with FakeOip() as server:
        uvloop.run(go(server))


def test_bytes_that_nobody_asked_for_end_a_connection() -> None:
    """A second answer behind the first could be taken for the next ask's."""

    async def go(server: FakeOip) -> None:
        pool = backend(server)
        two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" * 2
        server.decide = lambda _: Answer(raw=two)
        assert (await ask(pool)).body == b"{}"
        server.decide = echo
        done = await ask(pool, infer(3.0))
        assert b"3.0" in done.body
        assert server.connections == 2
        pool.close()

    with FakeOip() as server:
        uvloop.run(go(server))


def test_an_interim_answer_is_no_answer() -> None:
    """100 Continue says nothing yet."""

    async def go(server: FakeOip) -> None:
        pool = backend(server)
        raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
        server.decide = lambda _: Answer(raw=raw)
        done = await ask(pool)
        assert (done.status, done.body) == (201, b"{}")
        pool.close()

    with FakeOip() as server:
        uvloop.run(go(server))


def test_without_tls_nothing_is_sent_in_the_clear_instead() -> None:
    """An https URL with no TLS set up for it is refused in words."""
    with pytest.raises(RedpollError, match="TLS"):
        HttpBackend(("https://x/v2/models/m",), "m", connections=1, idle_s=1.0, resend=True)

    async def go() -> None:
        done = await ask(Unreachable("No TLS."))
        assert done.failure is not None
        assert done.failure.message == "No TLS."

    asyncio.run(go())


def test_an_ask_that_was_sent_once_is_never_said_to_be_unasked(tmp_path: Path) -> None:
    """A worker dies in a call on a kept connection, and is not there for the second try."""
    path = tmp_path / "w.sock"

    async def go() -> None:
        calls = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                calls += 1
                if calls == 2:
                    path.unlink()
                    writer.close()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        server = await asyncio.start_unix_server(serve, path=path)
        pool = HttpBackend((f"unix:{path}",), "m", connections=1, idle_s=9.0, resend=True)
        try:
            assert (await ask(pool)).status == 200
            failure = (await ask(pool)).failure
        finally:
            pool.close()
            server.close()
        assert failure is not None
        assert (failure.code, calls) == ("RP-200", 2)
        assert "may have been worked on" in failure.message

    uvloop.run(go())
