"""Which versions answer: workers as the supervisor tells, remote backends as they answer a probe."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from redpoll.backends.reach import DIRECT, Reach, reach
from redpoll.catalog import Model, Record, Version
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir

PROBE_TIMEOUT_S = 2.0
PROBE_EVERY_S = 1.0
PROBE_ANSWER_MAX = 4096

_decoder = msgspec.json.Decoder(dict[str, dict[str, Any]])


class VersionHealth(Record, frozen=True, kw_only=True):
    """Whether a version answers now."""

    ready: bool
    state: str  # ready | starting | backoff | stopped | unreachable | unknown
    detail: str = ""  # why it is not ready
    workers: int = 0  # that are ready
    restarts: int = 0


class HealthBook:
    """What is known now; reading it is cheap."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._stamp: tuple[int, int] | None = None
        self._workers: dict[str, dict[str, Any]] = {}
        self._probes: dict[tuple[str, str], VersionHealth] = {}
        self._probed: dict[tuple[str, str], float] = {}
        self._reaches: dict[tuple[str, str], tuple[Version, Reach]] = {}  # TLS is made once

    def refresh(self) -> None:
        """Read ``workers.json`` again where it changed."""
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            found = self._data.workers.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._workers = _decoder.decode(self._data.workers.read_bytes())
                self._stamp = stamp

    def version(self, model: str, version: Version) -> VersionHealth:
        """A version's health as last seen."""
        if version.kind == "http":
            unknown = VersionHealth(ready=False, state="unknown", detail="not asked yet")
            return self._probes.get((model, version.name), unknown)
        mine = [
            worker
            for worker in self._workers.values()
            if worker.get("model") == model and worker.get("version") == version.name
        ]
        ready = [worker for worker in mine if worker.get("state") == "ready"]
        restarts = sum(int(worker.get("restarts", 0)) for worker in mine)
        if len(ready) >= version.workers:
            return VersionHealth(ready=True, state="ready", workers=len(ready), restarts=restarts)
        waiting = next((worker for worker in mine if worker.get("state") != "ready"), None)
        if waiting is None:
            return VersionHealth(
                ready=False, state="stopped", detail="its worker does not run", restarts=restarts
            )
        return VersionHealth(
            ready=False,
            state=str(waiting.get("state", "starting")),
            detail=_why(waiting),
            workers=len(ready),
            restarts=restarts,
        )

    def listed(self) -> list[dict[str, Any]]:
        """Every worker as the supervisor tells it."""
        return list(self._workers.values())

    def workers(self) -> dict[str, str]:
        """The state of each worker, by its socket."""
        return {
            str(worker.get("socket")): str(worker.get("state")) for worker in self._workers.values()
        }

    def trouble(self, sockets: Iterable[str]) -> str:
        """Why a worker at one of these sockets does not get ready; empty where none is in trouble."""
        wanted = set(sockets)
        for worker in self._workers.values():
            if worker.get("socket") in wanted and worker.get("state") == "backoff":
                return _why(worker)
        return ""

    async def probe(self, models: Iterable[tuple[int, Model]]) -> None:
        """Ask remote backends that were not asked for a while, all at once."""
        now = asyncio.get_running_loop().time()
        due = [
            (model.name, version)
            for _, model in models
            for version in model.versions
            if version.kind == "http"
            and now - self._probed.get((model.name, version.name), -1e9) >= PROBE_EVERY_S
        ]
        for model, version in due:
            self._probed[(model, version.name)] = now
        found = await asyncio.gather(*(self._ask(model, version) for model, version in due))
        for (model, version), health in zip(due, found, strict=True):
            self._probes[(model, version.name)] = health

    async def _ask(self, model: str, version: Version) -> VersionHealth:
        known = self._reaches.get((model, version.name))
        try:
            if known is None or known[0] != version:
                known = version, reach(version, os.environ)
                self._reaches[(model, version.name)] = known
        except RedpollError as error:
            return VersionHealth(ready=False, state="unreachable", detail=error.message)
        return await probe(version, known[1])


async def probe(version: Version, shared: Reach = DIRECT) -> VersionHealth:
    """``GET <url>/ready`` of a remote backend, with a time limit; one replica is enough."""
    found = await asyncio.gather(*(_probe(url, version.plain, shared) for url in version.urls))
    ready = sum(health.ready for health in found)
    best = min(found, key=lambda health: not health.ready)
    return msgspec.structs.replace(best, workers=ready)


async def _probe(written: str, plain: bool, shared: Reach) -> VersionHealth:
    url = urlsplit(written)
    path = url.path or "/"
    if not plain:
        path, written = path.rstrip("/") + "/ready", f"{written}/ready"
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            line = await _ask(url, path, shared)
    except TimeoutError:
        detail = f"{written} did not answer within {PROBE_TIMEOUT_S:.0f} s"
        return VersionHealth(ready=False, state="unreachable", detail=detail)
    except (OSError, ValueError) as error:
        detail = f"{written.removesuffix('/ready')} could not be reached: {error}"
        return VersionHealth(ready=False, state="unreachable", detail=detail)
    words = line.split(None, 2)
    status = words[1] if len(words) > 1 and words[0].startswith("HTTP/1.") else "no HTTP"
    if status == "200" or (plain and status[:1] in "234"):
        return VersionHealth(ready=True, state="ready", workers=1)
    return VersionHealth(ready=False, state="starting", detail=f"{written} answered {status}")


async def _ask(url: SplitResult, path: str, shared: Reach) -> str:
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(
        url.hostname or "", port, ssl=shared.tls if secure else None, limit=PROBE_ANSWER_MAX
    )
    try:
        host = shared.host or url.netloc
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        writer.write(head.encode() + shared.lines + b"\r\n")
        await writer.drain()
        return (await reader.readline()).decode("latin-1").strip()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _why(worker: dict[str, Any]) -> str:
    state = worker.get("state", "starting")
    text = str(worker.get("detail") or worker.get("last_exit") or "").strip()
    crashes = int(worker.get("restarts", 0))
    again = "its worker crashed and waits to be started again"
    words = {"backoff": again, "stopped": "its worker does not run"}.get(
        str(state),
        f"its worker crashed ({crashes} so far) and loads again"
        if crashes
        else "its worker is still loading",
    )
    return f"{words}: {text}" if text else words
