"""A client that replays held-out people as traffic: users who return, and truths that follow.

Some threads share one pace. Each asks about a person of a user that it picks, on a connection that
stays open; a few seconds later the true label is sent as an outcome. The pace is what was asked for,
or what keeps one worker of this machine busy no more than 60 %: past that, requests wait for each
other, and how long an answer takes says little about who gives it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

from redpoll.client import Client, ClientError
from redpoll.demo import adult

USERS = 4000
TRUTH_AFTER_S = 3.0
UTILISATION = 0.6
PACE_MIN = 40.0  # requests/s
LATENCIES = 200  # the newest, of which the fastest tenth met no queue
BEHIND_MAX_S = 0.5  # on a machine that cannot keep the pace, later is dropped, not piled up


class Traffic:
    """Starts at once; :meth:`stop` ends it and sends the last truths."""

    def __init__(
        self,
        client: Client,
        model: str,
        people: Sequence[adult.Row],
        *,
        requests_per_second: float,
        threads: int = 6,
        seed: int | None = None,
    ) -> None:
        self._client, self._model, self._people = client, model, people
        self._wanted, self._ask_threads = requests_per_second, threads
        self._gap_s = threads / requests_per_second
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)
        self._stopping = threading.Event()
        self._answered = threading.Event()  # nothing is under way any more
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()  # (version, what became of it)
        self._truths: deque[tuple[float, str, bool]] = deque()
        self.outcomes_sent = 0
        self.unexpected: str | None = None  # a failure that the traffic itself must not meet
        seeds = random.Random(seed)
        self._threads = [
            threading.Thread(target=self._ask, args=(random.Random(seeds.random()),), daemon=True)
            for _ in range(threads)
        ]
        self._teller = threading.Thread(target=self._tell, daemon=True)
        for thread in (*self._threads, self._teller):
            thread.start()

    def counts(self) -> dict[tuple[str, str], int]:
        """How many requests (version, ``ok`` or an error code) got; version "" where unknown."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> int:
        """Requests that were answered so far, one way or the other."""
        return sum(self.counts().values())

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the traffic and wait for what is under way."""
        self._stopping.set()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._answered.set()
        self._teller.join(max(0.1, end - time.monotonic()))

    def _ask(self, dice: random.Random) -> None:
        due = time.monotonic() + dice.random() * self._gap_s
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            # Arrivals are random, not a drum beat: bursts meet a queue as in real life.
            due = max(due, time.monotonic() - BEHIND_MAX_S) + dice.expovariate(1 / self._gap_s)
            user = dice.randrange(USERS)
            visits = range(user, len(self._people), USERS)  # the people this user asks about
            self._ask_once(f"u-{user:04d}", self._people[visits[dice.randrange(len(visits))]])

    def _ask_once(self, user: str, person: adult.Row) -> None:
        row = {name: person[name] for name in adult.INPUTS}
        asked = time.monotonic()
        try:
            answer = self._client.predict(self._model, row, unit=user)
        except ClientError as error:
            if error.status == 0 and not self._stopping.is_set():
                self.unexpected = str(error)
                self._stopping.wait(0.2)
            self._count("", error.code)
            return
        self._latencies_s.append(time.monotonic() - asked)
        self._count(answer.version, "ok")
        truth = (time.monotonic(), answer.id, person[adult.LABEL] == adult.POSITIVE)
        self._truths.append(truth)

    def _count(self, version: str, what: str) -> None:
        with self._lock:
            self._counts[version, what] += 1

    def _tell(self) -> None:
        """Send the truths that are due, once a second, until the end."""
        while True:
            last = self._answered.wait(1.0)
            self._keep_pace()
            due = []
            while self._truths and (last or self._truths[0][0] < time.monotonic() - TRUTH_AFTER_S):
                _, prediction_id, value = self._truths.popleft()
                due.append({"name": adult.LABEL, "prediction_id": prediction_id, "value": value})
            try:
                if due:
                    self.outcomes_sent += self._client.outcomes(due).accepted
            except ClientError as error:
                self.unexpected = str(error)
            if last:
                return

    def _keep_pace(self) -> None:
        latencies = sorted(self._latencies_s.copy())
        if latencies:
            at_ease = UTILISATION / latencies[len(latencies) // 10]
            self._gap_s = self._ask_threads / max(PACE_MIN, min(self._wanted, at_ease))
