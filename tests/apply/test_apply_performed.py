"""The whole way: a file on disk, control, the catalog, artifacts, routes and Decisions."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from redpoll import config, routes
from redpoll.control.service import Control
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir
from redpoll.journal.files import Journal
from redpoll.store.sqlite import SqliteStore


def write(folder: Path, live: str, *versions: str) -> Path:
    """A redpoll.toml with these sklearn versions, and their files where they are missing."""
    lines = ["[models.churn]", f'live = "{live}"', "[models.churn.versions]"]
    for name in versions:
        file = folder / f"{name}.pkl"
        if not file.exists():
            file.write_bytes(pickle.dumps(name))
        lines.append(f'{name} = "sklearn:{name}.pkl"')
    path = folder / "redpoll.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextlib.asynccontextmanager
async def control(folder: Path):
    data = DataDir(folder / "data").make()
    store = SqliteStore(data.catalog)
    running = Control(data, Journal(data.root), store)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()
        store.close()


@pytest.fixture
def run() -> Iterator:
    yield asyncio.run


def table(folder: Path) -> routes.Table:
    return routes.decode((folder / "data" / "run" / "routes.json").read_bytes())


def test_a_first_file_makes_its_version_live_and_a_changed_one_starts_the_rollout(
    tmp_path: Path, run
) -> None:
    """Also after a restart in between, where the same file does nothing."""

    async def first() -> None:
        async with control(tmp_path) as running:
            lines = await running.apply(config.load(write(tmp_path, "v1", "v1")), actor="ada")
            assert [line.action for line in lines] == ["add_model", "add_version", "live"]
            assert table(tmp_path).routes["churn"].live == "v1"
            kept = running.engine.catalog.models["churn"]
            assert kept.applied_live == "v1"
            artifact = kept.model.versions[0].artifact
            assert artifact
            assert (tmp_path / "data" / "artifacts" / artifact).read_bytes() == pickle.dumps("v1")

    async def second() -> None:
        async with control(tmp_path) as running:
            assert table(tmp_path).routes["churn"].live == "v1"
            lines = await running.apply(config.load(tmp_path), actor="serve")
            assert [line.action for line in lines] == ["none"]
            changed = config.load(write(tmp_path, "v2", "v1", "v2"))
            dry = await running.apply(changed, actor="ada", dry_run=True)
            assert running.rollouts("churn") == ()
            assert len(list((tmp_path / "data" / "artifacts").iterdir())) == 1
            lines = await running.apply(changed, actor="ada")
            assert lines == dry
            assert [line.action for line in lines] == ["add_version", "start"]
            (rollout,) = running.rollouts("churn")
            assert (rollout.version, rollout.stable) == ("v2", "v1")
            again = await running.apply(changed, actor="ada")
            assert [line.action for line in again] == ["none"]
            assert len(running.rollouts("churn")) == 1

    async def third() -> None:
        async with control(tmp_path) as running:
            back = config.load(write(tmp_path, "v1", "v1", "v2"))
            lines = await running.apply(back, actor="ada")
            assert [line.action for line in lines] == ["abort"]
            assert running.rollouts("churn")[0].state == "aborted"
            made = [decision.action for decision in running.decisions("churn")]
            assert {"add_version", "live", "start", "abort"} <= set(made)

    run(first())
    run(second())
    run(third())


def test_other_bytes_under_an_old_name_are_refused_and_change_nothing(tmp_path: Path, run) -> None:
    """RP-002; the file may be gone, and may come back as it was."""

    async def whole() -> None:
        async with control(tmp_path) as running:
            path = write(tmp_path, "v1", "v1")
            await running.apply(config.load(path), actor="ada")
            before = running.engine.store.read()
            (tmp_path / "v1.pkl").write_bytes(pickle.dumps("other"))
            with pytest.raises(RedpollError, match="other bytes") as caught:
                await running.apply(config.load(path), actor="ada")
            assert caught.value.code == "RP-002"
            assert running.engine.store.read() == before
            (tmp_path / "v1.pkl").unlink()
            known = config.load(path, stored={("churn", "v1")})
            lines = await running.apply(known, actor="ada")
            assert [line.action for line in lines] == ["none"]

    run(whole())


def test_a_model_that_is_left_out_leaves_the_routes_and_can_come_back(tmp_path: Path, run) -> None:
    """With the number that it had."""

    async def whole() -> None:
        async with control(tmp_path) as running:
            path = write(tmp_path, "v1", "v1")
            await running.apply(config.load(path), actor="ada")
            number = table(tmp_path).routes["churn"].number
            other = tmp_path / "other.toml"
            other.write_text('[models.fraud.versions]\nv1 = "http://127.0.0.1:9/v2/models/f"\n')
            lines = await running.apply(config.load(other), actor="ada")
            assert any(line.action == "retire" for line in lines)
            assert set(table(tmp_path).routes) == {"fraud"}
            await running.apply(config.load(path), actor="ada")
            assert set(table(tmp_path).routes) == {"churn"}
            assert table(tmp_path).routes["churn"].number == number
            assert table(tmp_path).routes["churn"].live == "v1"

    run(whole())


def test_a_version_is_added_alone_and_stays_when_the_file_is_applied_again(
    tmp_path: Path, run
) -> None:
    """``redpoll version add``; the next apply of a file without it leaves it there."""

    async def whole() -> None:
        async with control(tmp_path) as running:
            path = write(tmp_path, "v1", "v1")
            await running.apply(config.load(path), actor="ada")
            (tmp_path / "v2.pkl").write_bytes(pickle.dumps("v2"))
            table_ = {"backend": "sklearn:v2.pkl", "workers": "2"}
            version = config.version_from("churn", "v2", table_, str(tmp_path))
            (line,) = await running.add_version("churn", version, actor="ada")
            assert line.action == "add_version"
            (line,) = await running.add_version("churn", version, actor="ada")
            assert line.action == "none"
            await running.apply(config.load(path), actor="ada")
            targets = table(tmp_path).routes["churn"].targets
            assert set(targets) == {"v1", "v2"}
            assert targets["v2"].version.workers == 2

    run(whole())
