"""One process of a worker, and the ways in which it is heard.

Its spec goes in on stdin; stderr comes out into a bounded file; reports (JSON lines) come out of a
pipe; the status page is memory that both see. See :mod:`redpoll.backends.worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redpoll.backends.start import PROGRAM, environment, interpreter
from redpoll.clock import iso
from redpoll.supervise.child import Launch, Run, how
from redpoll.supervise.stderr import BoundedFile, Pump
from redpoll.supervise.wanted import Want

SAYS_NOTHING = (0, -signal.SIGKILL, -signal.SIGTERM)  # exit statuses
PAGE = struct.Struct("<QQQQ")  # state, call since (CLOCK_MONOTONIC ns, 0: none), calls, errors


class WorkerProcess:
    """Starts at once. ``on_report`` gets each report, ``on_exit`` how it ended, in words."""

    def __init__(
        self,
        want: Want,
        *,
        socket: str,
        root: str,
        lifeline: int,
        stderr: Path,
        on_report: Callable[[dict[str, Any]], None],
        on_exit: Callable[[int, str], None],
    ) -> None:
        self._want = want
        self._on_report = on_report
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._partial = b""
        self._open: list[int] = []
        self._file = BoundedFile(stderr)
        try:
            self._page = self._start(socket, root, lifeline)
        except BaseException:
            for fd in self._open:
                with contextlib.suppress(OSError):
                    os.close(fd)
            self._file.close()
            raise
        self.note(f"started (pid {self.run.pid})")

    def _start(self, socket: str, root: str, lifeline: int) -> mmap.mmap:
        page = os.memfd_create("redpoll-page", os.MFD_CLOEXEC)
        self._open.append(page)
        os.ftruncate(page, mmap.PAGESIZE)
        memory = mmap.mmap(page, mmap.PAGESIZE)
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        self._open += [fd for pair in pipes for fd in pair]
        (spec, spec_in), (errors, errors_in), (report, report_in) = pipes
        arguments = [interpreter(self._want.version), str(PROGRAM), "--spec", "-"]
        arguments += ["--socket", socket, "--lifeline", str(lifeline)]
        arguments += ["--report", str(report_in), "--page", str(page)]
        launch = Launch(
            arguments,
            root=root,
            environment=environment(self._want.version, os.environ),
            fds=(lifeline, report_in, page),
        )
        self.run = Run(launch, self._exited, stdin=spec, stderr=errors_in)
        for fd in (page, spec, errors_in, report_in):
            os.close(fd)
        self._open.clear()
        _feed(self._loop, spec_in, self._want.spec.encode())
        self._pump = Pump(self._loop, errors, self._file)
        self._report = report
        os.set_blocking(report, False)
        self._loop.add_reader(report, self._read_report)
        return memory

    @property
    def call_s(self) -> float:
        """How long the call that runs now has taken; 0 where none runs."""
        began_ns: int = PAGE.unpack_from(self._page, 0)[1]
        return (time.monotonic_ns() - began_ns) / 1e9 if began_ns else 0.0

    @property
    def rss_bytes(self) -> int:
        """What it has in memory now, without what it started; 0 where it has ended."""
        try:
            with open(f"/proc/{self.run.pid}/statm", "rb") as file:  # noqa: PTH123
                return int(file.read().split()[1]) * mmap.PAGESIZE
        except (OSError, IndexError, ValueError):
            return 0

    def note(self, text: str) -> None:
        """Put a line of ours between those of the worker."""
        moment = iso(time.time_ns() // 1000)
        self._file.write(f"{moment} redpoll: worker {self._want.key} {text}\n".encode())

    def _read_report(self) -> None:
        while self._report >= 0:
            try:
                data = os.read(self._report, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(self._report)
                os.close(self._report)
                self._report = -1
                return
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._on_report(json.loads(line))

    def _exited(self, status: int) -> None:
        self._pump.close()
        self._read_report()
        if self._report >= 0:  # something that left the group holds the other end
            self._loop.remove_reader(self._report)
            os.close(self._report)
            self._report = -1
        self._page.close()
        words = how(status)
        self.note(f"ended: {words}")
        self._file.close()
        # Who is killed from outside has no last words: whatever it said was about something else.
        last = self._pump.last_line if status not in SAYS_NOTHING else ""
        self._on_exit(status, f"{words}: {last}" if last else words)


def _feed(loop: asyncio.AbstractEventLoop, pipe: int, data: bytes) -> None:
    """Write all of it into a pipe as its reader takes it, then close; the reader may die."""
    os.set_blocking(pipe, False)
    rest = memoryview(data)

    def writable() -> None:
        nonlocal rest
        try:
            rest = rest[os.write(pipe, rest) :]
        except BlockingIOError:
            return
        except OSError:
            rest = rest[:0]
        if not rest:
            loop.remove_writer(pipe)
            os.close(pipe)

    loop.add_writer(pipe, writable)
