"""``redpoll log …``: the journal, always from its files."""

from __future__ import annotations

import click

from redpoll.cli.groups import Commands


@click.group(cls=Commands)
def log() -> None:
    """The journal of facts."""
