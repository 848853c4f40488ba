"""Which declaration of a model its workers answer by, while it changes.

A worker is told once what requests and answers look like. When the file says otherwise, workers of
the new declaration are started beside those of the old one, on sockets of their own; requests go on
in the old words until the new ones are ready, and then change over at once. A model without workers
changes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from redpoll.catalog import Model
from redpoll.routes import Table

Sockets = Callable[[int, Model], dict[str, list[str]]]


class Spoken:
    """The declaration in force of each model, and what waits to take its place."""

    def __init__(self) -> None:
        self._in_force: dict[str, Model] = {}

    def load(self, table: Table) -> None:
        """Go on from the table that was published last, perhaps by a controller before us."""
        self._in_force = {name: route.model for name, route in table.routes.items()}

    def before(
        self,
        models: Iterable[tuple[int, Model]],
        sockets: Sockets,
        live: Callable[[str], str | None],
        workers: Mapping[str, str],
    ) -> Mapping[str, Model]:
        """The models whose older declaration is still in force, by name.

        ``sockets``: where a model's workers answer as it is declared, by version. ``live``: a
        model's live version. ``workers``: the state of each worker, by its socket.
        """
        held: dict[str, Model] = {}
        in_force: dict[str, Model] = {}
        for number, model in models:
            old = self._in_force.get(model.name)
            if old is not None and old.declaration() != model.declaration():
                today = sockets(number, model.speaking(old))
                to_come = sockets(number, model)
                if _waits(today, to_come, live(model.name), workers):
                    held[model.name] = old
            in_force[model.name] = held.get(model.name, model)
        self._in_force = in_force
        return held


def _waits(
    today: Mapping[str, Iterable[str]],
    to_come: Mapping[str, Iterable[str]],
    live: str | None,
    workers: Mapping[str, str],
) -> bool:
    """Whether the old words still serve better than the new ones."""
    if not any(workers.get(socket) == "ready" for found in today.values() for socket in found):
        return False  # nobody speaks them any more
    for version, found in to_come.items():
        states = {workers.get(socket) for socket in found}
        # One that cannot load is waited for only where users depend on it.
        if states - {"ready"} and (version == live or "backoff" not in states):
            return True
    return False
