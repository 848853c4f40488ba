"""The plain proxy that a team would write in an afternoon: ASGI in front, aiohttp behind.

Runs in the environment of the peer, under uvicorn with uvloop and httptools. It does nothing but
pass on: no ids, no split, no journal.
"""

from __future__ import annotations

import os
from typing import Any

import aiohttp

UPSTREAM = os.environ["UPSTREAM"]
_DROPPED = {b"host", b"connection", b"content-length", b"transfer-encoding"}
_session: aiohttp.ClientSession | None = None


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Pass one request on and its answer back."""
    global _session
    if scope["type"] != "http":
        raise RuntimeError(f"{scope['type']} is not spoken here")
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in scope["headers"]
        if name not in _DROPPED
    ]
    url = UPSTREAM + scope["path"]
    async with _session.request(scope["method"], url, data=body, headers=headers) as answer:
        content = await answer.read()
        passed = [(n.lower(), v) for n, v in answer.raw_headers if n.lower() not in _DROPPED]
    passed.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": answer.status, "headers": passed})
    await send({"type": "http.response.body", "body": content})
