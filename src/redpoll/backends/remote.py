"""The backend of a version that is a URL, or several: any server, OIP or plain JSON, over TLS or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redpoll.backends.link import Link
from redpoll.backends.plain import PlainJson
from redpoll.backends.pool import HttpBackend
from redpoll.backends.port import Backend
from redpoll.backends.reach import reach
from redpoll.backends.replicas import Replicas
from redpoll.backends.unreachable import Unreachable
from redpoll.catalog import Model, Version
from redpoll.errors import RedpollError
from redpoll.host.tick import Inbox


def remote(
    version: Version,
    urls: Sequence[str],
    model: Model,
    environment: Mapping[str, str],
    inbox: Inbox[tuple[Link, bytes]] | None = None,
) -> Backend:
    """Make it; where that cannot be, one that says why whenever it is asked."""
    try:
        shared = reach(version, environment)
        made = [
            HttpBackend(
                (url,),
                model.name,
                connections=version.pool.connections,
                idle_s=version.pool.idle_s,
                resend=version.resend,
                reach=shared,
                plain=version.plain,
                inbox=inbox,
            )
            for url in urls
        ]
    except RedpollError as error:
        return Unreachable(error.message, error.code)
    backend: Backend = made[0] if len(made) == 1 else Replicas(made)
    return PlainJson(backend, model) if version.plain else backend
