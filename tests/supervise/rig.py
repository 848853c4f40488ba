"""A pool of real workers on an event loop, with a route table that the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from redpoll import routes
from redpoll.catalog import Model, Version
from redpoll.facts import Deploy
from redpoll.host.counters import Counters
from redpoll.host.paths import DataDir, replace
from redpoll.journal.memory import MemoryJournal
from redpoll.routes import Route, Table, Target
from redpoll.supervise.pool import Pool
from redpoll.supervise.telling import Teller

TIMEOUT_S = 15.0


DECLARATION = "d0"  # of what the model says of its requests; any word does here


class Rig:
    """``write`` a module, ``want`` versions, look at ``state`` and ``deploys``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = DataDir(folder / "data").make()
        self.journal = MemoryJournal()
        self._lifeline, self._end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.writer = self.journal.open("supervise")
        self.counters = Counters("supervise", self.data.metrics)
        self.pool = Pool(self.data, self._lifeline, Teller(self.writer), self.counters)

    def write(self, source: str, name: str = "code_a") -> None:
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))

    def version(self, name: str = "v1", module: str = "code_a", **more: Any) -> Version:
        backend = f"python:{module}:load"
        return Version(name=name, backend=backend, folder=str(self.folder), **more)

    def want(self, *versions: Version, stopped: Iterable[str] = (), **model: Any) -> None:
        """Publish a route table in which these versions run."""
        targets = {
            version.name: Target(
                version=version,
                addresses=tuple(
                    f"unix:{self.data.socket(1, version.name, index, DECLARATION)}"
                    for index in range(version.workers)
                ),
                run=version.name not in stopped,
            )
            for version in versions
        }
        found = Model(name="m", versions=versions, **model)
        route = Route(model=found, number=1, generation=1, targets=targets)
        replace(self.data.routes, routes.encode(Table(routes={"m": route})))

    def state(self, key: str = "m/v1/0") -> dict[str, Any]:
        """The worker's entry in ``workers.json``; {} where it has none."""
        known: dict[str, dict[str, Any]] = json.loads(self.data.workers.read_bytes())
        return next((one for name, one in known.items() if name.startswith(f"{key}/")), {})

    def deploys(self) -> list[str]:
        """``<version> <event>``, in order."""
        facts = [entry.fact for entry in self.journal.read()]
        return [f"{fact.version} {fact.event}" for fact in facts if isinstance(fact, Deploy)]

    def stderr(self, version: str = "v1") -> str:
        return self.data.stderr("m", version, 0).read_text()

    def listens(self, version: str = "v1") -> bool:
        """Whether a version's socket has its name."""
        return Path(self.data.socket(1, version, 0, DECLARATION)).exists()

    async def until(self, what: Callable[[], Any]) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(TIMEOUT_S):
            while not what():  # noqa: ASYNC110  (what is awaited happens in other processes)
                await asyncio.sleep(0.01)

    async def ready(self, version: str = "v1", index: int = 0) -> dict[str, Any]:
        key = f"m/{version}/{index}"
        await self.until(lambda: self.state(key).get("state") == "ready")
        return self.state(key)

    async def ask(self, version: str = "v1", value: float = 1.0) -> tuple[int, Any]:
        """One call, on a connection of its own."""
        body = json.dumps(
            {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}]}
        ).encode()
        reader, writer = await asyncio.open_unix_connection(
            self.data.socket(1, version, 0, DECLARATION)
        )
        try:
            writer.write(
                b"POST /v2/models/m/infer HTTP/1.1\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split()[1]), json.loads(answer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        await self.pool.stop()
        os.close(self._lifeline)
        os.close(self._end)


def run(folder: Path, scenario: Callable[[Rig], Any]) -> None:
    """Run a scenario with a pool that is started, and stop it whatever happens."""

    async def whole() -> None:
        rig = Rig(folder)
        rig.pool.start()
        try:
            await scenario(rig)
        finally:
            await rig.close()

    asyncio.run(whole())
