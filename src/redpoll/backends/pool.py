"""A version's backends over HTTP: one URL, or one Unix socket for each of its workers.

Connections are kept and used again, newest first, and given up before the other side does. A
question is sent once; only where a *reused* connection turns out closed before any byte of an
answer came is it sent a second time, on a fresh one.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from urllib.parse import urlsplit

import msgspec

from redpoll.backends.link import Link, Owner, heads
from redpoll.backends.port import Ask, Failure
from redpoll.backends.reach import DIRECT, Reach
from redpoll.errors import RedpollError
from redpoll.host.tick import Inbox
from redpoll.host.wire import HEAD_END

log = logging.getLogger("redpoll.gateway")
PROBE_TIMEOUT_S = 2.0
HANDSHAKE_TIMEOUT_S = 10.0
METADATA_BYTES_MAX = 256 * 1024
EXTENSION = "binary_tensor_data"


class Address:
    """One place to connect to. ``path`` is the model's path there, without a trailing slash.

    ``plain``: it takes plain JSON at that very path, and is ready when it answers at all.
    """

    __slots__ = (
        "busy", "host", "idle", "lines", "name", "path", "plain", "port", "prefix", "ready",
        "ready_path", "socket", "tls",
    )  # fmt: skip

    def __init__(
        self, written: str, model: str, reach: Reach = DIRECT, plain: bool = False
    ) -> None:
        self.busy = 0  # asks under way, connecting ones too
        self.idle: list[Link] = []
        self.ready = False
        self.host, self.port, self.socket = "", 0, ""
        self.plain, self.lines, self.tls = plain, reach.lines, None
        if written.startswith("unix:"):
            self.socket = written[len("unix:") :]
            self.path, self.name = f"/v2/models/{model}", "redpoll"
            self.ready_path = "/v2/health/ready"
        else:
            parts = urlsplit(written)
            secure = parts.scheme == "https"
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise RedpollError("RP-200", f"{written} cannot be asked: it is no http(s):// URL.")
            if secure and reach.tls is None:  # never in the clear instead
                raise RedpollError("RP-200", f"{written} wants TLS, and none was set up for it.")
            self.tls = reach.tls if secure else None
            self.host, self.port = parts.hostname, parts.port or (443 if secure else 80)
            self.path = parts.path if plain else parts.path.rstrip("/")
            self.path = self.path or "/"
            self.name = reach.host or parts.netloc.rpartition("@")[2]
            self.ready_path = self.path if plain else f"{self.path}/ready"
        self.prefix = (
            b"POST %b HTTP/1.1\r\nhost: %b\r\n%bcontent-type: application/json\r\ncontent-length: "
            % (
                (self.path if plain else f"{self.path}/infer").encode(),
                self.name.encode(),
                self.lines,
            )
        )

    def __str__(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


class HttpBackend:
    """See :class:`redpoll.backends.port.Backend`.

    ``connections`` bounds the asks under way at each address: 1 for a worker, which answers one
    call at a time. ``inbox`` is where links note what they read; without one they look at it at once.
    """

    def __init__(
        self,
        addresses: tuple[str, ...],
        model: str,
        *,
        connections: int,
        idle_s: float,
        resend: bool,
        answer_bytes_max: int = 64 * 1024 * 1024,
        inbox: Inbox[tuple[Link, bytes]] | None = None,
        reach: Reach = DIRECT,
        plain: bool = False,
    ) -> None:
        self.ready = False
        self.binary = False
        self._addresses = [Address(written, model, reach, plain) for written in addresses]
        self._only = self._addresses[0] if len(addresses) == 1 else None
        self._connections = connections
        self._idle_s = idle_s
        self._resend = resend
        self._answer_bytes_max = answer_bytes_max
        self._inbox = inbox
        self._busy = 0
        self._capacity = connections * len(self._addresses)
        self._connecting: dict[Ask, tuple[Address, asyncio.Task[None]]] = {}
        self._links: set[Link] = set()
        self._metadata = b""

    def free(self) -> bool:
        """Whether one more ask can be started now."""
        if self._busy >= self._capacity:
            return False
        return self._only is not None or not self.ready or bool(self._open_addresses())

    def ask(self, ask: Ask) -> None:
        """Start on the address with the fewest asks under way."""
        address = self._only or self._choose()
        self._busy += 1
        address.busy += 1
        idle = address.idle
        while idle:
            if idle.pop().send(ask, address.prefix):
                return
        self._connect(ask, address)

    def ask_now(self, ask: Ask) -> bool:
        """Write it to a kept connection, if there is one; all in one piece, for it is done often."""
        address = self._only
        if address is None or not address.idle or self._busy >= self._capacity:
            return False
        link = address.idle.pop()
        transport = link.transport
        if transport is None or transport.is_closing():
            return False
        self._busy += 1
        address.busy += 1
        link.ask, link.started = ask, False
        ask.link = link
        ask.attempts += 1
        payload = ask.payload
        transport.write(b"%b%d\r\n%b\r\n%b" % (address.prefix, len(payload), ask.lines, payload))
        return True

    def _choose(self) -> Address:
        usable = self._open_addresses() or [a for a in self._addresses if a.ready]
        return min(usable or self._addresses, key=lambda address: address.busy)

    def _open_addresses(self) -> list[Address]:
        """Where one more ask fits: of those that are ready, where any is.

        One that is down fails at once: it would seem the least busy, and draw all that comes.
        """
        usable = [a for a in self._addresses if a.busy < self._connections]
        return [a for a in usable if a.ready] if self.ready else usable

    def _connect(self, ask: Ask, address: Address) -> None:
        task = asyncio.get_running_loop().create_task(self._connected(ask, address))
        self._connecting[ask] = (address, task)

    async def _connected(self, ask: Ask, address: Address) -> None:
        link, why = None, ""
        try:
            link = await self._open(address, self)
        except OSError as error:
            why = error.strerror or str(error)
        del self._connecting[ask]
        if link is not None:
            self._links.add(link)
            if link.send(ask, address.prefix):
                return
            self._links.discard(link)
            why = "the connection was closed at once"
        self._release(address)
        self._unready(address)
        asked = ask.attempts > 0  # on a reused connection that broke before any byte of an answer
        ask.attempts += 1
        ask.failed(_broken(address, why) if asked else _unreached(address, why))

    async def _open(self, address: Address, owner: Owner) -> Link:
        loop = asyncio.get_running_loop()

        def make() -> Link:
            inbox = self._inbox if owner is self else None
            return Link(owner, address, self._answer_bytes_max, inbox)

        if address.socket:
            return (await loop.create_unix_connection(make, address.socket))[1]
        if address.tls is None:
            return (await loop.create_connection(make, address.host, address.port))[1]
        made = await loop.create_connection(
            make,
            address.host,
            address.port,
            ssl=address.tls,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
        )
        return made[1]

    def _release(self, address: Address) -> None:
        self._busy -= 1
        address.busy -= 1

    def _unready(self, address: Address) -> None:
        address.ready = False
        self.ready = any(other.ready for other in self._addresses)

    def finished(self, link: Link) -> None:
        """A link has its answer."""
        address = link.address
        self._busy -= 1
        address.busy -= 1
        address.ready = self.ready = True
        link.idle_since = monotonic()
        address.idle.append(link)

    def lost(self, link: Link, ask: Ask | None, why: str) -> None:
        """A link is gone; ``ask`` is what it leaves unanswered."""
        if link not in self._links:
            return  # it was never used
        self._links.discard(link)
        address = link.address
        if link in address.idle:
            address.idle.remove(link)
            return
        self._release(address)
        if ask is None:
            return
        if address.socket:
            self._unready(address)  # a worker that hangs up has died
        if link.used and not link.started and self._resend and ask.attempts < 2:
            address = self._choose()
            self._busy += 1
            address.busy += 1
            self._connect(ask, address)
            return
        ask.failed(_broken(address, why))

    def cancel(self, ask: Ask) -> None:
        """Forget an ask. Its connection cannot be used again: an answer may still come on it."""
        link = ask.link
        if isinstance(link, Link):
            link.ask = ask.link = None
            link.abort()
            return
        address, task = self._connecting.pop(ask, (None, None))
        if address is not None and task is not None:
            self._release(address)
            task.cancel()

    async def probe(self) -> bool:
        """Probe every address."""
        found = await asyncio.gather(*(self._probe(address) for address in self._addresses))
        self.ready = any(found)
        return self.ready

    async def _probe(self, address: Address) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                status = (await self._get(address, address.ready_path))[0]
                address.ready = status < 500 if address.plain else status == 200
                if address.ready and not self._metadata and not address.plain:
                    status, body = await self._get(address, address.path)
                    self._metadata = body if status == 200 else b"{}"
                    server = address.path.partition("/models/")[0]
                    self.binary = _reads_binary(*await self._get(address, server))
        except (OSError, TimeoutError):
            address.ready = False
        return address.ready

    async def _get(self, address: Address, path: str) -> tuple[int, bytes]:
        """One GET on a connection of its own: a probe never waits behind an ask."""
        probe = _Probe()
        link = await self._open(address, probe)
        try:
            link.get(probe, path, address.name, address.lines)
            return await probe.answer
        finally:
            link.ask = None
            link.abort()

    def metadata(self) -> bytes:
        """OIP model metadata, as last probed; or b""."""
        return self._metadata

    def sweep(self) -> None:
        """Give up connections that were idle too long; the oldest lie at the front."""
        limit = monotonic() - self._idle_s
        for address in self._addresses:
            for link in [link for link in address.idle if link.idle_since < limit]:
                link.abort()

    def close(self) -> None:
        """Give up everything."""
        asks: list[Ask] = list(self._connecting)
        asks += [link.ask for link in self._links if link.ask is not None]
        for ask in asks:
            self.cancel(ask)
        for link in list(self._links):
            link.abort()
        for ask in asks:
            ask.failed(Failure("RP-200", "The gateway gave up its connections to the backend."))


class _Probe(Ask):
    """A GET whose answer is awaited; owner of its own link."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result((status, body))

    def failed(self, failure: Failure) -> None:
        if not self.answer.done():
            self.answer.set_exception(ConnectionError(failure.message))

    def finished(self, link: Link) -> None:
        """Nothing: the probe closes its link itself."""

    def lost(self, link: Link, ask: Ask | None, why: str) -> None:
        if ask is not None:
            self.failed(Failure("RP-200", why))


def receive(answers: list[tuple[Link, bytes]]) -> None:
    """Look at what links read; a whole answer in one piece with a known head is the usual case."""
    young, now = heads.young, monotonic()
    for link, data in answers:
        try:
            ask = link.ask
            if ask is not None and not link.started:
                end = data.find(HEAD_END) + 4
                raw = data[:end]
                head = young.get(raw) or heads.get(raw)
                if head is not None and head.length == len(data) - end:
                    link.started = link.used = True
                    link.ask = ask.link = None
                    pool, address = link.owner, link.address
                    if type(pool) is HttpBackend:  # as ``finished`` has it
                        pool._busy -= 1
                        address.busy -= 1
                        address.ready = pool.ready = True
                        link.idle_since = now
                        address.idle.append(link)
                    else:
                        pool.finished(link)
                    ask.answered(head.status, head.lines, data[end:])
                    continue
            link.take(data)
        except Exception:
            log.exception("an answer could not be taken")
            link.abort()


def _reads_binary(status: int, body: bytes) -> bool:
    """Whether a server's metadata names the extension. Those that do not name it fail on such."""
    try:
        said = msgspec.json.decode(body) if status == 200 else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    extensions = said.get("extensions") if isinstance(said, dict) else None
    return isinstance(extensions, list) and EXTENSION in extensions


def _broken(address: Address, why: str) -> Failure:
    """It was asked, and no answer came of it."""
    return Failure(
        "RP-200",
        f"The backend at {address} failed: {why}. The request may have been worked on; see the "
        "backend before sending it again.",
    )


def _unreached(address: Address, why: str) -> Failure:
    """Nothing was asked. A worker that is away is on its way back: the client may try again."""
    if address.socket:
        return Failure(
            "RP-114",
            "No worker of this version answers now: it is starting, or starting again. Nothing was "
            "asked; send the request again in a moment. `redpoll status` says how it is.",
        )
    return Failure(
        "RP-200",
        f"The backend at {address} could not be reached: {why}. Nothing was asked; see whether "
        "it runs.",
        asked=False,
    )
