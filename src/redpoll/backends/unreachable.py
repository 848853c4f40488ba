"""A backend that there is none of: what stands in for it says why."""

from __future__ import annotations

from redpoll.backends.port import Ask, Failure


class Unreachable:
    """A backend that cannot be asked at all, and says why (see :class:`~.port.Backend`)."""

    def __init__(self, why: str, code: str = "RP-200") -> None:
        self.ready = self.binary = False
        self._why, self._code = why, code

    def free(self) -> bool:
        """Always: refusing takes no time."""
        return True

    def ask(self, ask: Ask) -> None:
        """Fail at once."""
        ask.failed(Failure(self._code, self._why))

    def ask_now(self, ask: Ask) -> bool:
        """Never."""
        return False

    def cancel(self, ask: Ask) -> None:
        """Nothing to forget."""

    async def probe(self) -> bool:
        """Never ready."""
        return False

    def metadata(self) -> bytes:
        """None."""
        return b""

    def sweep(self) -> None:
        """Nothing to give up."""

    def close(self) -> None:
        """Nothing to give up."""
