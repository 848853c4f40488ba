"""A rollout as its starter sees it: where it stands, and waiting for its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from redpoll.client.errors import ClientError, RolloutUnfinished
from redpoll.client.transport import Transport

ENDED = ("promoted", "rolled_back", "aborted", "superseded")
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Rollout:
    """One reading of a rollout. ``weight`` is the candidate's share, a fraction."""

    id: str
    model: str
    version: str
    stable: str
    state: str  # pending running paused promoted rolled_back aborted superseded
    step: int
    weight: float
    sentence: str
    gates: tuple[dict[str, Any], ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more by itself."""
        return self.state in ENDED

    @property
    def promoted(self) -> bool:
        """Whether its version is live now because of it."""
        return self.state == "promoted"


class RolloutHandle:
    """A rollout that was started."""

    def __init__(self, control: Transport, first: Rollout) -> None:
        self._control = control
        self.id = first.id
        self.last = first

    def read(self) -> Rollout:
        """Ask the server how it stands now."""
        reply = self._control.call("GET", f"/api/v1/rollouts/{quote(self.id, safe='')}")
        self.last = rollout_of(reply.json())
        return self.last

    def wait(self, timeout_s: float | None = None) -> Rollout:
        """Wait until it has ended and return how; ask :attr:`Rollout.promoted`.

        Raises ``RolloutUnfinished`` after ``timeout_s`` seconds (None: never). A server that does
        not answer for a while (it may be restarting) is asked again until then.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                if self.read().ended:
                    return self.last
            except ClientError as error:
                if error.code not in ("RP-601", "RP-602", "RP-404") or end is None:
                    raise
            if end is not None and time.monotonic() >= end:
                raise RolloutUnfinished(
                    "RP-602",
                    f"rollout {self.id} is still {self.last.state} after {timeout_s:g} s: "
                    f"{self.last.sentence}",
                )
            time.sleep(POLL_S)


def rollout_of(said: dict[str, Any]) -> Rollout:
    """A reading from the API's JSON; fields that this client does not know are left out."""
    try:
        return Rollout(
            id=said["id"],
            model=said["model"],
            version=said["version"],
            stable=said["stable"],
            state=said["state"],
            step=said["step"],
            weight=said["weight"],
            sentence=said["sentence"],
            gates=tuple(said.get("gates", ())),
        )
    except (KeyError, TypeError):
        raise ClientError("RP-201", "the server's answer is no rollout") from None
