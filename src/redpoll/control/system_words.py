"""*System* in sentences: what is wrong with redpoll itself, the worst first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redpoll.rollout.figures import duration
from redpoll.views import CountView, ProcessView

OLD_S = 10.0  # evidence older than that
SEALER_BEHIND_S = 120.0  # files are due after half a minute
UNSYNCED_S = 2.0  # a sync is due ten times a second
LITTLE_BYTES = 1 << 30
FEW_DAYS = 3.0
DAY_S = 86_400.0
CALM, WARN, BACK = "calm", "warn", "back"


class Known(NamedTuple):
    """What the sentences are made from."""

    trouble: str  # why control's last step failed
    age_s: float  # of the evidence
    written: int
    lost: int
    losses: Sequence[CountView]
    processes: Sequence[ProcessView]
    sealer_behind_s: float
    free_bytes: int | None
    bytes_a_day: float | None
    unsynced_s: float = 0.0  # how long the sync that runs has been running
    clock_held_s: float = 0.0  # by how much the clock has stepped back


def sentences(known: Known) -> tuple[str, str, list[str]]:
    """Severity, the page's sentence, and what else there is to say."""
    found = [*_down(known), *_room(known), *_lost(known), *_late(known)]
    lasts = _lasts(known)
    if not found:
        return CALM, "redpoll has lost nothing, and everything runs.", _nothing(known, lasts)
    severity = BACK if any(one == BACK for one, _ in found) else WARN
    said = [text for _, text in sorted(found, key=lambda one: one[0] != BACK)]
    more = said[1:]
    return severity, said[0], more if known.lost else [*more, *_nothing(known, "")]


def _nothing(known: Known, lasts: str) -> list[str]:
    """What changes all the time stands apart from the sentence, which is read out when it does."""
    lost = f"0 of {known.written:,} facts are lost; the evidence is {known.age_s:.1f} s old."
    return [lost, lasts] if lasts else [lost]


def _down(known: Known) -> list[tuple[str, str]]:
    found = []
    what = {
        "gateway": "no request is answered; what was answered is in the journal",
        "sealer": "facts stay in live files until it does; nothing is lost",
        "supervisor": "what dies now is not started again; restart `redpoll serve`",
    }
    for one in known.processes:
        if one.well == "fail":
            said = f": {what[one.kind]}" if one.kind in what else ""
            found.append((BACK, f"The {one.name} {one.state}{said}."))
    if known.trouble:
        found.append((BACK, f"Control cannot go on: {known.trouble.rstrip('.')}."))
    for one in known.processes:
        if one.well == "warn":
            said = f": {one.detail}" if one.detail else ""
            found.append((WARN, f"{one.name} {one.state}{said}."))
    return found


def _room(known: Known) -> list[tuple[str, str]]:
    free = known.free_bytes
    if free is None:
        return []
    if free < LITTLE_BYTES:
        return [(BACK, f"Only {_gib(free)} are free on the journal's disk; make room.")]
    days = _days(known)
    if days is not None and days < FEW_DAYS:
        text = f"The journal's disk is full in about {duration(days * DAY_S)} at this rate"
        return [(WARN, f"{text}: {_gib(free)} are free.")]
    return []


def _lost(known: Known) -> list[tuple[str, str]]:
    if not known.lost:
        return []
    why = ", ".join(f"{one.count:,} {one.name}: {one.reason}" for one in known.losses)
    return [
        (WARN, f"redpoll has lost {known.lost:,} of {known.written + known.lost:,} facts ({why}).")
    ]


def _late(known: Known) -> list[tuple[str, str]]:
    found = []
    if known.age_s > OLD_S:
        text = f"The newest evidence is {duration(known.age_s)} old: a gateway stands still, or"
        found.append((WARN, f"{text} control cannot follow. Nothing is decided meanwhile."))
    if known.sealer_behind_s > SEALER_BEHIND_S:
        late = duration(known.sealer_behind_s)
        found.append((WARN, f"The sealer is {late} behind: live files pile up until it follows."))
    if known.unsynced_s > UNSYNCED_S:
        text = f"The disk has not synced for {duration(known.unsynced_s)}: a power cut would lose"
        found.append((WARN, f"{text} what was written since."))
    if known.clock_held_s > 0:
        text = f"The clock stepped back by {known.clock_held_s:.1f} s"
        found.append((WARN, f"{text}: time in the journal is held until it has caught up."))
    return found


def _days(known: Known) -> float | None:
    if known.free_bytes is None or not known.bytes_a_day:
        return None
    return known.free_bytes / known.bytes_a_day


def _lasts(known: Known) -> str:
    days = _days(known)
    if days is None:
        return ""
    if days > 3650:
        return "The disk lasts for years at this rate."
    return f"The disk lasts {days:,.0f} days at this rate."


def _gib(number: float) -> str:
    return f"{number / (1 << 30):.1f} GiB"
