"""Catalog stores: the conformance suite, and what only a file can do wrong."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
from pathlib import Path

import pytest

from redpoll import config
from redpoll.errors import RedpollError
from redpoll.store.known import kept_in
from redpoll.store.memory import MemoryStore
from redpoll.store.port import Catalog, CatalogStore, StoredModel
from redpoll.store.sqlite import SqliteStore
from redpoll.testing import stores


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path):
    """Opens the same catalog each time."""
    opened: list[CatalogStore] = []
    memory = MemoryStore()

    def open_one() -> CatalogStore:
        if request.param == "memory":
            return memory
        opened.append(SqliteStore(tmp_path / "catalog.sqlite"))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.mark.parametrize("check", stores.CHECKS, ids=lambda check: check.__name__)
def test_every_store_conforms(check, open_store) -> None:
    """The suite is public: another adapter runs it on itself."""
    check(open_store)


def test_the_suite_catches_a_store_that_does_not_compare() -> None:
    """A suite that no bad store fails is none."""

    class Careless(MemoryStore):
        def write(self, catalog, expected_revision, **about):
            return super().write(catalog, self.read().revision, **about)

    store = Careless()
    with pytest.raises(AssertionError):
        stores.check_a_write_for_an_older_revision_is_refused(lambda: store)


def _add_models(path: Path, process: int, count: int) -> None:
    store = SqliteStore(path)
    for index in range(count):
        stores._add(store, f"p{process}-{index}")
    store.close()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Compare-and-set holds between processes, also while the file is being made."""
    path = tmp_path / "catalog.sqlite"
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_add_models, args=(path, n, 5)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = SqliteStore(path)
    assert store.read().revision == 15
    assert len({stored.number for stored in store.read().models.values()}) == 15
    store.close()


def test_the_file_is_in_wal_mode(tmp_path: Path) -> None:
    """Readers (the CLI) never wait for control's writes."""
    SqliteStore(tmp_path / "catalog.sqlite").close()
    db = sqlite3.connect(tmp_path / "catalog.sqlite")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_a_file_of_a_newer_redpoll_is_refused_and_left_alone(tmp_path: Path) -> None:
    """RP-004 with what to do; not a byte is changed."""
    path = tmp_path / "catalog.sqlite"
    SqliteStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(RedpollError, match="newer redpoll") as caught:
        SqliteStore(path)
    assert caught.value.code == "RP-004"


@pytest.mark.parametrize(
    "content", [b"this is no database, just text" * 100, b"SQLite format 3\0x"]
)
def test_a_file_that_is_no_catalog_is_an_error_with_a_name(tmp_path: Path, content: bytes) -> None:
    """SQLite's errors never leave as such."""
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(content)
    with pytest.raises(RedpollError, match=r"catalog\.sqlite") as caught:
        SqliteStore(path).read()
    assert caught.value.code == "RP-004"


def test_a_document_that_is_damaged_is_an_error_with_a_name(tmp_path: Path) -> None:
    """What stands in the row is checked on reading."""
    path = tmp_path / "catalog.sqlite"
    store = SqliteStore(path)
    store.write(Catalog(), 0, actor="a", what="b", time_us=1)
    db = sqlite3.connect(path)
    db.execute("UPDATE revision SET document = CAST('{\"models\": 7}' AS BLOB)")
    db.commit()
    db.close()
    with pytest.raises(RedpollError, match="cannot be read") as caught:
        store.read()
    assert caught.value.code == "RP-004"
    store.close()


def test_a_folder_that_is_missing_is_an_error_with_a_name(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(RedpollError, match="nowhere"):
        SqliteStore(tmp_path / "nowhere" / "catalog.sqlite")


def test_others_cannot_read_the_catalog(tmp_path: Path) -> None:
    """It names hosts and headers; the folder's owner alone reads it."""
    path = tmp_path / "catalog.sqlite"
    store = SqliteStore(path)
    store.write(Catalog(), 0, actor="a", what="b", time_us=1)
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    store.close()


def test_what_is_kept_in_a_data_folder_need_not_be_found_again(tmp_path: Path) -> None:
    """A server starts again though a model's file was cleaned away since it was applied."""
    file = tmp_path / "redpoll.toml"
    file.write_text('[models.churn.versions]\nv1 = "sklearn:gone.pkl"\n')
    data = tmp_path / "redpoll-data"
    assert kept_in(str(data)) == set()
    with pytest.raises(RedpollError, match="does not exist"):
        config.load(file, stored=kept_in)
    assert not data.exists()
    data.mkdir()
    store = SqliteStore(data / "catalog.sqlite")
    model = config.load(file, stored={("churn", "v1")}).models[0]
    catalog = Catalog(models={"churn": StoredModel(number=0, model=model)})
    store.write(catalog, 0, actor="a", what="b", time_us=1)
    store.close()
    assert kept_in(str(data)) == {("churn", "v1")}
    assert config.load(file, stored=kept_in).models[0] == model
