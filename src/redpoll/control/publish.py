"""The route table from intentions and Decisions, and its one place in the run folder.

The table is derived: it can be lost and is written again from the same facts. Its generation is
the sum of the models' own generations, so it grows with every Decision about any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from redpoll.catalog import Model, Version
from redpoll.host.paths import DataDir, replace
from redpoll.rollout.machine_state import ModelState
from redpoll.routes import Route, Table, Target, encode


def addresses(data: DataDir, number: int, version: Version) -> tuple[str, ...]:
    """Where a version answers: its URL, or ``unix:<path>`` for each of its workers."""
    if version.kind == "http":
        return (version.backend,)
    return tuple(
        f"unix:{data.socket(number, version.name, index)}" for index in range(version.workers)
    )


def runs(state: ModelState, version: str, now_us: int) -> bool:
    """Whether a version's workers should run: live, candidate, or kept warm."""
    active = state.active
    wanted = {state.live, active.version if active else None, active.stable if active else None}
    return version in wanted or state.warm.get(version, 0) > now_us


def route(data: DataDir, number: int, model: Model, state: ModelState, now_us: int) -> Route:
    """One model's route."""
    active = state.active
    since = [state.since_us]
    if state.rollout is not None:
        since += [state.rollout.step_since_us, state.rollout.ended_us or 0]
    return Route(
        model=model,
        number=number,
        generation=state.generation,
        live=state.live,
        candidate=active.version if active else None,
        weight=active.weight if active else 0.0,
        salt=active.salt if active else "",
        rollout_id=active.id if active else None,
        since_us=max(since),
        targets={
            version.name: Target(
                version=version,
                addresses=addresses(data, number, version),
                run=version.kind == "http" or runs(state, version.name, now_us),
            )
            for version in model.versions
        },
    )


def table(
    data: DataDir,
    models: Iterable[tuple[int, Model]],
    states: Mapping[str, ModelState],
    now_us: int,
    position: tuple[str, int],
) -> Table:
    """All routes. ``position``: the newest Decision's stream and sequence."""
    routes = {
        model.name: route(
            data, number, model, states.get(model.name, ModelState(name=model.name)), now_us
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
