"""What control has folded, kept in ``views/`` with the cursors of that moment.

A checkpoint only saves time: without it the same is folded again from the journal. It is believed
only where it fits: of this format, not ahead of the journal, and knowing every rollout that runs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from redpoll.catalog import Record
from redpoll.control.watch import Watch, WatchState
from redpoll.host.paths import DataDir, replace
from redpoll.journal.port import Journal
from redpoll.rollout.machine_state import ModelState, RolloutState

FORMAT = 3  # 2: latencies of all weights together; 1: evidence against the limit of its test

_log = logging.getLogger("redpoll.control")


class Checkpoint(Record, frozen=True, kw_only=True):
    """Folds and their cursors, of one moment."""

    format: int = FORMAT
    saved_us: int = 0
    cursors: dict[str, int] = msgspec.field(default_factory=dict)
    traffic: dict[str, Any] = msgspec.field(default_factory=dict)
    watches: dict[str, WatchState] = msgspec.field(default_factory=dict)
    deploys: dict[str, Any] = msgspec.field(default_factory=dict)


_decoder = msgspec.msgpack.Decoder(Checkpoint)


def save(data: DataDir, checkpoint: Checkpoint) -> None:
    """Rename it into place."""
    replace(data.views / "control.msgpack", msgspec.msgpack.encode(checkpoint))


def load(data: DataDir, journal: Journal, states: Mapping[str, ModelState]) -> Checkpoint | None:
    """The newest one, or None where it is missing or does not fit."""
    try:
        found = _decoder.decode((data.views / "control.msgpack").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("the checkpoint cannot be read (%s); the journal is folded again", error)
        return None
    why = _unfit(found, journal, states)
    if why:
        _log.warning("the checkpoint does not fit: %s; the journal is folded again", why)
        return None
    return found


def _unfit(found: Checkpoint, journal: Journal, states: Mapping[str, ModelState]) -> str:
    if found.format != FORMAT:
        return "it is of another version of redpoll"
    for stream in journal.streams():
        if found.cursors.get(stream.stream, -1) > stream.last_sequence:
            return f"it is ahead of {stream.stream}, which has lost its end"
    for name, state in states.items():
        active, watch = state.active, found.watches.get(name)
        missing = watch is None or watch.id != active.id if active else False
        if active is not None and missing and active.started_us < found.saved_us:
            return f"it does not know {active.id}"
    return ""


def watches(data: DataDir, found: Checkpoint, states: Mapping[str, ModelState]) -> dict[str, Watch]:
    """The watches of a checkpoint; of a rollout that ended since, what was kept at its end.

    ``ValueError`` where one cannot be read.
    """
    loaded: dict[str, Watch] = {}
    archive = Archive(data)
    for name, state in states.items():
        mine, rollout = found.watches.get(name), state.rollout
        if mine is None or rollout is None or mine.id != rollout.id:
            continue
        ended = None if rollout.active or mine.over else archive.watch(rollout)
        loaded[name] = ended or Watch.load(rollout, mine)
    return loaded


class Archive:
    """What is known of rollouts that ended, one file each."""

    CACHED = 50

    def __init__(self, data: DataDir) -> None:
        self._folder = data.views / "rollouts"
        self._known: dict[str, Watch] = {}

    def keep(self, watch: Watch) -> None:
        """Write down what is known of a rollout at its end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = msgspec.msgpack.encode(watch.state())
        replace(self._folder / f"{watch.id}.msgpack", content)

    def watch(self, rollout: RolloutState) -> Watch | None:
        """What was kept of a rollout; None where nothing was, or it cannot be read."""
        if rollout.id not in self._known:
            try:
                raw = (self._folder / f"{rollout.id}.msgpack").read_bytes()
                kept = Watch.load(rollout, msgspec.msgpack.decode(raw, type=WatchState))
            except (OSError, ValueError, msgspec.MsgspecError):
                return None
            while len(self._known) >= self.CACHED:
                del self._known[next(iter(self._known))]
            self._known[rollout.id] = kept
        return self._known[rollout.id]
