"""What a client can be told: redpoll's own codes and messages, as exceptions."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """A request that did not get what it asked for.

    ``code`` is one of redpoll's (``redpoll explain CODE``); ``status`` is the HTTP status, 0 where
    no answer came; ``retry_after_s`` is what the server asked to wait. ``problems`` are all errors of a
    configuration (file, line, key, message).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 0,
        retry_after_s: float | None = None,
        problems: tuple[dict[str, Any], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.problems = problems

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class RolloutUnfinished(ClientError):
    """A rollout did not end within the time that :meth:`RolloutHandle.wait` was given."""
