"""Decisions as lines of a timeline, and their order."""

from __future__ import annotations

import json
from collections.abc import Sequence

from redpoll.facts import Decision, Entry
from redpoll.journal.port import Journal
from redpoll.rollout.machine_fold import read_evidence
from redpoll.views import DecisionView


def when(entry: Entry) -> tuple[int, str, int]:
    """What orders Decisions of several streams: the time each one names, then its position."""
    fact = entry.fact
    at = read_evidence(fact).get("at_us") if isinstance(fact, Decision) else None
    return (int(at) if isinstance(at, int) else entry.time_us, entry.stream, entry.sequence)


def decision_view(model: str, decision: Decision, time_us: int) -> DecisionView:
    """A Decision as a line of a timeline; the latency reference is left out."""
    evidence = read_evidence(decision)
    evidence.pop("latency_reference", None)
    return DecisionView(
        decision_id=decision.decision_id,
        time_us=time_us,
        model=model,
        subject_kind=decision.subject_kind,
        subject_id=decision.subject_id,
        action=decision.action,
        from_state=decision.from_state,
        to_state=decision.to_state,
        actor=decision.actor,
        reason=decision.reason,
        sentence=decision.sentence,
        evidence=evidence,
        cursors=cursors_of(decision),
        spec_digest=decision.spec_digest,
    )


def newest(
    kept: Sequence[DecisionView], whole: bool, journal: Journal, name: str | None, limit: int
) -> tuple[DecisionView, ...]:
    """The newest of a rollout, a model or all (None), newest first.

    ``kept``: those in memory, oldest first; ``whole``: there were no others. Else the journal is
    read where they do not suffice.
    """
    mine = [one for one in kept if name in (None, one.model, one.subject_id)]
    if len(mine) < limit and not whole:
        mine = read(journal, name)
    return tuple(mine[: -limit - 1 : -1]) if limit > 0 else ()


def read(journal: Journal, name: str | None) -> list[DecisionView]:
    """All Decisions of a rollout, a model or everything (None) from the journal, oldest first."""
    entries = sorted(journal.read(kinds=["decision"], raw=False), key=when)
    return [
        decision_view(entry.model, entry.fact, when(entry)[0])
        for entry in entries
        if isinstance(entry.fact, Decision) and name in (None, entry.model, entry.fact.subject_id)
    ]


def cursors_of(decision: Decision) -> dict[str, int]:
    """The cursors that a Decision was made at; empty where it has none."""
    try:
        found = json.loads(decision.cursors)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def lowest(starts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Cursors from which all of these are still ahead: the lowest, absent where one lacks it."""
    if not starts:
        return {}
    shared = set(starts[0]).intersection(*starts[1:])
    return {stream: min(start[stream] for start in starts) for stream in sorted(shared)}
