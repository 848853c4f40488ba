"""What every request to the control plane passes: Host, Origin, size, and headers on the way out.

A browser that was lured to another site may send requests here: reading is stopped by ``Host``
(DNS rebinding names a foreign host), changing by ``Origin``. Tools that are no browsers send no
``Origin`` and are let through.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect

from redpoll.errors import RedpollError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[Scope, RedpollError], App]

log = logging.getLogger("redpoll.web")

# An IPv6 address in brackets, or a name or IPv4 address; perhaps a port.
_NETLOC = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::(\d{0,5}))?\Z", re.ASCII)
SAFE = ("GET", "HEAD", "OPTIONS")
BODY_BYTES_MAX = 1024 * 1024
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def split_host(netloc: str) -> str:
    """The name of a ``host[:port]``, lower case, brackets and port left off; "" where it is none.

    A port is a number from 1 to 65535 (or empty: the scheme's own), as in RFC 9110.
    """
    found = _NETLOC.match(netloc)
    if not found or (found[3] and not 0 < int(found[3]) <= 65535):
        return ""
    return (found[1] or found[2]).lower()


def is_loopback(host: str) -> bool:
    """``localhost`` and the loopback addresses."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allowed_host(netloc: str, listen: str) -> bool:
    """Whether a ``Host`` is loopback or the configured one.

    Listening beyond loopback, any plain address is ours too: rebinding needs a name.
    """
    host, configured = split_host(netloc), split_host(listen)
    if is_loopback(host) or (host and host == configured):
        return True
    if is_loopback(configured):
        return False
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def check(method: str, headers: Mapping[str, str], listen: str) -> None:
    """RP-502 unless ``Host`` is ours and, for a change, ``Origin`` is the same site (or absent)."""
    host = headers.get("host", "")
    if not split_host(host):
        raise RedpollError(
            "RP-502",
            f"The Host header {host[:100]!r} is no host and port such as 127.0.0.1:8081 or "
            "[::1]:8081; use the address that redpoll printed at its start.",
        )
    if not allowed_host(host, listen):
        raise RedpollError(
            "RP-502",
            f"This server does not answer to the host {host[:100]!r}; a page elsewhere "
            "may have sent you here; use the address that redpoll printed at its start, or set "
            "server.control to this name.",
        )
    if method in SAFE:
        return
    origin = headers.get("origin")
    if origin is not None:
        if origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            raise RedpollError(
                "RP-502",
                f"Nothing was done: the change came from {origin[:100]!r}, not from a "
                f"page of this server ({host}); open the console there and try again.",
            )
    elif headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise RedpollError(
            "RP-502",
            "Nothing was done: the change came from another site's page; open the "
            "console of this server and try again.",
        )


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, listen: str, refuse: Refuse) -> None:
        self.app = app
        self.listen = listen
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, bound, answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        out = _Sending(send)
        try:
            if sum(k == b"host" for k, _ in scope["headers"]) != 1:
                raise RedpollError("RP-502", "A request wants exactly one Host header.")
            check(scope["method"], headers, self.listen)
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > BODY_BYTES_MAX:
                raise _too_large()
        except RedpollError as error:
            await self.refuse(scope, error)(scope, receive, out)
            return
        try:
            await self.app(scope, _bounded(receive), out)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if out.started:
                raise  # the connection is cut, so that nobody takes half an answer for whole
            await self.refuse(
                scope,
                RedpollError(
                    "RP-600",
                    "redpoll made a mistake; the log of the control process has the "
                    "details; traffic is not affected.",
                ),
            )(scope, receive, out)


def _too_large() -> RedpollError:
    return RedpollError(
        "RP-106",
        f"The body is larger than the control plane takes ({BODY_BYTES_MAX:,} bytes); send less.",
    )


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES_MAX:
            raise _too_large()
        return message

    return bounded


class _Sending:
    """``send`` that adds our headers and remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send it on."""
        if message["type"] == "http.response.start":
            self.started = True
            given = {k.lower() for k, _ in message.get("headers", ())}
            extra = [(k, v) for k, v in HEADERS if k not in given]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await self.send(message)
