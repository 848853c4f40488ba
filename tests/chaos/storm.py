"""The storm: kills at seeded moments under load, rollouts meanwhile, and the reckoning."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from redpoll.control.audit import Refolded, refold
from redpoll.facts import Answer, Request
from redpoll.journal.files import Journal
from tests.chaos import models
from tests.chaos.load import Answered, Load
from tests.chaos.server import Server, free_port

# What is killed, and how often: the gateway holds the requests, so it comes first.
TARGETS = ("gateway",) * 4 + ("v1",) * 2 + ("candidate",) * 2 + ("control",) * 4 + ("sealer",) * 3
TARGETS += ("supervisor",) * 2
CLIENTS = 6
ENDED = ("promoted", "rolled_back", "aborted", "superseded")


class Report(NamedTuple):
    """What a storm left behind."""

    kills: Counter[str]
    answered: list[Answered]
    malformed: list[str]
    requests: Counter[str]  # prediction id -> Request facts
    answers: dict[str, list[Answer]]  # prediction id -> live Answer facts
    rollouts: dict[str, tuple[str, Refolded]]  # id -> state that was shown, what the journal gives
    exit_status: int
    starts_s: list[float]
    broken: int

    def line(self) -> str:
        """One line for people."""
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        states = Counter(state for state, _ in self.rollouts.values())
        ends = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return (
            f"{self.kills.total()} kills ({kills}); {len(self.answered)} requests answered, "
            f"{self.broken} connections broken; rollouts: {ends}; "
            f"started in {max(self.starts_s):.1f} s at most"
        )


class Storm:
    """One run. Everything random follows from ``seed``; the machine's timing does not."""

    def __init__(self, folder: Path, *, seed: int, kills: int, gap_s: float, rate: float) -> None:
        self._dice = random.Random(seed)
        self._kills_wanted = kills
        self._gap_s = gap_s
        self._rate = rate
        self._seed = seed
        self._data_port, control_port = free_port(), free_port()
        self.server = Server(models.write(folder, self._data_port, control_port), control_port)
        self.kills: Counter[str] = Counter()
        self.rollouts: dict[str, str] = {}
        self._next = 0
        self._candidate = ""

    def run(self) -> Report:
        """Storm, calm, and the reckoning."""
        try:
            return self._run()
        finally:
            if self.server.process.poll() is None:
                self.server.process.kill()
                self.server.process.wait()

    def _run(self) -> Report:
        self.server.wait_ready()
        self._wait_live()
        load = Load(self._data_port, clients=CLIENTS, rate=self._rate, seed=self._seed)
        while self.kills.total() < self._kills_wanted:
            self._pause(self._gap_s * self._dice.uniform(0.4, 1.6))
            self._kill(self._dice.choice(TARGETS))
        self._calm()
        load.stop()
        status = self.server.end()
        journal = Journal(self.server.data.root)
        requests, answers = self._settle(journal)
        return Report(
            kills=self.kills,
            answered=load.answered,
            malformed=load.malformed,
            requests=requests,
            answers=answers,
            rollouts={name: (said, refold(journal, name)) for name, said in self.rollouts.items()},
            exit_status=status,
            starts_s=self.server.starts_s,
            broken=load.broken,
        )

    def _kill(self, target: str) -> None:
        if target == "supervisor":
            self.server.kill()
            self.kills[target] += 1
            self.server.wait_ready()
            return
        pid = self.server.pid_of(self._candidate if target == "candidate" else target)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.kills[target] += 1

    def _pause(self, seconds: float) -> None:
        """Wait, and keep a rollout going meanwhile."""
        end = time.monotonic() + seconds
        while True:
            self._tend()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.2, left))

    def _tend(self) -> None:
        """Look at the newest rollout; start one where none runs, abort one that waits for us."""
        seen = self.server.api("GET", "/models/m/rollouts")
        found = (seen or {}).get("items") or (seen or {}).get("rollouts")
        if seen is None or seen["status"] != 200:
            return
        for one in found or ():
            self.rollouts[one["id"]] = one["state"]
        newest = found[0] if found else None
        if newest is None or newest["state"] in ENDED:
            self._start()
        elif newest["state"] == "paused":
            body = {"reason": "the storm goes on without it"}
            self.server.api("POST", f"/rollouts/{newest['id']}/abort", body)

    def _start(self) -> None:
        live = (self.server.api("GET", "/models/m/route") or {}).get("live")
        choices = [name for name in ("v1", "v2", "v3") if name != live]
        self._candidate = choices[self._next % len(choices)]
        self._next += 1
        body = {"version": self._candidate, "reason": "the storm wants one"}
        self.server.api("POST", "/models/m/rollouts", body)

    def _wait_live(self) -> None:
        end = time.monotonic() + 30
        while (self.server.api("GET", "/models/m/route") or {}).get("live") != "v1":
            assert time.monotonic() < end
            time.sleep(0.05)

    def _calm(self) -> None:
        """No more kills: the rollout that runs gets time to end by its evidence."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            seen = self.server.api("GET", "/models/m/rollouts") or {}
            found: list[dict[str, Any]] = seen.get("items") or seen.get("rollouts") or []
            for one in found:
                self.rollouts[one["id"]] = one["state"]
            if found and found[0]["state"] in (*ENDED, "paused"):
                return
            time.sleep(0.1)

    def _settle(self, journal: Journal) -> tuple[Counter[str], dict[str, list[Answer]]]:
        """Let a sealer close what died unanswered; then all requests and live answers there are."""
        with subprocess.Popen(
            [sys.executable, "-m", "redpoll.sealer", "--data-dir", str(self.server.data.root)]
        ) as sealer:
            end = time.monotonic() + 30
            while True:
                requests, answers = _read(journal)
                if not requests.keys() - answers.keys() or time.monotonic() > end:
                    break
                time.sleep(0.5)
            sealer.send_signal(signal.SIGTERM)
            sealer.wait(30)
        return _read(journal)


def _read(journal: Journal) -> tuple[Counter[str], dict[str, list[Answer]]]:
    requests: Counter[str] = Counter()
    answers: dict[str, list[Answer]] = {}
    for entry in journal.read(kinds=["request", "answer"], raw=False):
        fact = entry.fact
        if isinstance(fact, Request):
            requests[fact.prediction_id] += 1
        elif isinstance(fact, Answer) and fact.role == "live":
            answers.setdefault(fact.prediction_id, []).append(fact)
    return requests, answers


def faults(report: Report) -> list[str]:
    """Everything that must not be; [] where all is well."""
    wrong = [f"exit status {report.exit_status}"] if report.exit_status else []
    fatal = report.kills["gateway"] + report.kills["supervisor"]
    if report.broken > 1.5 * CLIENTS * fatal:  # a client may meet a server that is about to end
        wrong.append(f"{report.broken} connections broke, but only {fatal} kills could break any")
    wrong += [f"more bytes than an answer has: {text[:300]}" for text in report.malformed]
    for one in report.answered:
        there, facts = report.requests[one.prediction_id], report.answers.get(one.prediction_id, [])
        if there != 1 or len(facts) != 1:
            wrong.append(f"{one}: {there} requests and {len(facts)} live answers in the journal")
        elif (one.status < 300) != (facts[0].status == "ok"):
            wrong.append(f"{one}: the journal says {facts[0].status}")
        elif one.version and one.version != facts[0].version:
            wrong.append(f"{one}: the journal says {facts[0].version}")
    for number, count in report.requests.items():
        if count != 1 or len(report.answers.get(number, ())) != 1:
            held = len(report.answers.get(number, ()))
            wrong.append(f"{number}: {count} requests and {held} live answers in the journal")
    for name, (said, found) in report.rollouts.items():
        if not found.agrees:
            parts = [f"{one.action}: {one.why}" for one in found.checked if not one.agrees]
            wrong.append(f"{name} ended {said}, but its facts give: {parts or found.sentence}")
        if said in ENDED and found.state != said:
            wrong.append(f"{name} was shown {said}, the journal says {found.state}")
    return wrong
