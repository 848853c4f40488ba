"""Backups of a folder that is in use, and what comes back of them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from redpoll.archive import backup as backing
from redpoll.archive.backup import backup
from redpoll.archive.restore import restore
from redpoll.catalog import Model, Version
from redpoll.clock import SimClock
from redpoll.errors import RedpollError
from redpoll.host.lock import acquire
from redpoll.host.paths import DataDir
from redpoll.journal.checking import verify
from redpoll.journal.files import FileJournal
from redpoll.sealer.service import Sealer
from redpoll.store.port import Catalog, StoredModel
from redpoll.store.sqlite import SqliteStore
from redpoll.testing.journals import START_US
from tests.journal.disks import WAYS, small_disk
from tests.journal.logs import log, positions


def catalog(data: DataDir, *names: str) -> SqliteStore:
    """A catalog with these models, left open as a server does."""
    data.root.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(data.catalog)
    version = Version(name="v1", backend="http://127.0.0.1:1/v2/models/m")
    models = {
        name: StoredModel(number=at, model=Model(name=name, live="v1", versions=(version,)))
        for at, name in enumerate(names)
    }
    store.write(Catalog(models=models), 0, actor="a", what="w", time_us=1)
    return store


def test_a_backup_gives_back_every_fact_the_catalog_and_model_files(tmp_path: Path) -> None:
    """Of a folder that is in use: positions, catalog and files are the same, and all is whole."""
    with log(tmp_path / "data") as one:
        store = catalog(one.data, "churn", "fraud")
        one.data.make()
        (one.data.artifacts / "ab12").write_bytes(b"a model")
        one.live(one.day(), 5)
        made = backup(one.data, tmp_path / "kept", START_US)
        assert made.damaged == () and made.copied_files == made.files > 10
        before = positions(one.data)
        one.live(one.writers[0], 2)  # later: not in it
        done = restore(tmp_path / "kept", tmp_path / "new")
        assert (done.files, done.bytes) == (made.files, made.bytes)
        new = DataDir(tmp_path / "new")
        assert positions(new) == before
        assert verify(new).ok
        again = SqliteStore(new.catalog)
        assert again.read() == store.read()
        assert (new.artifacts / "ab12").read_bytes() == b"a model"
        for each in (store, again):
            each.close()
        # A server goes on there: the streams are dead, so they are sealed, and nothing is twice.
        sealer = Sealer(new, FileJournal(new), SimClock(START_US + 10**12))
        sealer.round()
        sealer.close()
        assert [p for p in positions(new) if not p[0].startswith("sealer-")] == before
        assert verify(new).ok


def test_a_second_backup_copies_what_is_new_and_drops_what_is_gone(tmp_path: Path) -> None:
    """Sealed files stay as they are; write-ahead files that were sealed meanwhile go."""
    with log(tmp_path / "data") as one:
        writer = one.day()
        first = backup(one.data, tmp_path / "kept", START_US)
        one.live(writer, 6)
        one.clock.advance(1_000_000)
        one.sealer.round()
        second = backup(one.data, tmp_path / "kept", START_US)
        assert 0 < second.copied_files < first.files / 2 < second.files
        kept = {
            str(p.relative_to(tmp_path / "kept"))
            for p in (tmp_path / "kept").rglob("*")
            if p.is_file()
        }
        manifest = json.loads((tmp_path / "kept" / "backup.json").read_bytes())
        assert kept == {*manifest["files"], "backup.json"}
        restore(tmp_path / "kept", tmp_path / "new")
        assert positions(tmp_path / "new") == positions(one.data)


def test_a_backup_while_facts_are_written_and_sealed_has_what_was_there_before(
    tmp_path: Path,
) -> None:
    """A writer and a sealer work on: every fact from before is in it, once, and it is whole."""
    with log(tmp_path / "data", rotate_bytes=1500) as one:
        writer = one.day(1)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                one.live(writer, 2)
                one.sealer.round()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for turn in range(4):
                before = positions(one.data)
                backup(one.data, tmp_path / "kept", START_US)
                new = tmp_path / f"new{turn}"
                restore(tmp_path / "kept", new)
                found = positions(new)
                assert set(before) <= set(found) and len(found) == len(set(found))
                assert verify(new).ok
        finally:
            stop.set()
            thread.join()


def test_a_damaged_backup_is_refused_and_nothing_is_put_back(tmp_path: Path) -> None:
    """Each file that is wrong is named; the folder stays as it was."""
    with log(tmp_path / "data") as one:
        one.day()
        backup(one.data, tmp_path / "kept", START_US)
    files = sorted((tmp_path / "kept" / "journal").rglob("*.parquet"))
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-1] + b"?")
    files[1].unlink()
    with pytest.raises(RedpollError) as error:
        restore(tmp_path / "kept", tmp_path / "new")
    assert error.value.code == "RP-312"
    for path, why in ((files[0], "checksum"), (files[1], "it is missing")):
        assert (
            f"{path.relative_to(tmp_path / 'kept')}: " in error.value.message
            and why in error.value.message
        )
    left = [p for p in (tmp_path / "new").rglob("*") if p.is_file() and p.name != "lock"]
    assert left == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Neither by a backup nor by a restore, and not under a running server."""
    with log(tmp_path / "data") as one:
        one.day(1)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "mine").write_text("!")
        refusals = {
            tmp_path / "other": "is no backup",
            one.data.root / "backup": "contain one another",
            tmp_path: "contain one another",
        }
        for folder, why in refusals.items():
            with pytest.raises(RedpollError, match=why) as error:
                backup(one.data, folder, START_US)
            assert error.value.code == "RP-312"
        backup(one.data, tmp_path / "kept", START_US)
        with log(tmp_path / "data2") as two, pytest.raises(RedpollError, match="a backup of"):
            two.day(1)
            backup(two.data, tmp_path / "kept", START_US)
        with pytest.raises(RedpollError, match="has journal already"):
            restore(tmp_path / "kept", one.data)
        with pytest.raises(RedpollError, match="is no backup, or one that was never finished"):
            restore(tmp_path / "other", tmp_path / "new")
        with acquire(DataDir(tmp_path / "new").lock), pytest.raises(RedpollError) as error:
            restore(tmp_path / "kept", tmp_path / "new")
        assert error.value.code == "RP-301"
        manifest = tmp_path / "kept" / "backup.json"
        said = json.loads(manifest.read_bytes())
        said["files"]["../outside"] = {"size": 1, "crc": 1}
        manifest.write_text(json.dumps(said))
        with pytest.raises(RedpollError, match="outside of the backup"):
            restore(tmp_path / "kept", tmp_path / "new")


def test_an_original_that_is_damaged_is_said(tmp_path: Path) -> None:
    """It is copied as it is: what can be read of it is better than nothing."""
    with log(tmp_path / "data") as one:
        one.day()
        path = Path(one.journal.layout.segments()[0].path)
        path.write_bytes(path.read_bytes()[:-30])
        made = backup(one.data, tmp_path / "kept", START_US)
        assert len(made.damaged) == 1 and path.name in made.damaged[0]


@pytest.mark.parametrize("how", WAYS)
def test_a_full_disk_spoils_no_backup_that_was_whole(how: str, tmp_path: Path) -> None:
    """The next one fails and says so; the one before can still be restored, and is finished later."""
    with log(tmp_path / "data") as one, small_disk(how, tmp_path / "disk", "1m") as disk:
        one.day()
        kept = disk.folder / "kept"
        backup(one.data, kept, START_US)
        before = positions(one.data)
        one.live(one.writers[0], 30)
        one.sealer.round()
        disk.fill()
        with pytest.raises(RedpollError, match="could not be finished") as error:
            backup(one.data, kept, START_US)
        assert error.value.code == "RP-312"
        disk.free()
        restore(kept, tmp_path / "new")
        assert positions(tmp_path / "new") == before
        backup(one.data, kept, START_US)
        restore(kept, tmp_path / "newer")
        assert positions(tmp_path / "newer") == positions(one.data)
    assert backing.MANIFEST == "backup.json"
