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
from redpoll.control.watch import WatchState
from redpoll.host.paths import DataDir, replace
from redpoll.journal.port import Journal
from redpoll.rollout.machine_state import ModelState

FORMAT = 1

_log = logging.getLogger("redpoll.control")


class Checkpoint(Record, frozen=True, kw_only=True):
    """Folds and their cursors, of one moment."""

    format: int = FORMAT
    saved_us: int = 0
    cursors: dict[str, int] = {}
    traffic: dict[str, Any] = {}
    watches: dict[str, WatchState] = {}
    deploys: dict[str, Any] = {}


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


def archive(data: DataDir, state: WatchState) -> None:
    """Keep what is known of a rollout that ended, under its id."""
    folder = data.views / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    replace(folder / f"{state.id}.msgpack", msgspec.msgpack.encode(state))


def archived(data: DataDir, rollout_id: str) -> WatchState | None:
    """What was kept of a rollout; None where nothing was, or it cannot be read."""
    try:
        raw = (data.views / "rollouts" / f"{rollout_id}.msgpack").read_bytes()
        return msgspec.msgpack.decode(raw, type=WatchState)
    except (OSError, msgspec.MsgspecError):
        return None
