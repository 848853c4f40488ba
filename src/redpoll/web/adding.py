"""Versions come and go over the API: ``redpoll version add``, ``redpoll version retire``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from redpoll import config
from redpoll.backends.start import interpreter
from redpoll.catalog import Version
from redpoll.errors import RedpollError
from redpoll.web.api import Endpoint, actor_of, body_of, generation_of, reply, strict, text

if TYPE_CHECKING:
    from redpoll.control.service import Control

PATH = "/api/v1/models/{model}/versions"
RETIRE = "/api/v1/models/{model}/versions/{version}/retire"


def endpoint(control: Control) -> Endpoint:
    """``POST /models/{model}/versions``: name, backend, options as in the file, and a folder."""

    async def add(request: Request) -> Response:
        body = await body_of(request, ("name", "backend", "options", "folder", "actor"))
        options = body.get("options", {})
        if not isinstance(options, dict):
            raise RedpollError("RP-101", "'options' must be an object of settings of a version.")
        if "backend" in options:
            raise RedpollError("RP-101", "'backend' stands beside 'options', not in it.")
        model, name = request.path_params["model"], text(body, "name", wanted=True)
        table = {"backend": text(body, "backend", wanted=True), **options}
        remote = table["backend"].startswith(("http://", "https://"))
        folder = text(body, "folder", wanted=not remote)
        if folder:
            checked_folder(folder)
        version = config.version_from(model, name, table, folder)
        if version.python is not None:
            checked_python(version)
        lines = await control.add_version(model, version, actor=actor_of(request, body))
        return reply({"lines": lines}, status=201)

    return strict(add, ())


def checked_python(version: Version) -> None:
    """Check an interpreter that came over HTTP, as :func:`checked_folder` does a folder. RP-501."""
    path = Path(interpreter(version))
    if not path.exists():
        return  # RP-210 says so
    found = path.stat()
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o002:
        raise RedpollError(
            "RP-501",
            f"{path} was not taken: workers are run by it, so it must be a program of the server's "
            "user (or root) that not everyone can write; chown or chmod it.",
        )


def retiring(control: Control) -> Endpoint:
    """``POST /models/{model}/versions/{version}/retire``: reason, and ``now``."""

    async def retire(request: Request) -> Response:
        body = await body_of(request, ("reason", "now", "actor"))
        now = body.get("now", False)
        if not isinstance(now, bool):
            raise RedpollError("RP-101", "'now' must be true or false.")
        lines = await control.retire_version(
            request.path_params["model"],
            request.path_params["version"],
            reason=text(body, "reason"),
            actor=actor_of(request, body),
            generation=generation_of(request),
            now=now,
        )
        return reply({"lines": lines})

    return strict(retire, ())


def checked_folder(given: str) -> None:
    """Check a folder that came over HTTP: workers run code from it.

    It must be absolute, and a folder that only the server's user or root can write. RP-101, RP-501.
    """
    path = Path(given)
    if "\0" in given or not path.is_absolute() or not path.is_dir():
        raise RedpollError(
            "RP-101",
            f"folder is {given[:200]!r}; it must be the absolute path of a folder on the server's "
            "machine.",
        )
    found = path.stat()
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o002:
        raise RedpollError(
            "RP-501",
            f"{path} was not taken: workers run code from it, so it must be a folder of the "
            "server's user (or root) that not everyone can write; chown or chmod it.",
        )
