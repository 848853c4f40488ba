"""``redpoll serve``: the server, in the foreground."""

from __future__ import annotations

import click

from redpoll.cli.face import Face, with_face


@click.command()
@with_face
def serve(face: Face) -> int:
    """Apply the configuration, then serve it: gateway, controller, sealer and model workers.

    SIGTERM or Ctrl-C drains and ends; SIGHUP applies the file again.
    """
    from redpoll.supervise.main import serve as supervise

    return supervise(face.config_path)
