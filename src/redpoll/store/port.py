"""The catalog store's port: one document, versioned, changed by compare-and-set.

Adapters: :mod:`redpoll.store.memory`, :mod:`redpoll.store.sqlite`. Their common conformance suite is
:mod:`redpoll.testing.stores`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from redpoll.catalog import Model, Record
from redpoll.errors import RedpollError
from redpoll.ids import MODEL_NUMBERS


class StoredModel(Record, frozen=True, kw_only=True):
    """A model as it is wanted. ``model.versions`` also holds those that a file left out again.

    ``number`` is in every prediction id of the model: given once, never to another. ``applied_live``
    is ``live`` in the file that was applied last, which the next file is compared with.
    """

    number: int
    model: Model
    applied_live: str | None = None
    retired: bool = False  # left out of the file: takes no requests, keeps its number and versions
    gone: dict[str, str] = {}  # versions that were retired, and by whom and why

    @property
    def offered(self) -> Model:
        """The model without its retired versions."""
        left = tuple(one for one in self.model.versions if one.name not in self.gone)
        return self.model if not self.gone else msgspec.structs.replace(self.model, versions=left)


class Catalog(Record, frozen=True, kw_only=True):
    """All intentions at one revision. Revision 0 is an empty catalog that nobody has written."""

    revision: int = 0
    models: dict[str, StoredModel] = msgspec.field(default_factory=dict)
    applied_digest: str = ""  # of the configuration that was applied last

    def next_number(self) -> int:
        """A number for a new model. RP-001 where all of them are given away."""
        number = max((stored.number for stored in self.models.values()), default=-1) + 1
        if number >= MODEL_NUMBERS:
            raise RedpollError(
                "RP-001",
                f"all {MODEL_NUMBERS} model numbers are given away, and one is never given twice; "
                "start another data folder for new models",
            )
        return number


class Change(Record, frozen=True, kw_only=True):
    """One line of the catalog's history: which revision, when (µs, UTC), by whom, and what."""

    revision: int
    time_us: int
    actor: str
    what: str


class CatalogStore(Protocol):
    """Where the catalog is kept. Safe for use from several threads and processes at once."""

    def read(self) -> Catalog:
        """The newest revision. RP-004 where what is kept cannot be read."""
        ...

    def write(
        self, catalog: Catalog, expected_revision: int, *, actor: str, what: str, time_us: int
    ) -> int:
        """Keep ``catalog`` as the next revision, which is returned.

        Raises RP-401 where the newest revision is not ``expected_revision`` (read again, decide
        again), ``ValueError`` where a model is missing, has another number than before, or the
        number of another one. ``catalog.revision`` itself does not matter.
        """
        ...

    def at(self, revision: int) -> Catalog:
        """An earlier revision, as it was. RP-004 where there is none of that number."""
        ...

    def history(self, limit: int = 100) -> tuple[Change, ...]:
        """The newest changes first."""
        ...

    def close(self) -> None:
        """Let go of files. Further calls fail."""
        ...


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Catalog)


def encode(catalog: Catalog, revision: int) -> bytes:
    """The document of a revision: JSON."""
    return _encoder.encode(msgspec.structs.replace(catalog, revision=revision))


def decode(document: bytes, where: str) -> Catalog:
    """The catalog of a document; RP-004 where it is none."""
    try:
        return _decoder.decode(document)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RedpollError(
            "RP-004",
            f"the catalog in {where} cannot be read: {error}; it may come from a newer redpoll: "
            "start that one, or put back a copy of the file",
        ) from None


def check_successor(before: Catalog, after: Catalog) -> None:
    """Raise ``ValueError`` unless every model stays, with its number, and no number is shared."""
    for name, stored in before.models.items():
        if name not in after.models:
            raise ValueError(f"model {name} would be forgotten; mark it as retired")
        if after.models[name].number != stored.number:
            raise ValueError(f"model {name} would change its number, which is in prediction ids")
    numbers = [stored.number for stored in after.models.values()]
    if len(set(numbers)) != len(numbers):
        raise ValueError("two models would share a number")
    if any(not 0 <= number < MODEL_NUMBERS for number in numbers):
        raise ValueError(f"a model's number must be in [0, {MODEL_NUMBERS})")


def stale(expected: int, newest: int) -> RedpollError:
    """RP-401 for a write that came too late."""
    return RedpollError(
        "RP-401",
        f"the catalog is at revision {newest}, and this change was made for revision {expected}: "
        "somebody changed it meanwhile; look again, then repeat the change if it is still wanted",
    )


def unknown_revision(revision: int) -> RedpollError:
    """RP-004 for a revision that was never written."""
    return RedpollError("RP-004", f"the catalog has no revision {revision}; see its history")
