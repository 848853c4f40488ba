"""The hunt: block after block of cases, each from its seed alone, and what was found with its reproducer."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.fuzz.corpus import SETUPS
from tests.fuzz.target import Hang, Target, Wrong
from tests.fuzz.wounds import Case, case, cut

BLOCK = 2000
AT_ONCE = 8  # connections that speak in the same turns of the loop


class Finding(NamedTuple):
    """What went wrong, and what was sent: all that spoke in the same turns, if no one did it alone."""

    block: int
    setup: str
    what: str
    cases: list[Case]

    @property
    def kind(self) -> str:
        """The same for findings that are likely one: the text without its numbers."""
        return re.sub(r"0x[0-9a-f]+|\d+", "#", self.what)[-400:]

    def save(self, path: Path) -> None:
        """For ``--replay``."""
        said = {
            "setup": self.setup,
            "what": self.what,
            "cases": [
                {
                    "pieces": [p.hex() for p in c.pieces],
                    "leaves": c.leaves,
                    "stops": c.stops_reading,
                }
                for c in self.cases
            ],
        }
        path.write_text(json.dumps(said, indent=1))


def load(path: Path) -> tuple[str, list[Case]]:
    """The setup and the cases of a saved finding."""
    said = json.loads(path.read_text())
    cases = [
        Case([bytes.fromhex(p) for p in c["pieces"]], c["leaves"], c["stops"])
        for c in said["cases"]
    ]
    return said["setup"], cases


class Result(NamedTuple):
    """What came of one block."""

    statuses: Counter[int]
    findings: list[Finding]


def run(seed: int, block: int, count: int = BLOCK) -> Result:
    """One block: ``count`` cases against a gateway of its own."""
    return asyncio.run(_block(seed, block, count))


def measured(seed: int, block: int) -> tuple[int, float, Result]:
    """One block, which process ran it, and how many MB that process has now."""
    result = run(seed, block)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return os.getpid(), pages * os.sysconf("SC_PAGE_SIZE") / 1e6, result


def replay(setup: str, cases: list[Case]) -> str:
    """These cases again, at a gateway that has seen nothing; what went wrong, or nothing."""
    return asyncio.run(_alone(setup, cases))


async def _block(seed: int, block: int, count: int) -> Result:
    dice = random.Random(f"{seed}:{block}")
    setup = SETUPS[block % len(SETUPS)]
    statuses: Counter[int] = Counter()
    findings: list[Finding] = []
    done = 0
    while done < count:
        with TemporaryDirectory(prefix="redpoll-fuzz-") as folder:
            target = Target(Path(folder), setup)
            wrong, cases = "", []
            while done < count and not wrong:
                cases = [case(dice) for _ in range(AT_ONCE)]
                done += AT_ONCE
                hurting = dice if dice.random() < 0.1 else None
                wrong = await _try(target, cases, hurting)
                if not wrong and hurting is None and dice.random() < 0.1:
                    cases, wrong = await _cut_anew(target, cases[0], dice)
            if not wrong:
                try:
                    target.whole()
                except Wrong as error:
                    wrong = str(error)
            statuses += target.statuses
        if wrong:  # and on with a new gateway: this one may be in any state
            findings.append(Finding(block, setup.name, wrong, await _smallest(setup.name, cases)))
    return Result(statuses, findings)


async def _try(target: Target, cases: list[Case], hurting: random.Random | None = None) -> str:
    try:
        await target.feed(cases, hurting)
    except (Wrong, Hang) as error:
        return f"{type(error).__name__.lower()}: {error}"
    except Exception as error:
        import traceback

        return f"an exception left the data plane: {error!r}\n{traceback.format_exc()}"
    return ""


async def _cut_anew(target: Target, one: Case, dice: random.Random) -> tuple[list[Case], str]:
    """The same bytes in one piece and in others have the same replies, up to which refusal it is."""
    if one.leaves or one.stops_reading or not one.raw:
        return [one], ""
    whole, pieces = Case([one.raw]), Case(cut(one.raw, dice))
    try:
        (first,), (second,) = await target.feed([whole]), await target.feed([pieces])
    except (Wrong, Hang) as error:
        return [whole, pieces], str(error)
    agree = [status // 100 for status in first] == [status // 100 for status in second]
    return [whole, pieces], "" if agree else f"whole: {first}, in pieces: {second}"


async def _smallest(setup: str, cases: list[Case]) -> list[Case]:
    """The one case that does it alone, where there is one."""
    for one in cases:
        if await _alone(setup, [one]):
            return [one]
    return cases


async def _alone(name: str, cases: list[Case]) -> str:
    setup = next(one for one in SETUPS if one.name == name)
    with TemporaryDirectory(prefix="redpoll-fuzz-") as folder:
        target = Target(Path(folder), setup)
        wrong = await _try(target, cases)
        if not wrong:
            try:
                target.whole()
            except Wrong as error:
                wrong = str(error)
        return wrong
