"""The port of backends: ask one version of a model, in the Open Inference Protocol.

The gateway's hot path is callbacks, not coroutines: an :class:`Ask` is handed to a backend, which
calls its ``answered`` or ``failed`` exactly once, unless it was cancelled. The public conformance
suite is :mod:`redpoll.testing.backends`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Failure(NamedTuple):
    """Why no usable answer came. ``code`` is RP-200 (failed) or RP-201 (cannot be read)."""

    code: str
    message: str
    asked: bool = True  # whether anything was sent


class Ask:
    """One question. ``payload`` is an OIP inference request, ``lines`` more header lines (CRLF)."""

    payload: bytes
    lines: bytes
    attempts = 0  # how often it was sent
    link: object | None = None  # whoever is answering now; the backend's own

    def __init__(self, payload: bytes = b"", lines: bytes = b"") -> None:
        self.payload = payload
        self.lines = lines

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        """Take the answer: HTTP status, header lines to be passed on (CRLF each), body."""
        raise NotImplementedError

    def failed(self, failure: Failure) -> None:
        """Take note that no answer will come."""
        raise NotImplementedError


class Backend(Protocol):
    """Where one version runs."""

    ready: bool  # as last probed, or as the last ask showed
    binary: bool  # the other side says that it reads binary tensors

    def free(self) -> bool:
        """Whether one more ask can be started now."""
        ...

    def ask(self, ask: Ask) -> None:
        """Start. The caller saw :meth:`free`. Callbacks may come before this returns."""
        ...

    def ask_now(self, ask: Ask) -> bool:
        """Start this ask where that takes no more than a write; False: nothing was done."""
        ...

    def cancel(self, ask: Ask) -> None:
        """Forget an ask that was started: no callback will come, its connection is given up."""
        ...

    async def probe(self) -> bool:
        """Ask the other side whether it is ready, set and return ``ready``. Never raises."""
        ...

    def metadata(self) -> bytes:
        """What the other side says of itself (OIP model metadata, JSON), as last probed; or b""."""
        ...

    def sweep(self) -> None:
        """Give up connections that were idle too long. To be called about once a second."""
        ...

    def close(self) -> None:
        """Give up everything. Asks that run get ``failed``."""
        ...
