"""How a child notices that the supervisor is gone, so that it never outlives it.

Two ways, because each has a hole: the kernel's parent-death signal works even while the child is
stuck in C code, but not where the parent died before it was asked for; the end of a pipe whose
other end only the supervisor holds is seen whenever it happened, but only by a running loop.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send us ``number`` when the thread that started us ends (Linux only).

    The default is SIGKILL: what was answered is in the journal already, and a new supervisor can
    only take the port once we are gone.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def pipe() -> tuple[int, int]:
    """Make the supervisor's two ends: (read end, passed to every child; write end, never written to)."""
    return os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)


def watch(loop: asyncio.AbstractEventLoop, fd: int, on_end: Callable[[], None]) -> None:
    """Call ``on_end`` once, on the loop, when the other end of the lifeline is closed.

    ``fd`` is the read end, given by ``--lifeline``; it stays open until then. A negative number
    (nobody supervises us: a test, a hand-started process) watches nothing.
    """
    if fd < 0:
        return
    os.set_blocking(fd, False)

    def readable() -> None:
        try:
            if os.read(fd, 64):
                return  # nobody writes here; whatever it was, the other end lives
        except BlockingIOError:
            return
        except OSError:
            pass  # as good as closed
        loop.remove_reader(fd)
        on_end()

    loop.add_reader(fd, readable)
