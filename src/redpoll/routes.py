"""The route table: which version is live for a model now, and which share goes to a candidate.

Control writes it to ``<data_dir>/run/routes.json`` (a temporary name, then a rename); gateways and
the supervisor read it whole. It is derived from the catalog and the Decisions, so it can be lost.
"""

from __future__ import annotations

import msgspec

from redpoll.catalog import Model, ModelLimits, Record, Version


class Target(Record, frozen=True, kw_only=True):
    """A version and where it answers.

    ``addresses`` are ``unix:<path of the socket>`` (one a worker) or one ``http(s)://…`` URL of a
    model. ``run`` says whether its workers should be running now.
    """

    version: Version
    addresses: tuple[str, ...]
    run: bool = True


class Route(Record, frozen=True, kw_only=True):
    """One model's route. ``generation`` grows with every change of this model's route.

    ``coming`` is the model as it was declared anew while its workers still answer by ``model``:
    those that are to take over (at ``coming_targets``) are started, and not asked yet.
    """

    model: Model
    number: int  # the model's number in the catalog, [0, 4096)
    generation: int
    live: str | None = None
    candidate: str | None = None
    weight: float = 0.0  # of the candidate
    salt: str = ""
    rollout_id: str | None = None
    targets: dict[str, Target] = {}
    since_us: int = 0
    coming: Model | None = None
    coming_targets: dict[str, Target] = {}

    @property
    def limits(self) -> ModelLimits:
        """The model's bounds."""
        return self.model.limits


class Table(Record, frozen=True, kw_only=True):
    """All routes. ``stream``/``sequence``: the Decision that the newest change came from."""

    generation: int = 0
    time_us: int = 0
    stream: str = ""
    sequence: int = -1
    watching: bool = False  # a rollout runs: idle gateways write an empty frame every 100 ms
    routes: dict[str, Route] = {}


_decoder = msgspec.json.Decoder(Table)


def encode(table: Table) -> bytes:
    """JSON, as it stands in ``routes.json``."""
    return msgspec.json.encode(table)


def decode(raw: bytes) -> Table:
    """The table of a ``routes.json``; ``msgspec.ValidationError`` where it is none."""
    return _decoder.decode(raw)
