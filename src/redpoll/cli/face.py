"""What every command shares: its options, where its server is, and how to read without one."""

from __future__ import annotations

import functools
import getpass
import json
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from redpoll.cli.output import Out
from redpoll.cli.remote import Remote
from redpoll.client import Client
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir

CONFIG = "redpoll.toml"
DATA_DIR = "redpoll-data"

Command = TypeVar("Command", bound=Callable[..., Any])


class Face:
    """The options that all commands take, and what follows from them."""

    def __init__(
        self, as_json: bool, server: str | None, config: str | None, data_dir: str | None
    ) -> None:
        named = {"--server": server, "-c": config, "--data-dir": data_dir}
        self.out = Out(
            as_json, [word for key, said in named.items() if said for word in (key, said)]
        )
        self._server = server or os.environ.get("REDPOLL_SERVER") or None
        self._config = config
        self._data_dir = data_dir

    @property
    def config_path(self) -> Path:
        """The configuration file: ``-c``, else ``redpoll.toml`` here."""
        return Path(self._config or CONFIG)

    @functools.cached_property
    def data(self) -> DataDir:
        """The data folder: ``--data-dir``, else what the file says, else ``redpoll-data`` here."""
        if self._data_dir is not None:
            return DataDir(self._data_dir)
        path = self.config_path
        if self._config is not None and not path.is_file():
            raise RedpollError("RP-001", f"there is no file {path}")
        return self.data_of(path)

    def data_of(self, path: Path) -> DataDir:
        """The data folder that a configuration file names; ``--data-dir`` wins."""
        if self._data_dir is not None:
            return DataDir(self._data_dir)
        try:
            said = str(tomllib.loads(path.read_text()).get("data_dir", DATA_DIR))
        except (OSError, ValueError):
            # A broken file must not hide the data from whoever looks for the reason.
            said = DATA_DIR
        return DataDir(path.parent / said)

    @property
    def given_data_dir(self) -> str | None:
        """``--data-dir``."""
        return self._data_dir

    def addresses(self) -> dict[str, Any] | None:
        """``run/server.json`` of a server that runs on the data folder, or None."""
        return self.addresses_on(self.data)

    def addresses_on(self, data: DataDir) -> dict[str, Any] | None:
        """The same of another data folder."""
        try:
            said: dict[str, Any] = json.loads(data.server.read_bytes())
            os.kill(int(said["pid"]), 0)
        except PermissionError:
            return said  # it runs, as another user
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return said

    def remote(self) -> Remote | None:
        """The API: of ``--server``, ``REDPOLL_SERVER``, or the server on the data folder."""
        if self._server:
            return Remote(self._server)
        said = self.addresses()
        if not said or not said.get("control"):
            return None
        return Remote(f"{scheme_of(said)}://{said['control']}", cert_of(said))

    def server(self) -> Remote:
        """The API, or RP-603 where no server runs."""
        remote = self.remote()
        if remote is None:
            raise RedpollError(
                "RP-603",
                f"no server runs on {self.data.root}; start it with `redpoll serve`, or name one "
                "with --server",
            )
        return remote

    def reader(self) -> Remote:
        """What answers reading commands: the server, or the files where none runs."""
        remote = self.remote()
        if remote is not None:
            return remote
        from redpoll.cli.local import Local

        return Local(self.data)

    def client(self, url: str | None, **options: Any) -> Client:
        """A client of the data plane: ``--url``, ``REDPOLL_URL``, else the server's address."""
        url = url or os.environ.get("REDPOLL_URL")
        if not url:
            said = self.addresses()
            if said is None:
                raise RedpollError(
                    "RP-603",
                    f"no server runs on {self.data.root}; start it with `redpoll serve`, or name "
                    "its data address with --url",
                )
            url = f"{scheme_of(said)}://{said['data']}"
            options.setdefault("cert", cert_of(said))
        return Client(url, **options)


def scheme_of(said: dict[str, Any]) -> str:
    """``http``, or ``https`` where a server (its ``run/server.json``) speaks TLS."""
    return str(said.get("scheme") or "http")


def cert_of(said: dict[str, Any]) -> str | None:
    """The file of a server's own certificate, which is trusted on its own machine."""
    server = said.get("server")
    return server.get("tls_cert") if isinstance(server, dict) else None


def with_face(command: Command) -> Command:
    """Give a command the common options; it gets a :class:`Face` first."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option(
        "--server", metavar="URL", help="Control address (default: the one that runs here)."
    )
    @click.option("-c", "--config", metavar="FILE", help=f"Configuration (default {CONFIG}).")
    @click.option("--data-dir", metavar="DIR", help="Data folder (default: what the file says).")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        as_json: bool,
        server: str | None,
        config: str | None,
        data_dir: str | None,
        **options: Any,
    ) -> Any:
        return command(Face(as_json, server, config, data_dir), *args, **options)

    return wrapped  # type: ignore[return-value]


def with_reason(command: Command) -> Command:
    """Give a command ``--reason`` (asked for on a terminal) and ``--generation``."""

    @click.option("--reason", help="Why; kept with the decision (at least three characters).")
    @click.option(
        "--generation", type=int, metavar="N", help="Do nothing if the route changed since N."
    )
    @functools.wraps(command)
    def wrapped(*args: Any, reason: str | None, **options: Any) -> Any:
        if not reason:
            if not sys.stdin.isatty():
                raise click.UsageError(
                    "Missing option '--reason': why? It is kept with the decision."
                )
            reason = click.prompt("Why? (kept with the decision)", err=True)
        return command(*args, reason=reason, **options)

    return wrapped  # type: ignore[return-value]


def actor() -> str:
    """Who runs this command, for the Decision; a token's name counts for more."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
