"""The control plane on a real socket, in a thread, over a control that tells one night."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from redpoll.catalog import Server
from redpoll.clock import SimClock
from redpoll.testing.fake_control import FakeControl
from redpoll.web.app import create_app


class Serving:
    """A running server. ``do`` runs something on its loop and returns what it returned."""

    def __init__(self, control: FakeControl | None = None, port: int = 0) -> None:
        self.control = control or FakeControl()
        self.clock = SimClock(self.control.now_us)
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.app = create_app(self.control, Server(), clock=self.clock)
        config = uvicorn.Config(
            self.app, log_config=None, access_log=False, http="h11", ws="none", lifespan="on",
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        task = asyncio.create_task(self.server.serve(sockets=[self.socket]))
        while not self.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        self._ready.set()
        await task

    def start(self) -> Serving:
        """Return when it answers."""
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def do(self, what: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Run ``what`` on the server's loop."""

        async def run() -> Any:
            found = what(*args, **more)
            return await found if asyncio.iscoroutine(found) else found

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def stop(self) -> None:
        """As a shutdown does: streams end first."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self.do(self._stop)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the server did not end"
        self.socket.close()

    def _stop(self) -> None:
        self.app.state.hub.close()
        self.server.should_exit = True


@contextlib.contextmanager
def serving(**more: Any) -> Iterator[Serving]:
    """A server for the length of a ``with``."""
    server = Serving(**more).start()
    try:
        yield server
    finally:
        server.stop()
