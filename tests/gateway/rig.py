"""A gateway in one process: fake backends, a journal in memory, clients that only listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redpoll.capture import materialise
from redpoll.catalog import Limits, Model, Version
from redpoll.errors import RedpollError
from redpoll.facts import NAMES, Answer, Request
from redpoll.gateway.call import OIP, ROWS, Call, Head
from redpoll.gateway.gateway import Gateway
from redpoll.gateway.lanes import Lane, Served
from redpoll.host.counters import Counters
from redpoll.journal.memory import MemoryJournal
from redpoll.routes import Route, Target
from redpoll.testing.backends import FakeBackend
from redpoll.web import heads

MODEL = Model(name="m", unit="user")


def infer(*values: float, **more: Any) -> bytes:
    tensor = {"name": "x", "shape": [len(values)], "datatype": "FP64", "data": list(values)}
    return json.dumps({"inputs": [tensor], **more}).encode()


def answer(*values: Any, name: str = "y", datatype: str = "FP64") -> bytes:
    tensor = {"name": name, "shape": [len(values)], "datatype": datatype, "data": list(values)}
    return json.dumps({"outputs": [tensor]}).encode()


@dataclass
class Heard:
    """A client: what it was answered, in order."""

    calls: list[Call] = field(default_factory=list)
    call: Call | None = None
    closed: bool = False

    def answered(self, call: Call) -> None:
        if self.closed:
            raise RuntimeError("this transport is closed")
        self.calls.append(call)

    @property
    def status(self) -> int:
        return self.calls[-1].reply_status

    @property
    def said(self) -> Any:
        return json.loads(self.calls[-1].reply_body)

    @property
    def headers(self) -> dict[str, str]:
        lines = self.calls[-1].reply_lines.decode().split("\r\n")
        return dict(line.split(": ", 1) for line in lines if line)


class Refusing:
    """A writer whose disk can refuse."""

    def __init__(self, writer: Any) -> None:
        self.inner = writer
        self.stream = writer.stream
        self.refuses = False
        self.flushes = 0
        self.log: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def append(self, *args: Any) -> int:
        self.log.append(type(args[1]).__name__)
        return self.inner.append(*args)

    def extend(self, facts: Any) -> None:
        self.log += [NAMES[label[0]].title() for label, _, _ in facts]
        self.inner.extend(facts)

    def flush(self) -> None:
        self.flushes += 1
        if self.refuses:
            raise RedpollError("RP-300", "The disk is full; free some space.")
        self.log.append("flush")
        self.inner.flush()


class Rig:
    """Make it inside a running loop. ``route`` fields may be replaced with :meth:`reroute`."""

    def __init__(
        self,
        folder: Path,
        model: Model = MODEL,
        *,
        limits: Limits = Limits(),
        kinds: dict[str, str] | None = None,
        **route: Any,
    ) -> None:
        self.journal = MemoryJournal()
        self.writer = Refusing(self.journal.open("gateway"))
        self.counters = Counters("gateway", folder)
        loop = asyncio.get_running_loop()
        self.gateway = Gateway(loop, self.writer, self.counters, limits)
        self.kinds = kinds or {"v1": "http://h/v2/models/m", "v2": "http://h/v2/models/m"}
        self.backends = {name: FakeBackend() for name in self.kinds}
        self.model = model
        self.reroute(**({"live": "v1"} | route))

    def reroute(self, **route: Any) -> None:
        versions = {name: Version(name=name, backend=kind) for name, kind in self.kinds.items()}
        changed = route.pop("versions", {})
        versions |= changed
        stopped = route.pop("stopped", ())
        targets = {
            name: Target(version=version, addresses=(version.backend,), run=name not in stopped)
            for name, version in versions.items()
        }
        known = {"number": 7, "generation": 3, "targets": targets, "model": self.model}
        lanes = {
            name: Lane(self.model.name, target, self.backends[name], self.counters)
            for name, target in targets.items()
        }
        served = Served(self.gateway, Route(**(known | route)), lanes)
        self.gateway.models = {self.model.name: served}

    def send(
        self,
        body: bytes,
        *,
        version: str | None = None,
        wire: int = OIP,
        model: str = "m",
        heard: Heard | None = None,
        **headers: str,
    ) -> tuple[Heard, Call]:
        """Begin a call; header names are written with underscores."""
        raw = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        head = Head("POST", "/", raw)
        heads.read(head)
        heard = heard or Heard()
        head.model, head.version, head.wire = model, version, wire
        self.gateway.take(heard, head, body)
        call = heard.call
        assert call is not None
        return heard, call

    async def tick(self, times: int = 3) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def ask(self, body: bytes, reply: bytes | None = None, of: str = "v1", status: int = 200, **more: Any) -> Heard:  # fmt: skip
        """One call from beginning to end."""
        heard, _ = self.send(body, **more)
        await self.tick()
        if self.backends[of].asked:
            self.backends[of].answer(status, reply if reply is not None else answer(0.5))
        await self.tick()
        return heard

    def predict(self, said: Any, **more: Any) -> tuple[Heard, Call]:
        return self.send(json.dumps(said).encode(), wire=ROWS, **more)

    def facts(self) -> list[Any]:
        """What is in the journal, with final columns, without times."""
        return [materialise(entry, self.model.tensor) for entry in self.journal.read()]

    def requests(self) -> list[Request]:
        return [fact for fact in self.facts() if isinstance(fact, Request)]

    def answers(self) -> list[Answer]:
        return [fact for fact in self.facts() if isinstance(fact, Answer)]

    def count(self, name: str, *labels: str) -> float:
        return self.counters.cell(name, labels).value


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]
