"""``python -m redpoll.web.dataplane``: the process that stands in the way of every request.

It gets its listening socket from the supervisor, so that a restart loses no connection attempt;
without one it binds ``server.data`` itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from redpoll.catalog import Server
from redpoll.errors import RedpollError
from redpoll.gateway.gateway import Gateway
from redpoll.gateway.table import RouteTable
from redpoll.host import lifeline, logs, tls
from redpoll.host.counters import Counters
from redpoll.host.paths import DataDir
from redpoll.host.tokens import Tokens, check_reach
from redpoll.journal.files import FileJournal, GroupSync
from redpoll.web.clients import Clients
from redpoll.web.plane import DataPlane

log = logging.getLogger("redpoll.gateway")

PROCESS = "gateway"
BACKLOG = 4096
SWEEP_S = 0.25
SAVE_S = 1.0
LAST_REPLIES_S = 1.0  # for replies that are written but not read yet


class _Said(msgspec.Struct):
    server: Server = Server()


def server_of(data: DataDir) -> Server:
    """``[server]`` as the supervisor runs with it; defaults where nobody wrote it."""
    try:
        return msgspec.json.decode(data.server.read_bytes(), type=_Said).server
    except (OSError, msgspec.MsgspecError):
        return Server()


class Process:
    """Everything of one gateway process, put together."""

    def __init__(self, data: DataDir, server: Server, listener: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        self._server = server
        self._listener = listener
        self.counters = Counters(PROCESS, data.metrics)
        serve = server.on_journal_failure == "serve"
        self.writer = FileJournal(data).open(PROCESS, patient=True)
        self.sync = GroupSync(self.writer)
        self.gateway = Gateway(
            self.loop, self.writer, self.counters, server.limits, serve_unjournalled=serve
        )
        self.table = RouteTable(self.gateway, data.routes, PROCESS)
        tokens = Tokens(server.tokens_file) if server.tokens_file is not None else None
        self.plane = DataPlane(
            self.gateway, self.table, server.limits, data.metrics, tokens, server.origins
        )
        self.clients = Clients(self.plane, self.loop)
        self._end = asyncio.Event()
        self._tls: tls.Renewed | None = None

    async def run(self) -> None:
        """Serve until told to stop; then finish what was begun, within ``drain``."""
        self.sync.start(self.loop)
        self.table.start()
        self._sweep()
        self._save()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._end.set)
        # The first beat is on disk: whoever folds the journal knows of us before we accept.
        context = None
        cert, key = self._server.tls_cert, self._server.tls_key
        if cert and key:
            context = tls.serving(cert, key)
            self._tls = tls.Renewed(context, cert, key)
        listening = await self.loop.create_server(
            self.clients.connect, sock=self._listener, backlog=BACKLOG, ssl=context
        )
        log.info("listening on %s", url_of(self._listener.getsockname(), self._server.scheme))
        await self._end.wait()
        await self._drain()
        listening.close()
        self.table.stop()
        self.sync.stop()
        self._save(last=True)
        try:
            self.writer.close()
        except RedpollError as error:
            log.error("%s; what was not written yet is lost", error)

    async def _drain(self) -> None:
        """Not ready, no new calls, kept connections closed; calls under way are finished."""
        log.info("draining, %d requests under way", self.gateway.taken)
        self.plane.closing = self.gateway.draining = True
        self.clients.close_idle()
        if self.gateway.taken:
            try:
                await asyncio.wait_for(self.gateway.drained.wait(), self._server.drain_s)
            except TimeoutError:
                self.gateway.deadlines.expire_all()
        end = self.loop.time() + LAST_REPLIES_S
        while self.clients.connections and self.loop.time() < end:
            await asyncio.sleep(0.01)
            self.clients.close_idle()

    def _sweep(self) -> None:
        self.loop.call_later(SWEEP_S, self._sweep)
        self.clients.sweep()
        self.counters.set("redpoll_reading_bytes", (PROCESS,), self.clients.held.total)
        self.counters.set("redpoll_connections", (PROCESS,), len(self.clients.connections))
        self.counters.set("redpoll_journal_unsynced_seconds", (PROCESS,), self.sync.behind_s)
        self.counters.set("redpoll_clock_held_seconds", (PROCESS,), self.writer.held_now_us / 1e6)

    def _save(self, last: bool = False) -> None:
        if not last:
            self.loop.call_later(SAVE_S, self._save)
        if self._tls is not None:
            self._tls.check()
        try:
            self.counters.save()
        except OSError as error:
            log.error("the counters could not be saved: %s", error)


def url_of(address: tuple[str | int, ...], scheme: str = "http") -> str:
    """An address of ``getsockname`` as people open it: ``http://127.0.0.1:8080``, ``http://[::1]:8080``."""
    host, port = str(address[0]), address[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _listener(fd: int | None, server: Server) -> socket.socket:
    if fd is not None:
        listener = socket.socket(fileno=fd)
    else:
        host, _, port = server.data.rpartition(":")
        host = host.strip("[]")
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, int(port)))
        except (OSError, ValueError, OverflowError) as error:
            listener.close()
            raise RedpollError(
                "RP-607",
                f"redpoll cannot listen on {server.data!r}: {error}; set server.data to a free "
                'address such as "127.0.0.1:8080".',
            ) from None
    listener.setblocking(False)
    return listener


def _raise_file_limit() -> None:
    """A connection is a descriptor: take as many as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(arguments: argparse.Namespace, data: DataDir, server: Server) -> None:
    process = Process(data, server, _listener(arguments.fd, server))
    lifeline.watch(process.loop, arguments.lifeline, _die)
    gc.collect()
    gc.freeze()  # what stands now stays: the collector need not look at it again
    gc.set_threshold(20_000, 50, 100)
    await process.run()


def _die() -> None:
    """The supervisor is gone. What was answered is in the journal; nothing else matters."""
    sys.stderr.write("redpoll gateway: the supervisor is gone\n")
    sys.stderr.flush()
    signal.raise_signal(signal.SIGKILL)


def main(argv: list[str] | None = None) -> int:
    """Run the gateway process."""
    parser = argparse.ArgumentParser(prog="redpoll.web.dataplane")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--fd", type=int, help="the listening socket, open already")
    parser.add_argument("--lifeline", type=int, default=-1, help="ends with this pipe")
    arguments = parser.parse_args(argv)
    if arguments.lifeline >= 0:
        lifeline.die_with_parent()
    data = DataDir(arguments.data_dir).make()
    server = server_of(data)
    logs.setup(server.log_level, server.log_format, PROCESS)
    _raise_file_limit()
    try:
        check_reach({"server.data": server.data}, server.tokens_file)
        uvloop.run(_serve(arguments, data, server))
    except RedpollError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
