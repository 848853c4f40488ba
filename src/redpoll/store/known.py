"""Which versions' files are kept already: reading a file need not find them where they were."""

from __future__ import annotations

from redpoll.host.paths import DataDir
from redpoll.store.port import Catalog
from redpoll.store.sqlite import SqliteStore


def kept(catalog: Catalog) -> set[tuple[str, str]]:
    """(model, version) of every version that was ever applied: its files are in ``artifacts``."""
    return {
        (name, version.name)
        for name, stored in catalog.models.items()
        for version in stored.model.versions
    }


def kept_in(data_dir: str) -> set[tuple[str, str]]:
    """The same for a data folder: ``config.load(path, stored=kept_in)``. RP-004."""
    path = DataDir(data_dir).catalog
    if not path.is_file():
        return set()
    store = SqliteStore(path)
    try:
        return kept(store.read())
    finally:
        store.close()
