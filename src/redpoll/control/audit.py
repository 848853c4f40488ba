"""A rollout judged again from its journal: whether the facts give the Decisions that were made.

The same fold, the same gates and the same machine as live, over everything that was written since
the Decision that started the rollout. What a person decided, and what followed from a version's
health, is taken as it was; everything that evidence decided must come out again, at the same
requests and with the same evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from redpoll.catalog import Record
from redpoll.control.timeline import when
from redpoll.control.watch import Watch
from redpoll.errors import RedpollError
from redpoll.facts import Decision, Entry
from redpoll.journal.port import Journal
from redpoll.rollout import machine
from redpoll.rollout.machine_fold import fold, read_evidence
from redpoll.rollout.machine_state import CHANGED, LOST, RESTARTS, Health, ModelState

BY_EVIDENCE = ("advance", "pause", "promote", "rollback")
# Losses are no evidence: a pause for them, and its end, are left to the Decisions that say so.
HEALTH = Health(ready=True, lost_us=2**62)


class Checked(Record, frozen=True, kw_only=True):
    """One Decision beside what the evidence gives. ``time_us``: when it was made."""

    decision_id: str
    action: str
    time_us: int
    sentence: str
    by_evidence: bool  # else a person's, or the versions' health: taken as it was
    agrees: bool
    why: str = ""  # where it does not


class Refolded(Record, frozen=True, kw_only=True):
    """What the journal gives for a rollout.

    ``action``, ``sentence`` and ``evidence`` are those of the last thing that evidence decides
    (None: nothing yet); ``state`` is the rollout's state after it.
    """

    rollout_id: str
    state: str
    action: str | None
    sentence: str
    evidence: dict[str, Any]
    checked: tuple[Checked, ...]
    agrees: bool


def refold(journal: Journal, rollout_id: str) -> Refolded:
    """Judge a rollout again, sealed and live facts alike. RP-400 where the journal has none such.

    Everything that arrived since the start is held in memory: some 400 bytes a request.
    """
    model = rollout_id.rpartition("-")[0]
    entries = journal.read(kinds=["decision"], models=[model], raw=False) if model else iter(())
    decisions = sorted(entries, key=when)
    before = [entry for entry in decisions if _starts(entry, rollout_id)]
    if not before:
        raise RedpollError("RP-400", f"The journal has no Decision that started {rollout_id!r}.")
    start = decisions.index(before[0])
    state = ModelState(name=model)
    for entry in decisions[: start + 1]:
        state = _fold(state, entry)
    rollout = state.rollout
    assert rollout is not None  # the Decision that starts it was just folded
    watch = Watch(rollout)
    kinds, end_us = ["request", "answer"], 0
    for entry in journal.read(rollout.cursors, kinds=kinds, models=[model], raw=False):
        watch.add(entry)
        end_us = max(end_us, entry.time_us)
    return _Judge(rollout_id, state, watch, end_us).run(decisions[start + 1 :])


class _Judge:
    """Walks through the Decisions, closing buckets up to each."""

    def __init__(self, rollout_id: str, state: ModelState, watch: Watch, end_us: int) -> None:
        self.id, self.state, self.watch, self.end_us = rollout_id, state, watch, end_us
        self.checked: list[Checked] = []
        self.last: tuple[str, str, dict[str, Any]] | None = None

    def run(self, decisions: list[Entry]) -> Refolded:
        for entry in decisions:
            decision = entry.fact
            if not isinstance(decision, Decision):
                continue
            if decision.subject_id == self.id and self._active():
                self._check(entry, decision)
            self.state = _fold(self.state, entry)
            rollout = self.state.find(self.id)
            if rollout is not None:
                self.watch.follow(rollout)
        open_end = self._walk(self.end_us, self.end_us) if self._active() else None
        if open_end is not None:
            self.last = (open_end.action, open_end.sentence, read_evidence(open_end))
        action, sentence, evidence = self.last or (None, "", {})
        rollout = self.state.find(self.id)
        return Refolded(
            rollout_id=self.id,
            state=open_end.to_state or "" if open_end else rollout.state if rollout else "",
            action=action,
            sentence=sentence,
            evidence=evidence,
            checked=tuple(self.checked),
            agrees=open_end is None and all(one.agrees for one in self.checked),
        )

    def _active(self) -> bool:
        active = self.state.active
        return active is not None and active.id == self.id

    def _check(self, entry: Entry, decision: Decision) -> None:
        evidence = read_evidence(decision)
        judged = (
            decision.action in BY_EVIDENCE
            and decision.actor == "redpoll"
            and "last_closed_us" in evidence
            and evidence.get("cause") not in (CHANGED, RESTARTS, LOST)
        )
        found = self._walk(int(evidence.get("last_closed_us", 0)), evidence.get("known_us"))
        why = ""
        if judged and found is None:
            why = "the evidence gives no decision here"
        elif judged and found is not None:
            why = _difference(evidence, read_evidence(found), decision, found)
            self.last = (found.action, found.sentence, read_evidence(found))
        elif found is not None:
            why = f"the evidence had given {found.action} before: {found.sentence}"
        self.checked.append(
            Checked(
                decision_id=decision.decision_id,
                action=decision.action,
                time_us=when(entry)[0],
                sentence=decision.sentence,
                by_evidence=judged,
                agrees=not why,
                why=why,
            )
        )

    def _walk(self, upto_us: int, known_us: int | None) -> Decision | None:
        """Close bucket after bucket up to there; the first Decision that follows.

        ``known_us``: up to when the answers were known on which the Decision was made, so that none
        counts that could not count then (None, in older Decisions: nobody said).
        """
        for now_us in self._buckets(upto_us, known_us):
            reading = self.watch.reading
            actions = machine.step(self.state, reading, HEALTH, now_us, "")
            if actions:
                return actions[0].decision
        return None

    def _buckets(self, upto_us: int, known_us: int | None) -> Iterator[int]:
        rollout = self.state.active
        while rollout is not None and rollout.begun:
            target = self.watch.next_bucket(rollout, upto_us)
            moved = self.watch.close(target, known_us)
            yield target
            if not moved or target >= upto_us:
                return


def _difference(
    recorded: dict[str, Any], found: dict[str, Any], decision: Decision, again: Decision
) -> str:
    if decision.action != again.action or recorded.get("cause") != found.get("cause"):
        return f"the evidence gives {again.action}: {again.sentence}"
    for key in ("candidate_requests", "gates", "step", "weight"):
        if recorded.get(key) != found.get(key):
            if key == "gates" and _same_gates(recorded.get(key), found.get(key)):
                continue
            return f"{key} is {found.get(key)} here and {recorded.get(key)} there"
    return ""


def _same_gates(recorded: Any, found: Any) -> bool:
    """Whether gates agree that were recorded against another limit than the gate's own.

    Older Decisions of rollouts by unit hold the e-value and the limit of the test that was nearest
    to failing; how far each is of its limit must be the same.
    """
    try:
        pairs = list(zip(recorded, found, strict=True))
        return all(
            {**one, "evidence": 0, "limit": 0} == {**two, "evidence": 0, "limit": 0}
            and one["limit"] != two["limit"]
            and math.isclose(
                one["evidence"] / one["limit"], two["evidence"] / two["limit"], rel_tol=1e-4
            )
            for one, two in pairs
            if one != two
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return False


def _starts(entry: Entry, rollout_id: str) -> bool:
    fact = entry.fact
    return isinstance(fact, Decision) and fact.action == "start" and fact.subject_id == rollout_id


def _fold(state: ModelState, entry: Entry) -> ModelState:
    fact = entry.fact
    return fold(state, fact, entry.time_us) if isinstance(fact, Decision) else state
