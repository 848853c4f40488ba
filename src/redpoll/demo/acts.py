"""The acts: a rollout each, started as a person would, and watched to its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from redpoll.client import Client, ClientError, Rollout
from redpoll.client.transport import Transport
from redpoll.demo.narrator import Narrator, percent
from redpoll.demo.traffic import Traffic
from redpoll.errors import RedpollError

ACT_MAX_S = 300.0  # on a machine that is busy with other things
WARM_UP_MAX_S = 60.0
STATUS_EVERY_S = 6.0


@dataclass(frozen=True, slots=True)
class Act:
    """One rollout of the story, and how it must end."""

    title: str
    version: str
    reason: str
    must_end: str  # promoted | rolled_back


PROMOTE = Act(
    title="A better version",
    version="v2",
    reason="boosted trees, trained on more people: fewer mistakes on held-out ones",
    must_end="promoted",
)
ERRORS = Act(
    title="A version with a bug",
    version="v3",
    reason="v2 again, trained on cleaned data (unknown jobs dropped)",
    must_end="rolled_back",
)
LATENCY = Act(
    title="A version that is right, but slow",
    version="v4",
    reason="v2 with the regional wage index as one more feature",
    must_end="rolled_back",
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an act ended."""

    version: str
    state: str
    sentence: str
    rollout: str
    seconds: float
    as_it_must: bool


class Stage:
    """What all acts share: the server, its traffic, and the narrator."""

    def __init__(
        self, client: Client, control: Transport, traffic: Traffic, narrator: Narrator
    ) -> None:
        self._client, self._control = client, control
        self._traffic, self._narrator = traffic, narrator

    def warm_up(self, version: str, requests: int, enough_s: float) -> None:
        """Let the version answer so many requests, or for so long; RP-604 if it answers none."""
        begun, start = time.monotonic(), self._answered(version)
        while (answered := self._answered(version) - start) < requests:
            waited_s = time.monotonic() - begun
            if waited_s > enough_s and answered:
                return
            if waited_s > WARM_UP_MAX_S:
                trouble = self._traffic.unexpected or "none"
                raise RedpollError(
                    "RP-604", f"no answer from {version} in {waited_s:.0f} s; trouble: {trouble}"
                )
            time.sleep(0.1)

    def play(self, act: Act) -> Ending:
        """Start the act's rollout and narrate it to its end."""
        say = self._narrator.say
        self._narrator.head(f"{act.title}: {act.version}")
        begun = time.monotonic()
        say(f"redpoll rollout start income {act.version} --reason {act.reason!r}")
        handle = self._client.rollout("income", act.version, reason=act.reason)
        told, status_at = 0, time.monotonic() + STATUS_EVERY_S
        while True:
            now = self._read(handle)
            told = self._tell(handle.id, told)
            if now.ended:
                break
            if time.monotonic() > begun + ACT_MAX_S:
                say(f"Still {now.state} after {ACT_MAX_S:g} s: {now.sentence}")
                break
            if time.monotonic() > status_at and now.state != "pending":
                self._narrator.more(_standing(now))
                status_at = time.monotonic() + STATUS_EVERY_S
            time.sleep(0.2)
        as_it_must = now.state == act.must_end
        if not as_it_must:
            say(f"This should have ended {act.must_end.replace('_', ' ')}, but is {now.state}.")
        seconds = time.monotonic() - begun
        return Ending(act.version, now.state, now.sentence, now.id, seconds, as_it_must)

    def _read(self, handle: Any) -> Rollout:
        try:
            now: Rollout = handle.read()
        except ClientError as error:
            if error.status:
                raise
            now = handle.last  # control may be restarting: its answer comes
        return now

    def _tell(self, rollout_id: str, told: int) -> int:
        """Say each Decision that is new, in the machine's own words."""
        path = f"/api/v1/rollouts/{rollout_id}/decisions"
        try:
            said = self._control.call("GET", path).json()
        except ClientError:
            return told
        decisions = said["decisions"] if isinstance(said, dict) else said
        decisions = sorted(decisions, key=lambda d: (d["time_us"], d["decision_id"]))
        for decision in decisions[told:]:
            mark = {"promoted": "PROMOTED: ", "rolled_back": "ROLLED BACK: "}
            self._narrator.say(mark.get(decision["to_state"] or "", "") + decision["sentence"])
        return len(decisions)

    def _answered(self, version: str) -> int:
        return self._traffic.counts().get((version, "ok"), 0)


def _standing(now: Rollout) -> str:
    """``20%: error rate undecided (evidence .5, limit 80), latency pass (…)``."""
    gates = ", ".join(
        f"{g['metric'].replace('_', ' ')} {g['answer']} "
        f"(evidence {g['evidence']:.2g}, limit {g['limit']:.3g})"
        for g in now.gates
    )
    return f"at {percent(now.weight)}: {gates or now.sentence}"
