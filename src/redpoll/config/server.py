"""``[server]``: from the file's tables to :class:`redpoll.catalog.Server`."""

from __future__ import annotations

from redpoll.catalog import Limits, Server
from redpoll.config.problems import Node
from redpoll.config.values import (
    address,
    choice,
    duration,
    integer,
    is_loopback,
    origins,
    size,
    some_time,
    text,
)


def read_server(node: Node, folder: str) -> Server:
    """The server's settings; problems go to the node's report."""
    default = Server()
    tokens = node.get("tokens_file", text, "")
    log = node.child("log", "server.log")
    tls = node.child("tls", "server.tls")
    cert, key = tls.get("cert", text, ""), tls.get("key", text, "")
    if node.has("tls") and not (cert and key):
        node.wrong("tls", 'TLS wants both files: {cert = "tls.crt", key = "tls.key"}')
    server = Server(
        data=node.get("data", address, default.data),
        control=node.get("control", address, default.control),
        log_level=log.get("level", choice("debug", "info", "warning", "error"), default.log_level),
        log_format=log.get("format", choice("text", "json"), default.log_format),
        limits=_limits(node.child("limits", "server.limits")),
        tokens_file=absolute(tokens, folder) if tokens else None,
        drain_s=node.get("drain", duration, default.drain_s),
        on_journal_failure=node.get(
            "on_journal_failure", choice("refuse", "serve"), default.on_journal_failure
        ),
        tls_cert=absolute(cert, folder) if cert else None,
        tls_key=absolute(key, folder) if key else None,
        origins=node.get("origins", origins, ()),
        metrics=node.get("metrics", address, "") or None,
    )
    _check_addresses(node, server)
    return server


def _limits(node: Node) -> Limits:
    default = Limits()
    many = integer(1, 1_000_000)
    none_or_many = integer(0, 1_000_000)
    body_bytes = node.get("body_bytes", size(1024, 1 << 30), default.body_bytes)
    least = max(default.reading_bytes, body_bytes)
    reading_bytes = node.get("reading_bytes", size(1024, 1 << 40), least)
    if reading_bytes < body_bytes:
        node.wrong(
            "reading_bytes",
            f"{reading_bytes} bytes for all requests that arrive are less than one body may have "
            f"(body_bytes, {body_bytes}); write at least that, or lower body_bytes",
        )
    return Limits(
        connections=node.get("connections", many, default.connections),
        header_bytes=node.get("header_bytes", size(1024, 1 << 20), default.header_bytes),
        body_bytes=body_bytes,
        reading_bytes=reading_bytes,
        in_flight=node.get("in_flight", many, default.in_flight),
        queue=node.get("queue", none_or_many, default.queue),
        idle_s=node.get("idle", some_time, default.idle_s),
        header_wait_s=node.get("header_wait", some_time, default.header_wait_s),
        body_wait_s=node.get("body_wait", some_time, default.body_wait_s),
    )


def _check_addresses(node: Node, server: Server) -> None:
    listened = {"data": server.data, "control": server.control, "metrics": server.metrics}
    for key, listen in listened.items():
        if listen is not None and not is_loopback(listen) and server.tokens_file is None:
            port = listen.rpartition(":")[2]
            node.wrong(
                key,
                f'"{listen}" can be reached from other machines, and no tokens are configured; '
                f'set tokens_file, or listen on "127.0.0.1:{port}"',
            )
    if server.data == server.control and not server.data.endswith(":0"):
        node.wrong("control", f'"{server.control}" is also the data plane\'s address')
    if server.metrics in (server.data, server.control) and not server.data.endswith(":0"):
        node.wrong("metrics", f'"{server.metrics}" is also the address of data or control')


def absolute(path: str, folder: str) -> str:
    """A path of the file, seen from the file's folder. ``..`` is kept: folders may be links."""
    if path.startswith("/"):
        return path
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return f"{folder.rstrip('/')}/{path}" if folder else path
