"""``redpoll serve``: takes the folder's lock and the sockets, starts the children, ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

import redpoll
from redpoll import config as configuration
from redpoll.catalog import Config
from redpoll.errors import RedpollError
from redpoll.host import lifeline, lock, logs, reserve, tls
from redpoll.host.counters import Counters
from redpoll.host.paths import DataDir, replace
from redpoll.host.process import alive, left_behind
from redpoll.host.tokens import check_reach
from redpoll.journal.files import GroupSync, Journal
from redpoll.store.known import kept_in
from redpoll.supervise import sockets
from redpoll.supervise.child import Keeper
from redpoll.supervise.exporter import Exporter
from redpoll.supervise.pool import Pool
from redpoll.supervise.services import launches
from redpoll.supervise.telling import Teller
from redpoll.supervise.usage import Usage

log = logging.getLogger("redpoll.supervise")

STOP_S = 10.0  # for control and sealer to end in order
PATIENCE_S = 3.0  # for the ports of a killed server to become free
READY_S = 60.0
READY_EVERY_S = 0.1
ORDER = ("control", "gateway", "sealer")


def serve(config: Config | Path | str) -> int:
    """Serve what a configuration says until SIGTERM or SIGINT; returns the exit status.

    ``config`` may be a path. Raises ``RedpollError``: RP-001 (configuration), RP-301 (another
    server has the folder), RP-607 (an address is taken).
    """
    if not isinstance(config, Config):
        config = configuration.load(config, stored=_kept_in)
    server = config.server
    logs.setup(server.log_level, server.log_format, "serve")
    wanted = {"data": server.data, "control": server.control}
    if server.metrics is not None:
        wanted["metrics"] = server.metrics
    check_reach({f"server.{key}": where for key, where in wanted.items()}, server.tokens_file)
    data = _folder(config)
    with lock.acquire(data.lock), contextlib.ExitStack() as stack:
        sweep(data)
        listening = {
            key: stack.enter_context(sockets.listen(address, key, patience_s=PATIENCE_S))
            for key, address in wanted.items()
        }
        return asyncio.run(_serve(config, data, listening))


def _kept_in(data_dir: str) -> set[tuple[str, str]]:
    """What the catalog keeps; where the disk is full, with room for opening it."""
    reserve.release_if_full(DataDir(data_dir))
    return kept_in(data_dir)


def _folder(config: Config) -> DataDir:
    """The data folder, made where it is missing; RP-300 where the disk refuses."""
    try:
        return DataDir(config.data_dir).make()
    except OSError as error:
        raise RedpollError(
            "RP-300",
            f"The data folder {config.data_dir} could not be made: {error}; see to the disk and the"
            " rights there, or set another data_dir.",
        ) from error


async def _serve(config: Config, data: DataDir, listening: dict[str, socket.socket]) -> int:
    metrics = listening.get("metrics")
    return await Supervisor(config, data, listening["data"], listening["control"], metrics).run()


def sweep(data: DataDir) -> None:
    """End what a killed server left on this folder. The folder's lock must be held."""
    end = time.monotonic() + PATIENCE_S
    pids = left_behind(data.root)
    for pid in pids:
        log.warning("process %d is left of a server that was killed; it is ended", pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.01)
    for path in data.run.glob("*.sock*"):
        path.unlink(missing_ok=True)


class Supervisor:
    """Everything that runs while ``redpoll serve`` runs."""

    def __init__(
        self,
        config: Config,
        data: DataDir,
        data_socket: socket.socket,
        control_socket: socket.socket,
        metrics_socket: socket.socket | None = None,
    ) -> None:
        self._config = config
        self._data = data
        self._sockets = (data_socket, control_socket)
        self._addresses = (sockets.name(data_socket), sockets.name(control_socket))
        self._metrics_at = None if metrics_socket is None else sockets.name(metrics_socket)
        self._exporter = Exporter(data.metrics, metrics_socket) if metrics_socket else None
        server = config.server
        if server.tls_cert and server.tls_key:
            tls.serving(server.tls_cert, server.tls_key)  # said now, rather than by each child
        self._started_us = time.time_ns() // 1000
        self._loop = asyncio.get_running_loop()
        self._lifeline, self._lifeline_end = lifeline.pipe()
        self._counters = Counters("supervise", data.metrics)
        self._writer = Journal(data.root).open("supervise", patient=True)
        self._sync = GroupSync(self._writer)
        self._teller = Teller(self._writer)
        self._pool = Pool(data, self._lifeline, self._teller, self._counters)
        self._keepers = {
            name: Keeper(name, launch, self._say_where)
            for name, launch in launches(
                data,
                Path(config.path),
                data_socket.fileno(),
                control_socket.fileno(),
                self._lifeline,
            ).items()
        }
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        """Start all, wait for a signal, end all; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signalled, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._reapply)
        self._say_where()
        if self._exporter is not None:
            await self._exporter.start()
        self._sync.start(self._loop)
        self._pool.start()
        for name in ORDER:
            self._keepers[name].start()
        chores = [self._loop.create_task(self._count()), self._loop.create_task(self._announce())]
        await self._ending.wait()
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        status = await self._end()
        if self._exporter is not None:
            self._exporter.stop()
        self._sync.stop()
        try:
            self._teller.flush()
            self._writer.close()
        except RedpollError as error:
            log.error("%s; what was not written yet is lost", error)
        with contextlib.suppress(OSError):
            self._counters.save()
        self._data.server.unlink(missing_ok=True)
        log.info("ended")
        return status

    async def _end(self) -> int:
        """Gateway, workers, control, sealer, each in order; a second signal kills them all."""
        orderly = self._loop.create_task(self._drain())
        hurry = self._loop.create_task(self._hurry.wait())
        await asyncio.wait({orderly, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if self._hurry.is_set():
            self._pool.kill()
            for keeper in self._keepers.values():
                keeper.kill()
        await orderly
        return 1 if self._hurry.is_set() else 0

    async def _drain(self) -> None:
        await self._keepers["gateway"].stop(self._config.server.drain_s + 2.0)
        self._sockets[0].close()
        await self._pool.stop()
        await self._keepers["control"].stop(STOP_S)
        self._sockets[1].close()
        await self._keepers["sealer"].stop(STOP_S)

    def _signalled(self, number: int) -> None:
        if self._ending.is_set():
            log.warning("a second signal: everything is killed")
            self._hurry.set()
            return
        name = signal.Signals(number).name
        log.info("%s: draining; the gateway has %g s", name, self._config.server.drain_s)
        self._ending.set()

    def _reapply(self) -> None:
        log.info("SIGHUP: %s is applied again", self._config.path)
        self._keepers["control"].signal(signal.SIGHUP)

    def _say_where(self) -> None:
        """Write ``run/server.json``: what a CLI and the children need to know."""
        said = {
            "data": self._addresses[0],
            "control": self._addresses[1],
            "metrics": self._metrics_at,
            "pid": os.getpid(),
            "pids": {name: keeper.pid for name, keeper in self._keepers.items()},
            "restarts": {name: keeper.restarts for name, keeper in self._keepers.items()},
            "config": self._config.path,
            "started_us": self._started_us,
            "version": redpoll.__version__,
            "scheme": self._config.server.scheme,
            "server": msgspec.to_builtins(self._config.server),
        }
        try:
            replace(self._data.server, json.dumps(said).encode())
        except OSError as error:
            log.error("%s could not be written: %s", self._data.server, error)

    async def _count(self) -> None:
        """Once a second: rename all numbers into place, and see to room for what must be said."""
        usage = Usage(self._counters)
        while True:
            self._teller.flush()
            try:
                usage.look(self._pool.pids())
                reserve.keep(self._data)
                self._counters.save()
            except OSError as error:
                log.error("our numbers could not be written: %s", error)
            await asyncio.sleep(1.0)

    async def _announce(self) -> None:
        """Say once that gateway and control answer, and once that every live version does."""
        data, control = self._addresses
        end = self._loop.time() + READY_S
        waiting = {"the gateway": (data, "/readyz"), "control": (control, "/healthz")}
        while waiting:
            for name, (address, path) in list(waiting.items()):
                if await _answers(address, path, self._config.server.tls_cert):
                    del waiting[name]
            if self._loop.time() > end:
                log.error("%s did not answer within %g s", " and ".join(waiting), READY_S)
                end = float("inf")
            await asyncio.sleep(0.05 if waiting else 0)
        scheme, cert = self._config.server.scheme, self._config.server.tls_cert
        self._say(f"redpoll is up: data {scheme}://{data}, console {scheme}://{control}")
        end = self._loop.time() + READY_S
        while not await _answers(data, "/v2/health/ready", cert):
            if self._loop.time() > end:
                log.error("not every live version answers yet; `redpoll status` says which and why")
                end = float("inf")
            await asyncio.sleep(READY_EVERY_S)
        self._say("redpoll is ready: every live version answers")

    def _say(self, sentence: str) -> None:
        """A line for whoever started it."""
        if self._config.server.log_format == "json":
            log.info("%s", sentence)
        else:
            print(sentence, file=sys.stderr, flush=True)


async def _answers(address: str, path: str, cert: str | None) -> bool:
    """Whether ``GET path`` is answered with 200 within a second."""
    host, port = sockets.split(address)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls.trusting(cert) if cert else None
            )
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
                )
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
