"""Model files, kept by their digest."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from redpoll.catalog import Config, Model, Version
from redpoll.errors import RedpollError
from redpoll.store.artifacts import Artifacts, fingerprint
from redpoll.store.port import Catalog, StoredModel


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def version(folder: Path, **fields) -> Version:
    return Version(**{"name": "v1", "backend": "sklearn:model.pkl", "folder": str(folder)} | fields)


def test_a_model_file_is_kept_under_its_digest(tmp_path: Path) -> None:
    """Bytes for bytes, read-only, with nothing temporary left."""
    content = os.urandom(3_000_000)
    (tmp_path / "model.pkl").write_bytes(content)
    artifacts = Artifacts(tmp_path / "artifacts")
    added = artifacts.add(version(tmp_path))
    assert added.artifact == sha(content)
    assert artifacts.path(sha(content)).read_bytes() == content
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [sha(content)]


def test_side_files_and_whole_folders_are_kept_too(tmp_path: Path) -> None:
    """A folder is taken file by file; caches of Python are not part of a model."""
    (tmp_path / "labels.json").write_text("{}")
    deep = tmp_path / "look" / "up"
    deep.mkdir(parents=True)
    (deep / "a.txt").write_text("a")
    (tmp_path / "look" / "b.txt").write_text("b")
    (tmp_path / "look" / "__pycache__").mkdir()
    (tmp_path / "look" / "__pycache__" / "x.pyc").write_text("x")
    artifacts = Artifacts(tmp_path / "artifacts")
    added = artifacts.add(version(tmp_path, backend="python:m:load", files=("labels.json", "look")))
    assert added.artifact is None
    assert added.file_digests == {
        "labels.json": sha(b"{}"),
        "look/b.txt": sha(b"b"),
        "look/up/a.txt": sha(b"a"),
    }
    assert all(artifacts.path(digest).is_file() for digest in added.file_digests.values())


def test_a_model_that_is_a_folder_is_kept_whole(tmp_path: Path) -> None:
    """Under one digest of all its names and bytes; twice is once; half a copy is never seen."""
    model = tmp_path / "model"
    (model / "inner").mkdir(parents=True)
    (model / "MLmodel").write_text("flavors:")
    (model / "inner" / "weights").write_bytes(b"123")
    artifacts = Artifacts(tmp_path / "artifacts")
    version = Version(name="v1", backend="mlflow:model", folder=str(tmp_path))
    kept = artifacts.add(version)
    assert kept.artifact is not None
    assert artifacts.add(version, copy=False) == artifacts.add(version) == kept
    copy = artifacts.path(kept.artifact)
    assert (copy / "inner" / "weights").read_bytes() == b"123"
    assert [path.name for path in artifacts.root.iterdir()] == [kept.artifact]
    (model / "inner" / "weights").rename(model / "weights")
    assert artifacts.add(version).artifact != kept.artifact
    (model / "weights").write_bytes(b"124")
    assert len({artifacts.add(version).artifact, kept.artifact}) == 2
    assert len(list(artifacts.root.iterdir())) == 3


def test_a_dry_run_copies_nothing(tmp_path: Path) -> None:
    """It only says which digest it would be."""
    (tmp_path / "model.pkl").write_bytes(b"m")
    added = Artifacts(tmp_path / "artifacts").add(version(tmp_path), copy=False)
    assert added.artifact == sha(b"m")
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("copy", [True, False])
def test_a_missing_file_is_an_error_with_its_path(tmp_path: Path, copy: bool) -> None:
    """RP-003, and no torn file in the folder."""
    with pytest.raises(RedpollError, match=r"model\.pkl") as caught:
        Artifacts(tmp_path / "artifacts").add(version(tmp_path), copy=copy)
    assert caught.value.code == "RP-003"
    assert not list(tmp_path.rglob(".new-*"))


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    """The rename comes last: a name in the folder is always a whole file."""
    (tmp_path / "model.pkl").write_bytes(b"m")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("redpoll.store.artifacts.os.fsync", full)
    with pytest.raises(RedpollError, match="No space left"):
        Artifacts(tmp_path / "artifacts").add(version(tmp_path))
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_the_same_file_added_by_many_at_once_is_kept_once(tmp_path: Path) -> None:
    """Two writers of the same bytes do not disturb each other."""
    (tmp_path / "model.pkl").write_bytes(b"m" * 100_000)
    artifacts = Artifacts(tmp_path / "artifacts")
    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(artifacts.add(version(tmp_path)).artifact))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(found) == {sha(b"m" * 100_000)}
    assert len(found) == 8
    assert len(list((tmp_path / "artifacts").iterdir())) == 1


def test_a_fingerprint_tells_apart_what_can_answer_differently(tmp_path: Path) -> None:
    """The model's bytes, its side files, and under which names they lie."""
    base = version(tmp_path, artifact="a")
    prints = {
        fingerprint(base),
        fingerprint(replace(base, artifact="b")),
        fingerprint(replace(base, file_digests={"x": "1"})),
        fingerprint(replace(base, file_digests={"x": "2"})),
        fingerprint(replace(base, file_digests={"y": "1"})),
    }
    assert len(prints) == 5
    assert fingerprint(replace(base, workers=9, timeout_ms=1)) == fingerprint(base)
    assert fingerprint(version(tmp_path, backend="http://h/v2/models/m")) == ""


def test_a_known_version_whose_file_is_gone_keeps_what_was_stored(tmp_path: Path) -> None:
    """The copy is what runs: cleaning up old files does not break an apply."""
    (tmp_path / "model.pkl").write_bytes(b"m")
    artifacts = Artifacts(tmp_path / "artifacts")
    config = Config(
        path="f", data_dir="d", models=(Model(name="churn", versions=(version(tmp_path),)),)
    )
    first = artifacts.fill(config, Catalog())
    catalog = Catalog(models={"churn": StoredModel(number=0, model=first.models[0])})
    (tmp_path / "model.pkl").unlink()
    assert artifacts.fill(config, catalog) == first
    with pytest.raises(RedpollError):
        artifacts.fill(config, Catalog())


def test_a_known_version_with_other_bytes_gets_their_digest(tmp_path: Path) -> None:
    """So that applying it can refuse it (see tests/apply)."""
    (tmp_path / "model.pkl").write_bytes(b"m")
    artifacts = Artifacts(tmp_path / "artifacts")
    config = Config(
        path="f", data_dir="d", models=(Model(name="churn", versions=(version(tmp_path),)),)
    )
    first = artifacts.fill(config, Catalog())
    catalog = Catalog(models={"churn": StoredModel(number=0, model=first.models[0])})
    (tmp_path / "model.pkl").write_bytes(b"n")
    assert artifacts.fill(config, catalog).models[0].versions[0].artifact == sha(b"n")
