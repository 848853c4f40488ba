"""Reading and applying where no server runs: the same answers, from the files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from redpoll import config as configuration
from redpoll.cli.remote import Remote
from redpoll.control.looking import look
from redpoll.control.service import Control
from redpoll.errors import RedpollError
from redpoll.host.lock import acquire
from redpoll.host.paths import DataDir
from redpoll.journal.files import Journal
from redpoll.store.sqlite import SqliteStore
from redpoll.web import applying


class Local(Remote):
    """The reading half of the API, over a data folder on which no server runs."""

    running = False

    def __init__(self, data: DataDir) -> None:
        if not data.catalog.is_file():
            raise RedpollError(
                "RP-603",
                f"nothing was ever served from {data.root}; start with `redpoll serve`, or name a "
                "folder with --data-dir",
            )
        self._control = Control(data, Journal(data.root), SqliteStore(data.catalog))
        look(self._control.engine)

    def overview(self) -> dict[str, Any]:
        """All models."""
        return dict(_plain(self._control.overview()))

    def model(self, name: str) -> dict[str, Any]:
        """One model."""
        return dict(_plain(self._control.model(name)))

    def versions(self, model: str) -> list[dict[str, Any]]:
        """A model's versions."""
        return list(_plain(self._control.versions(model)))

    def rollouts(self, model: str) -> list[dict[str, Any]]:
        """A model's rollouts, newest first."""
        return list(_plain(self._control.rollouts(model)))

    def rollout(self, name: str) -> dict[str, Any]:
        """A rollout by its id, or the newest of a model."""
        return dict(_plain(self._control.rollout(name)))

    def decisions(self, of: str, limit: int = 100) -> list[dict[str, Any]]:
        """Decisions about a rollout or a model, newest first."""
        return list(_plain(self._control.decisions(of, limit)))

    def route(self, model: str) -> dict[str, Any]:
        """The model's route."""
        return dict(_plain(self._control.route(model)))


def apply_to_files(data: DataDir, path: Path, actor: str, dry_run: bool) -> list[dict[str, Any]]:
    """Apply a file where no server runs. RP-301 where one starts meanwhile.

    A rollout that this starts waits, pending, for the server that will serve it.
    """
    if not data.catalog.is_file():
        configuration.load(path)  # a file with errors leaves no folder behind

    async def applied(control: Control) -> list[dict[str, Any]]:
        config = await applying.load(control, path)
        return list(_plain(await control.apply(config, actor=actor, dry_run=dry_run)))

    return list(_with_control(data, applied))


def add_version_to_files(
    data: DataDir, model: str, body: dict[str, Any], actor: str
) -> list[dict[str, Any]]:
    """Add a version where no server runs."""
    table = body["options"] | {"backend": body["backend"]}
    version = configuration.version_from(model, body["name"], table, body["folder"])

    async def added(control: Control) -> list[dict[str, Any]]:
        return list(_plain(await control.add_version(model, version, actor=actor)))

    return list(_with_control(data, added))


def retire_version_in_files(
    data: DataDir, model: str, version: str, body: dict[str, Any], generation: int | None
) -> list[dict[str, Any]]:
    """Retire a version where no server runs."""

    async def retired(control: Control) -> list[dict[str, Any]]:
        done = await control.retire_version(
            model,
            version,
            reason=body["reason"],
            actor=body["actor"],
            generation=generation,
            now=body["now"],
        )
        return list(_plain(done))

    return list(_with_control(data, retired))


def _with_control(data: DataDir, work: Callable[[Control], Awaitable[Any]]) -> Any:
    """Be the one controller for a moment, under the server's lock."""
    data.make()

    async def run() -> Any:
        control = Control(data, Journal(data.root), SqliteStore(data.catalog))
        await control.start()
        try:
            return await work(control)
        finally:
            await control.stop()

    with acquire(data.lock):
        return asyncio.run(run())


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)
