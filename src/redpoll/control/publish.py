"""The route table from intentions and Decisions, and its one place in the run folder.

The table is derived: it can be lost and is written again from the same facts. Its generation is
the sum of the models' own generations, so it grows with every Decision about any of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import msgspec

from redpoll.catalog import Model, Version
from redpoll.control.spoken import Spoken
from redpoll.host.paths import DataDir, replace
from redpoll.rollout.machine_state import ModelState
from redpoll.routes import Route, Table, Target, decode, encode

UNIX = "unix:"


def addresses(data: DataDir, number: int, model: Model, version: Version) -> tuple[str, ...]:
    """Where a version answers: its URL, or ``unix:<path>`` for each of its workers."""
    if version.kind == "http":
        return version.urls
    declaration = model.declaration()
    return tuple(
        f"{UNIX}{data.socket(number, version.name, index, declaration)}"
        for index in range(version.workers)
    )


def runs(state: ModelState, version: str, now_us: int) -> bool:
    """Whether a version's workers should run: live, candidate, or kept warm."""
    active = state.active
    wanted = {state.live, active.version if active else None, active.stable if active else None}
    return version in wanted or state.warm.get(version, 0) > now_us


def targets(
    data: DataDir, number: int, model: Model, state: ModelState, now_us: int
) -> dict[str, Target]:
    """All versions of a model, as it is declared, and where they answer."""
    return {
        version.name: Target(
            version=version,
            addresses=addresses(data, number, model, version),
            run=version.kind == "http" or runs(state, version.name, now_us),
        )
        for version in model.versions
    }


def sockets(of: Mapping[str, Target]) -> dict[str, list[str]]:
    """Where the workers among these targets answer, by version."""
    return {
        name: [one.removeprefix(UNIX) for one in target.addresses if one.startswith(UNIX)]
        for name, target in of.items()
        if target.run
    }


def route(
    data: DataDir,
    number: int,
    model: Model,
    state: ModelState,
    now_us: int,
    before: Model | None = None,
) -> Route:
    """One model's route. ``before``: the model as its workers know it still."""
    active = state.active
    spoken = model if before is None else model.speaking(before)
    coming = {} if before is None else targets(data, number, model, state, now_us)
    since = [state.since_us]
    if state.rollout is not None:
        since += [state.rollout.step_since_us, state.rollout.ended_us or 0]
    return Route(
        model=spoken,
        number=number,
        generation=state.generation,
        live=state.live,
        candidate=active.version if active else None,
        weight=active.weight if active else 0.0,
        salt=active.salt if active else "",
        rollout_id=active.id if active else None,
        since_us=max(since),
        targets=targets(data, number, spoken, state, now_us),
        coming=None if before is None else model,
        coming_targets=coming,
    )


def table(
    data: DataDir,
    models: Iterable[tuple[int, Model]],
    states: Mapping[str, ModelState],
    now_us: int,
    position: tuple[str, int],
    before: Mapping[str, Model] | None = None,
) -> Table:
    """All routes. ``position``: the newest Decision's stream and sequence.

    ``before``: models whose workers still answer by an older declaration, with that one.
    """
    held = before or {}
    routes = {
        model.name: route(
            data,
            number,
            model,
            states.get(model.name, ModelState(name=model.name)),
            now_us,
            held.get(model.name),
        )
        for number, model in models
    }
    return Table(
        generation=sum(state.generation for state in states.values()),
        time_us=now_us,
        stream=position[0],
        sequence=position[1],
        watching=any(state.active is not None for state in states.values()),
        routes=routes,
    )


class Publisher:
    """Writes the table when it differs from what stands there, and remembers generations."""

    REMEMBERED = 256

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._last: Table | None = None
        self._by_table: dict[int, dict[str, int]] = {}
        self.spoken = Spoken()

    def load(self) -> None:
        """Go on in the words of the table that a controller before us left."""
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            self.spoken.load(decode(self._data.routes.read_bytes()))

    @property
    def current(self) -> Table:
        """What was published last; an empty table before the first time."""
        return self._last or Table()

    def publish(self, new: Table, again: bool = False) -> bool:
        """Rename the table into place; False where nothing but the time differs."""
        old = self._last
        if (
            old is not None
            and not again
            and (
                (old.generation, old.watching, old.routes)
                == (new.generation, new.watching, new.routes)
            )
        ):
            return False
        replace(self._data.routes, encode(new))
        self._last = new
        self._by_table[new.generation] = {name: one.generation for name, one in new.routes.items()}
        while len(self._by_table) > self.REMEMBERED:
            del self._by_table[next(iter(self._by_table))]
        return True

    def model_generation(self, table_generation: int, model: str) -> int | None:
        """Which generation of a model's route a table of that generation held, if known."""
        return self._by_table.get(table_generation, {}).get(model)
