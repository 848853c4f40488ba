"""``python -m redpoll.web.controlplane``: the process that decides, with its API and console.

It gets its listening socket from the supervisor, so that a restart loses no connection attempt.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn
import uvloop

from redpoll.catalog import Server
from redpoll.control.service import Control
from redpoll.errors import RedpollError
from redpoll.host import lifeline, logs, tls
from redpoll.host.paths import DataDir
from redpoll.host.tokens import Tokens, check_reach
from redpoll.journal.files import Journal
from redpoll.store.sqlite import SqliteStore
from redpoll.web import applying
from redpoll.web.app import create_app
from redpoll.web.malformed import Protocol

log = logging.getLogger("redpoll.control")

HEADER_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 512
GRACE_S = 5


async def _renew(files: tls.Renewed) -> None:
    """Look for a renewed certificate once a second."""
    while True:
        await asyncio.sleep(1.0)
        files.check()


class _Serve(uvicorn.Server):
    """uvicorn that leaves signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours are set already; uvicorn's would raise the signal again at the end."""
        yield


def server_of(data: DataDir) -> Server:
    """``[server]`` as the supervisor runs with it; defaults where nobody wrote it."""
    try:
        said = msgspec.json.decode(data.server.read_bytes())
        return msgspec.convert(said["server"], Server)
    except (OSError, KeyError, msgspec.MsgspecError):
        return Server()


class Applier:
    """Applies the file, one time after another."""

    def __init__(self, control: Control, path: Path) -> None:
        self.control = control
        self.path = path
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def apply(self) -> None:
        """Apply it now; a bad file is logged with all its errors, and what was applied stays."""
        async with self._lock:
            try:
                config = await applying.load(self.control, self.path)
                for line in await self.control.apply(config, actor=self.path.name):
                    log.info("%s", line.sentence)
            except RedpollError as error:
                for problem in getattr(error, "problems", ()):
                    log.error("%s", problem)
                log.error("%s was not applied; what was applied before stays: %s", self.path, error)
            except Exception:  # a mistake here must not end rollouts that run
                log.exception("%s was not applied; what was applied before stays", self.path)

    def again(self) -> None:
        """Apply it soon (SIGHUP)."""
        task = asyncio.get_running_loop().create_task(self.apply())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def run(arguments: argparse.Namespace) -> None:
    """Everything, until SIGTERM, or until the supervisor is gone."""
    loop = asyncio.get_running_loop()
    data = DataDir(arguments.data_dir).make()
    server = server_of(data)
    logs.setup(server.log_level, server.log_format, "control")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    check_reach({"server.control": server.control}, server.tokens_file)
    tokens = Tokens(server.tokens_file) if server.tokens_file else None
    control = Control(data, Journal(data.root), SqliteStore(data.catalog))
    await control.start(hold=bool(arguments.config))
    app = create_app(control, server, tokens=tokens)
    cert, key, renewing = server.tls_cert, server.tls_key, None
    config = uvicorn.Config(
        app,
        loop="none",
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
    )
    config.load()
    if cert and key:
        config.ssl = tls.serving(cert, key)
        renewing = loop.create_task(_renew(tls.Renewed(config.ssl, cert, key)))
    web = _Serve(config)

    def stop() -> None:
        app.state.hub.close()
        web.should_exit = True

    applier = Applier(control, Path(arguments.config)) if arguments.config else None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if applier:
        loop.add_signal_handler(signal.SIGHUP, applier.again)
    lifeline.watch(loop, arguments.lifeline, stop)
    if applier:  # who connects meanwhile waits in the listener's queue for a true answer
        await applier.apply()
        control.release()
    try:
        await web.serve(sockets=[socket.socket(fileno=arguments.fd)])
    finally:
        if renewing is not None:
            renewing.cancel()
        await control.stop()


def main() -> None:
    """Read the arguments and run on uvloop."""
    parser = argparse.ArgumentParser(prog="python -m redpoll.web.controlplane")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--fd", type=int, required=True, help="a listening socket")
    parser.add_argument("--config", default="", help="applied at the start and on SIGHUP")
    parser.add_argument("--lifeline", type=int, default=-1, help="ends us when it is closed")
    arguments = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the file is read, which is soon
    lifeline.die_with_parent()
    try:
        uvloop.run(run(arguments))
    except RedpollError as error:
        log.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
