"""Several replicas of one version: the one with the fewest asks under way gets the next.

A replica that fails again and again (cannot be reached, breaks off, answers 5xx, or is given up
unanswered, :data:`FAILURES_MAX` times with no answer between) is left out for a while, longer each
time, and returns slowly: a share of its turns that grows over :data:`RAMP_S`. Without that a replica
that fails fast has the fewest asks under way, and draws all traffic. Where all are out, all are
asked: to refuse everything helps nobody. Source: outlier detection and slow start of Envoy.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from redpoll.backends.port import Ask, Backend, Failure

FAILURES_MAX = 5  # in a row
OUT_S, OUT_S_MAX = 1.0, 60.0
RAMP_S = 10.0
SHARE_MIN = 0.1
CALM_S = 60.0  # without another failure of the kind: the next time out is short again


class Replica:
    """One of them, and how it has done."""

    __slots__ = ("asked", "backend", "failures", "out_s", "out_until")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.asked = 0  # under way
        self.failures = 0  # in a row
        self.out_s = 0.0  # how long it was left out the last time; 0: never, or long ago
        self.out_until = 0.0

    def share(self, now: float) -> float:
        """Of the turns that it would have, how many it takes: 0 while it is out."""
        if not self.out_s:
            return 1.0
        since = now - self.out_until
        if since < 0.0:
            return 0.0
        return min(1.0, max(SHARE_MIN, since / RAMP_S))

    def went_well(self, now: float) -> None:
        """It answered."""
        self.failures = 0
        if self.out_s and now - self.out_until > CALM_S:
            self.out_s = 0.0

    def went_wrong(self, now: float) -> None:
        """It failed; leave it out where that was once too often."""
        self.failures += 1
        if self.failures >= FAILURES_MAX and now >= self.out_until:
            self.failures = 0
            self.out_s = min(OUT_S_MAX, 2 * self.out_s or OUT_S)
            self.out_until = now + self.out_s


class _Watched(Ask):
    """An ask on its way to one replica; hands the answer on and notes how it went."""

    def __init__(self, owner: Replicas, ask: Ask, replica: Replica, tried: int) -> None:
        super().__init__(ask.payload, ask.lines)
        self.owner = owner
        self.ask = ask
        self.replica = replica
        self.tried = tried  # replicas that could not be reached before

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        self.owner.done(self, status < 500)
        self.ask.answered(status, lines, body)

    def failed(self, failure: Failure) -> None:
        self.owner.done(self, False)
        if not self.owner.again(self, failure):
            self.ask.failed(failure)


class Replicas:
    """See :class:`redpoll.backends.port.Backend`: one of it for each replica, and one for all."""

    def __init__(
        self,
        backends: Sequence[Backend],
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.ready = self.binary = False
        self.replicas = [Replica(backend) for backend in backends]
        self._now = now
        self._chance = chance
        self._turn = 0
        self._asks: dict[Ask, _Watched] = {}

    def free(self) -> bool:
        """Whether one more ask can be started now."""
        return any(replica.backend.free() for replica in self.replicas)

    def ask(self, ask: Ask) -> None:
        """Start on the replica that has the fewest asks under way, of those that do well."""
        self._start(ask, self._choose(()), 0)

    def _start(self, ask: Ask, replica: Replica, tried: int) -> None:
        watched = self._asks[ask] = _Watched(self, ask, replica, tried)
        ask.link = watched
        replica.asked += 1
        replica.backend.ask(watched)

    def _choose(self, but: Sequence[Replica]) -> Replica:
        """Fewest asks under way; among equals they take turns."""
        now, count = self._now(), len(self.replicas)
        self._turn += 1
        turn = [self.replicas[(self._turn + at) % count] for at in range(count)]
        free = [r for r in turn if r not in but and r.backend.free()] or turn
        well = [r for r in free if r.backend.ready and self._takes(r, now)]
        well = well or [r for r in free if r.backend.ready and r.share(now) > 0.0]
        well = well or [r for r in free if r.share(now) > 0.0] or free
        return min(well, key=lambda replica: replica.asked)

    def _takes(self, replica: Replica, now: float) -> bool:
        share = replica.share(now)
        return share >= 1.0 or self._chance() < share

    def done(self, watched: _Watched, well: bool) -> None:
        """An ask came to its end."""
        del self._asks[watched.ask]
        watched.ask.link = None
        watched.ask.attempts += watched.attempts
        replica = watched.replica
        replica.asked -= 1
        if well:
            replica.went_well(self._now())
        else:
            replica.went_wrong(self._now())
        self._note()

    def again(self, watched: _Watched, failure: Failure) -> bool:
        """Ask another replica where this one could not even be reached; False: there is none."""
        others = [r for r in self.replicas if r is not watched.replica and r.backend.free()]
        if failure.asked or not others or watched.tried + 1 >= len(self.replicas):
            return False
        self._start(watched.ask, self._choose((watched.replica,)), watched.tried + 1)
        return True

    def ask_now(self, ask: Ask) -> bool:
        """Never: there is more to an ask here than a write."""
        return False

    def cancel(self, ask: Ask) -> None:
        """Forget an ask. Its replica is blamed: its time was over, most often."""
        watched = self._asks.get(ask)
        if watched is not None:
            watched.replica.backend.cancel(watched)
            self.done(watched, False)

    async def probe(self) -> bool:
        """Probe every replica."""
        await asyncio.gather(*(replica.backend.probe() for replica in self.replicas))
        self._note()
        self.binary = all(replica.backend.binary for replica in self.replicas)
        return self.ready

    def _note(self) -> None:
        self.ready = any(replica.backend.ready for replica in self.replicas)

    def metadata(self) -> bytes:
        """OIP model metadata of the first replica that told its own; or b""."""
        return next((m for r in self.replicas if (m := r.backend.metadata())), b"")

    def sweep(self) -> None:
        """Give up connections that were idle too long."""
        for replica in self.replicas:
            replica.backend.sweep()

    def close(self) -> None:
        """Give up everything."""
        for replica in self.replicas:
            replica.backend.close()
