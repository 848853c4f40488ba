"""One worker, kept running: started, found ready or stuck, started again when it died."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redpoll.backends.start import interpreter
from redpoll.host.paths import DataDir
from redpoll.host.process import private_folder
from redpoll.supervise.backoff import Backoff
from redpoll.supervise.wanted import Want
from redpoll.supervise.worker_process import WorkerProcess

log = logging.getLogger("redpoll.supervise")

GRACE_S = 5.0  # beyond its time-out, for a worker to finish its call when it is to end
LOOK_S = 0.25  # between looks at a worker's memory
RUNAWAY = 1.25  # times its limit: no call is waited for
_serial = itertools.count()


class Worker:
    """The worker of one :class:`Want`. ``tell`` hears of start, ready, stop, crash and of changes.

    It listens under a temporary name, which is renamed over the real one when the model is loaded:
    until then connecting fails at once (or reaches the predecessor) rather than waiting.
    """

    def __init__(
        self, want: Want, data: DataDir, lifeline: int, tell: Callable[[Worker, str, str], None]
    ) -> None:
        self.want = want
        self.state = "starting"  # starting | ready | backoff | stopped
        self.restarts = 0
        self.fingerprint = ""
        self.environment: dict[str, str] = {}
        self.detail = ""
        self._since_us = time.time_ns() // 1000
        self._last_exit: str | None = None
        self._stderr = data.stderr(want.model, want.version.name, want.index)
        self._root = data.root
        self._lifeline = lifeline
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff()
        self._process: WorkerProcess | None = None
        self._started_s = self._ready_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._hung = ""  # why we end a process that hangs
        self._failed = ""  # why it could not load, in its own words
        self._look_s = 0.0  # when its memory is looked at next
        self._retired = False  # not to be started again
        self._stopping = False
        self._temporary = ""
        self._has_name = False  # the real name leads to us

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.run.pid if self._process is not None else None

    def start(self) -> None:
        """Start a process; what goes wrong at once counts as a death."""
        self._timer = None
        self._hung = self._failed = ""
        self._started_s, self._ready_s = self._loop.time(), 0.0
        self._temporary = f"{self.want.socket}.{next(_serial) % 10_000}"
        try:
            _folder_for(self.want.socket, self._root)
            self._process = WorkerProcess(
                self.want,
                socket=self._temporary,
                root=str(self._root),
                lifeline=self._lifeline,
                stderr=self._stderr,
                on_report=self._reported,
                on_exit=self._exited,
            )
        except Exception as error:  # no such interpreter, no more processes, a full disk …
            self._last_exit = f"{interpreter(self.want.version)} could not be started: {error}"
            self._died(self._last_exit)
            return
        self._set("starting", "")

    def check(self) -> None:
        """Look after it, several times a second: whether it is late, or stuck in a call."""
        process, version = self._process, self.want.version
        if process is None or self._stopping:
            return
        if version.memory_bytes is not None:
            self._check_memory(process, version.memory_bytes)
        if self._hung:
            return
        if self.state == "starting":
            if self._loop.time() - self._started_s > version.load_s:
                self._replace(process, f"did not become ready within {version.load_s:g} s (load)")
        elif process.call_s > self.want.stuck_s:
            limit = f"{version.timeout_ms} ms time-out and {version.kill_after_s:g} s kill_after"
            self._replace(process, f"was stuck in one call for longer than {limit}")

    def _check_memory(self, process: WorkerProcess, limit: int) -> None:
        """End it once it uses more than it may: after its call, or at once where it grows on."""
        now_s = self._loop.time()
        if now_s < self._look_s:
            return
        self._look_s = now_s + LOOK_S
        used = process.rss_bytes
        if used > limit and not self._hung:
            self._hung = f"used {_mib(used)}, more than its `memory` of {_mib(limit)}"
            process.note(self._hung)
            grace_s = self.want.version.timeout_ms / 1000 + GRACE_S
            self._drop_name()  # the next request goes to another worker, or to its successor
            self._replacing = self._loop.create_task(process.run.stop(grace_s))
        if used > limit * RUNAWAY:
            process.run.kill()

    def retire(self) -> None:
        """Serve on, but do not start again: a successor is on its way."""
        self._retired = True
        self._cancel()

    def hand_over(self) -> None:
        """The real name leads to the successor now."""
        self._has_name = False

    def kill(self) -> None:
        """End it at once, in whichever state."""
        self._retired = self._stopping = True
        self._cancel()
        if self._process is not None:
            self._process.run.kill()

    async def stop(self, why: str) -> None:
        """End it for good: the call that runs is finished, within bounds."""
        self._retired = self._stopping = True
        self._cancel()
        self._drop_name()
        if self._process is not None:
            await self._process.run.stop(self.want.version.timeout_ms / 1000 + GRACE_S)
        if self.state != "stopped":
            self._set("stopped", why)
            self._tell(self, "stop", why)

    def view(self) -> dict[str, Any]:
        """Its entry in ``workers.json``."""
        return {
            "model": self.want.model,
            "version": self.want.version.name,
            "index": self.want.index,
            "pid": self.pid,
            "state": self.state,
            "restarts": self.restarts,
            "since_us": self._since_us,
            "last_exit": self._last_exit,
            "socket": self.want.socket,
            "stderr": str(self._stderr),
            "detail": self.detail,
            "fingerprint": self.fingerprint,
        }

    def _reported(self, said: dict[str, Any]) -> None:
        """A report of the process: started, loaded, failed to load, ready."""
        event = said.get("event")
        self.environment = said.get("environment") or self.environment
        if event == "start":
            self.fingerprint = said["fingerprint"]
            self._tell(self, "start", f"pid {self.pid}")
        elif event == "failed":
            self._failed = said["error"]
        elif event == "ready" and not self._stopping:
            Path(self._temporary).replace(self.want.socket)
            self._has_name = True
            self._ready_s = self._loop.time()
            self._set("ready", "")
            self._tell(self, "ready", f"pid {self.pid}")

    def _replace(self, process: WorkerProcess, why: str) -> None:
        """It hangs: have it show where, and end it; its end starts the next one."""
        self._hung = why
        process.note(why)
        self._replacing = self._loop.create_task(process.run.dump_and_kill())

    def _exited(self, status: int, words: str) -> None:
        """It has ended, whyever."""
        self._process = None
        self._last_exit = words
        _unlink(self._temporary)
        self._drop_name()
        if self._stopping:
            return  # stop() says so
        if self._retired:
            self._set("stopped", words)
            self._tell(self, "crash" if status else "stop", words)
            return
        self._died(f"{self._hung}; {words}" if self._hung else self._failed or words)

    def _died(self, why: str) -> None:
        healthy_s = self._loop.time() - self._ready_s if self._ready_s else 0.0
        delay_s = self._backoff.died(healthy_s)
        self.restarts += 1
        self._last_exit = why
        self._timer = self._loop.call_later(delay_s, self.start)
        self._set("backoff", why)
        self._tell(self, "crash", why)
        log.warning("worker %s died: %s; again in %.1f s", self.want.key, why, delay_s)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop_name(self) -> None:
        if self._has_name:
            self._has_name = False
            _unlink(self.want.socket)

    def _set(self, state: str, detail: str) -> None:
        self.state, self.detail = state, detail
        self._since_us = time.time_ns() // 1000
        self._tell(self, "state", detail)


def _folder_for(socket: str, root: Path) -> None:
    """The folder of a socket; one outside the data folder must be ours alone."""
    folder = Path(socket).parent
    if folder.is_relative_to(root):
        folder.mkdir(parents=True, exist_ok=True)
    else:
        private_folder(folder)


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()
