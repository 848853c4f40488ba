"""The gateway alone, killed again and again in the middle of its work: ``make chaos ARGS=--gateway``.

Each gateway is a process of its own on the same listening socket, ended by kill -9 once it has
answered a few requests more. It is forked from a process that has imported everything, so that a
thousand of them take minutes. A sealer works beside them, and closes what died unanswered.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from redpoll.facts import Answer
from redpoll.journal.files import FileJournal
from redpoll.testing.fake_oip import FakeOip
from tests.chaos.load import Answered, Load
from tests.chaos.storm import _read
from tests.web_data.process import GatewayProcess

CLIENTS = 8
ANSWERS_MAX = 25  # of one gateway's life, before it is killed
PATIENCE_S = 60.0
# Forks a gateway for each line on stdin, says its pid, and waits for it to be killed.
NURSERY = """
import os, sys
import redpoll.web.dataplane as dataplane
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        sys.exit(dataplane.main(sys.argv[1:]))
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("gone", flush=True)
"""


class Report(NamedTuple):
    """What came of it."""

    kills: int
    answered: list[Answered]
    broken: int
    requests: Counter[str]  # prediction id -> Request facts
    answers: dict[str, list[Answer]]  # prediction id -> live Answer facts
    lost: int  # requests that died unanswered, and were closed

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.kills} kills of the gateway; {len(self.answered)} requests answered,"
            f" {len(self.requests)} in the journal, {self.lost} of them closed as lost;"
            f" {self.broken} connections broken"
        )

    def faults(self) -> list[str]:
        """Answers that the journal lacks, requests that are there twice, open or answered twice."""
        wrong = [f"{one} is not in the journal" for one in self.answered if not self._holds(one)]
        for number, count in self.requests.items():
            held = len(self.answers.get(number, ()))
            if count != 1 or held != 1:
                wrong.append(f"{number}: {count} requests and {held} live answers")
        wrong += [
            f"{number}: an answer without a request"
            for number in self.answers
            if number not in self.requests
        ]
        return wrong

    def _holds(self, one: Answered) -> bool:
        facts = self.answers.get(one.prediction_id, [])
        return len(facts) == 1 and facts[0].status != "lost" and one.prediction_id in self.requests


def run(folder: Path, kills: int, seed: int, rate: float) -> Report:
    """Kill ``kills`` gateways under load, and reckon."""
    dice = random.Random(seed)
    with FakeOip() as backend:
        place = GatewayProcess(folder, {"v1": f"{backend.url}"})
        data = ["--data-dir", str(place.data.root)]
        fd = place.listener.fileno()
        sealer = subprocess.Popen(
            [sys.executable, "-m", "redpoll.sealer", *data], stderr=subprocess.DEVNULL
        )
        nursery = subprocess.Popen(
            [sys.executable, "-c", NURSERY, *data, "--fd", str(fd)],
            pass_fds=(fd,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        load = Load(place.port, clients=CLIENTS, rate=rate, seed=seed)
        try:
            for done in range(kills):
                _live_and_die(nursery, load, dice)
                if (done + 1) % 100 == 0:
                    print(f"{done + 1} kills, {len(load.answered)} answered", flush=True)
            stop = _start(nursery)  # the last one answers what waits
            load.stop()
            os.kill(stop, signal.SIGKILL)
            requests, answers = _settle(FileJournal(place.data))
        finally:
            sealer.terminate()
            sealer.wait(PATIENCE_S)
            nursery.kill()
            nursery.communicate()
            place.listener.close()
    lost = sum(facts[0].status == "lost" for facts in answers.values())
    return Report(kills, load.answered, load.broken, requests, answers, lost)


def _start(nursery: subprocess.Popen[str]) -> int:
    assert nursery.stdin is not None and nursery.stdout is not None
    nursery.stdin.write("\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


def _live_and_die(nursery: subprocess.Popen[str], load: Load, dice: random.Random) -> None:
    enough = len(load.answered) + dice.randint(1, ANSWERS_MAX)
    pid = _start(nursery)
    end = time.monotonic() + PATIENCE_S
    while len(load.answered) < enough:
        assert time.monotonic() < end, "a gateway does not answer"
        time.sleep(0.001)
    time.sleep(dice.uniform(0, 0.01))
    os.kill(pid, signal.SIGKILL)
    assert nursery.stdout is not None and nursery.stdout.readline() == "gone\n"


def _settle(journal: FileJournal) -> tuple[Counter[str], dict[str, list[Answer]]]:
    """Once the sealer has closed what died unanswered."""
    end = time.monotonic() + PATIENCE_S
    while True:
        requests, answers = _read(journal)
        if not requests.keys() - answers.keys() or time.monotonic() > end:
            return requests, answers
        time.sleep(0.5)
