"""What a client can be told: redpoll's own codes and messages, as exceptions."""

from __future__ import annotations


class ClientError(Exception):
    """A request that did not get what it asked for.

    ``code`` is one of redpoll's (``redpoll explain CODE``); ``status`` is the HTTP status, 0 where
    no answer came; ``retry_after_s`` is what the server asked to wait.
    """

    def __init__(
        self, code: str, message: str, *, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class RolloutUnfinished(ClientError):
    """A rollout did not end within the time that :meth:`RolloutHandle.wait` was given."""
