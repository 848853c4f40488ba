"""``redpoll token …``: who may ask a server that is reached from elsewhere."""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path
from typing import Any

import click

from redpoll.cli.face import Face, with_face
from redpoll.cli.groups import Commands
from redpoll.cli.output import table
from redpoll.errors import RedpollError, closest
from redpoll.host import token_file, tokens

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@click.group(cls=Commands)
def token() -> None:
    """Tokens: who may ask, and what for."""


@token.command("create")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE[,SCOPE…]",
    help=f"What it may do: {', '.join(tokens.SCOPES)}. `operate` may read, `admin` may all.",
)
@click.option("--name", required=True, help="Whose it is; what is done with it is signed so.")
@click.option(
    "--per-second",
    type=float,
    metavar="N",
    help="At most that many requests a second to each gateway; past it 429.",
)
@with_face
def create(face: Face, scopes: tuple[str, ...], name: str, per_second: float | None) -> None:
    """Make a token and print it, once; the tokens file keeps its hash only.

    The file is `server.tokens_file` of the configuration. A server that runs knows the token
    within a second.
    """
    wanted = _scopes(scopes)
    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"{name[:80]!r} is no name for a token: letters, digits and . _ @ -, at most 64."
        )
    if per_second is not None and not 0 < per_second < 1e9:  # NaN passes click's own ranges
        raise click.UsageError("--per-second must be a number above 0.")
    path = _file(face)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made, line = tokens.make(name, wanted, per_second=per_second, made=now)
    token_file.add(path, name, line)
    document: dict[str, Any] = {"token": made, "name": name, "scopes": wanted, "file": str(path)}
    if per_second is not None:
        document["per_second"] = per_second
    face.out.result(document, made)
    face.out.say(
        f"{name} may {', '.join(wanted)}. The token is shown this once; {path} holds its hash.\n"
        "Send it as `Authorization: Bearer TOKEN`; commands and the Python client read it from "
        "REDPOLL_TOKEN."
    )


@token.command("list")
@with_face
def list_tokens(face: Face) -> None:
    """List the tokens' names and what they may do; the tokens themselves are nowhere."""
    path = _file(face)
    grants = [grant for _, grant in tokens.read(path)] if path.exists() else []
    shown = [
        {
            "name": grant.name,
            "scopes": [scope for scope in tokens.SCOPES if scope in grant.scopes],
            "per_second": grant.per_second,
            "made": grant.made or None,
        }
        for grant in grants
    ]
    rows = [
        (
            grant.name,
            ",".join(scope for scope in tokens.SCOPES if scope in grant.scopes),
            "-" if grant.per_second is None else f"{grant.per_second:g}",
            grant.made or "-",
        )
        for grant in grants
    ]
    face.out.result(
        {"file": str(path), "tokens": shown}, table(("NAME", "SCOPES", "PER SECOND", "MADE"), rows)
    )
    if not grants:
        face.out.say(f"There is no token in {path}.")
        face.out.suggest("redpoll token create --scope predict --name NAME")


@token.command("revoke")
@click.argument("name")
@with_face
def revoke(face: Face, name: str) -> None:
    """Take the token NAME out; it stops working within a second, its sessions too."""
    path = _file(face)
    count = token_file.revoke(path, name)
    what = "is" if count == 1 else f"({count} of them) are"
    face.out.result(
        {"revoked": name, "count": count, "file": str(path)},
        f"{name} {what} revoked; a server that runs refuses it within a second.",
    )


def _scopes(given: tuple[str, ...]) -> list[str]:
    words = [word.strip() for words in given for word in words.split(",") if word.strip()]
    for word in words:
        if word not in tokens.SCOPES:
            near = closest(word, tokens.SCOPES)
            raise click.UsageError(
                f"{word!r} is no scope; there are {', '.join(tokens.SCOPES)}.{near}"
            )
    if not words:
        raise click.UsageError(f"--scope names none; there are {', '.join(tokens.SCOPES)}.")
    return [scope for scope in tokens.SCOPES if scope in words]


def _file(face: Face) -> Path:
    """The tokens file that the configuration names; it need not exist, nor the rest be right."""
    path = face.config_path
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RedpollError(
            "RP-001",
            f"there is no file {path}, which says where the tokens are; go to its folder, or name "
            "it with -c",
        ) from None
    except ValueError as error:
        raise RedpollError("RP-001", f"{path} is not TOML: {error}") from None
    server = said.get("server")
    named = server.get("tokens_file") if isinstance(server, dict) else None
    if not isinstance(named, str) or not named:
        raise RedpollError(
            "RP-001",
            f"{path} names no tokens file, so its server asks nobody for a token; add\n"
            '[server]\ntokens_file = "tokens"\nand start the server again',
        )
    return path.parent / named
