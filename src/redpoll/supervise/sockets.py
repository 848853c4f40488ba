"""The listening sockets, owned here so that a restarted child loses no connection attempt."""

from __future__ import annotations

import errno
import socket
import time

from redpoll.errors import RedpollError

BACKLOG = 4096


def split(address: str) -> tuple[str, int]:
    """``127.0.0.1:8080`` or ``[::1]:8080`` as host and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def listen(address: str, key: str, *, patience_s: float = 0.0) -> socket.socket:
    """Listen; ``key`` is the setting's name, for errors.

    ``patience_s``: how long to wait for a port that is taken (by what a killed server left).
    Raises ``RedpollError`` RP-607 where the port is taken or the address is not this machine's.
    """
    host, port = split(address)
    end = time.monotonic() + patience_s
    while True:
        try:
            return _listen(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < end:
                time.sleep(0.05)
                continue
            why = {
                errno.EADDRINUSE: "another program listens there",
                errno.EADDRNOTAVAIL: "this machine has no such address",
                errno.EACCES: "this user may not listen on that port",
            }.get(error.errno or 0, str(error.strerror or error))
            raise RedpollError(
                "RP-607",
                f"redpoll cannot listen on {address}: {why}; stop that program, or set "
                f'server.{key} to another address ("127.0.0.1:0" takes any free port)',
            ) from None


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, target = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def name(sock: socket.socket) -> str:
    """Where a socket really listens: ``host:port``, IPv6 in brackets."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
