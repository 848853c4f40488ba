"""Plain requests from one of our processes to the data plane that runs on the same data folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir

if TYPE_CHECKING:
    from ssl import SSLContext

IDLE_MAX = 32
ANSWER_BYTES_MAX = 256 * 1024 * 1024
_NOWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}  # noqa: S104
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Upstream:
    """Kept connections to the data plane; its address is read anew whenever one is opened."""

    def __init__(self, data: DataDir, cert: str | None) -> None:
        self._data = data
        self._idle: list[Connection] = []
        self._tls: SSLContext | None = None
        if cert is not None:
            from redpoll.host import tls

            self._tls = tls.trusting(cert)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; status, headers (names in small letters) and body.

        Sent again only where a kept connection had closed before any byte came. RP-601 where
        nobody answers.
        """
        lines = [f"{method} {path} HTTP/1.1", "host: redpoll", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        sent = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
        try:
            while self._idle:
                connection = self._idle.pop()
                try:
                    return await self._exchange(connection, sent)
                except asyncio.IncompleteReadError as error:
                    if error.partial:
                        raise
                except ConnectionError:
                    pass
            return await self._exchange(await self._open(), sent)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise RedpollError("RP-200", f"The data plane does not answer: {error}.") from None

    async def _open(self) -> Connection:
        said = json.loads(self._data.server.read_bytes())
        host, _, port = str(said["data"]).rpartition(":")
        host = _NOWHERE.get(host, host.strip("[]"))
        return await asyncio.open_connection(host, int(port), ssl=self._tls)

    async def _exchange(
        self, connection: Connection, sent: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        reader, writer = connection
        kept = False
        try:
            writer.write(sent)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            length = int(headers.get("content-length", "0"))
            if length > ANSWER_BYTES_MAX:
                raise ValueError("its answer is too large")
            body = await reader.readexactly(length)
            kept = headers.get("connection") != "close" and len(self._idle) < IDLE_MAX
            return int(head[0].split(" ")[1]), headers, body
        finally:
            if kept:
                self._idle.append(connection)
            else:
                writer.close()

    def close(self) -> None:
        """Give up the kept connections."""
        while self._idle:
            self._idle.pop()[1].close()
