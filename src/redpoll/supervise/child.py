"""One run of one child process, and keeping one alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from redpoll.host.process import CHILD_OF
from redpoll.supervise.backoff import Backoff

log = logging.getLogger("redpoll.supervise")

DUMP_S = 0.3  # for a stuck process to write its stacks, after SIGQUIT


class Launch:
    """How a child is started: everything but what changes from run to run."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        root: str,
        environment: Mapping[str, str] | None = None,
        fds: Sequence[int] = (),
        folder: str | None = None,
    ) -> None:
        self.arguments = list(arguments)
        ours = os.environ if environment is None else environment
        self.environment = {**ours, CHILD_OF: root}
        self.fds = tuple(fds)
        self.folder = folder


class Run:
    """One process, from its start to its end. ``on_exit`` gets the exit status (−signal)."""

    def __init__(
        self,
        launch: Launch,
        on_exit: Callable[[int], None],
        *,
        stdin: int = subprocess.DEVNULL,
        stderr: int | None = None,
    ) -> None:
        # Its own session: a Ctrl-C at the terminal reaches us alone, and its whole group can be
        # ended with it.
        self._popen = subprocess.Popen(
            launch.arguments,
            env=launch.environment,
            cwd=launch.folder,
            stdin=stdin,
            stdout=stderr,
            stderr=stderr,
            pass_fds=launch.fds,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self.started_s = self._loop.time()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._popen.kill()  # nobody would notice its end
            self._popen.wait()
            raise
        self._ended = asyncio.Event()
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    def signal(self, number: int) -> None:
        """Send it a signal; nothing where it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, to it and to all that it started in its session."""
        if self.running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM; after the grace its stacks to stderr and SIGKILL. Returns when it has ended."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), grace_s)
        except TimeoutError:
            await self.dump_and_kill()

    async def dump_and_kill(self) -> None:
        """For a process that is stuck: SIGQUIT (its stacks go to stderr), then SIGKILL."""
        self.signal(signal.SIGQUIT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), DUMP_S)
        self.kill()
        await self._ended.wait()

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        # It is a zombie still, so its number cannot be another's yet: end what it left behind.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self._popen.wait()
        os.close(self._pidfd)
        self._ended.set()
        self._on_exit(status)


class Keeper:
    """Keeps one of redpoll's own processes running until it is stopped."""

    def __init__(self, name: str, launch: Launch, changed: Callable[[], None]) -> None:
        self.name = name
        self._launch = launch
        self._changed = changed
        self._backoff = Backoff()
        self._run: Run | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._run.pid if self._run is not None and self._run.running else None

    def start(self) -> None:
        """Start it (again)."""
        self._timer = None
        try:
            self._run = Run(self._launch, self._exited)
        except OSError as error:
            log.error("%s could not be started: %s", self.name, error)
            self._again(0.0)
            return
        log.debug("%s started (pid %d)", self.name, self._run.pid)
        self._changed()

    def signal(self, number: int) -> None:
        """Send the running process a signal."""
        if self._run is not None:
            self._run.signal(number)

    def kill(self) -> None:
        """End it at once and for good."""
        self._end()
        if self._run is not None:
            self._run.kill()

    async def stop(self, grace_s: float) -> None:
        """End it in order, at the latest after the grace, and keep it ended."""
        self._end()
        if self._run is not None:
            await self._run.stop(grace_s)

    def _end(self) -> None:
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()

    def _exited(self, status: int) -> None:
        assert self._run is not None
        self._changed()
        if self._stopping:
            log.debug("%s ended: %s", self.name, how(status))
            return
        lived_s = asyncio.get_running_loop().time() - self._run.started_s
        log.warning("%s (pid %d) died: %s", self.name, self._run.pid, how(status))
        self._again(lived_s)

    def _again(self, lived_s: float) -> None:
        self.restarts += 1
        delay_s = self._backoff.died(lived_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.start)


def how(status: int) -> str:
    """An exit status in words: ``exit status 3``, ``killed by SIGKILL``."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
