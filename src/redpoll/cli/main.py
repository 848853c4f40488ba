"""The command and its one way out: every error is a line with a code, every end an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import redpoll
from redpoll.cli.errors import failure
from redpoll.cli.groups import Commands

COMMANDS = {
    "apply": "redpoll.cli.apply:apply",
    "demo": "redpoll.cli.demo:demo",
    "doctor": "redpoll.cli.doctor:doctor",
    "explain": "redpoll.cli.explain:explain",
    "init": "redpoll.cli.init:init",
    "log": "redpoll.cli.log:log",
    "open": "redpoll.cli.open:open_console",
    "outcome": "redpoll.cli.predict:outcome",
    "predict": "redpoll.cli.predict:predict",
    "rollback": "redpoll.cli.change:rollback",
    "rollout": "redpoll.cli.rollout:rollout",
    "serve": "redpoll.cli.serve:serve",
    "status": "redpoll.cli.status:status",
    "token": "redpoll.cli.token:token",
    "version": "redpoll.cli.version:version",
}


@click.group(
    cls=Commands,
    commands_at=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `redpoll demo`, or with `redpoll serve` beside a redpoll.toml.",
)
@click.version_option(redpoll.__version__, prog_name="redpoll", message="%(prog)s %(version)s")
def cli() -> None:
    """Serve models, roll new versions out carefully, and know why.

    Exit codes: 0 ok, 1 failed (also aborted, superseded), 2 usage, 3 a gate says no,
    4 not enough evidence yet (also a time limit), 5 waits for a person.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    arguments = list(arguments)
    try:
        done = cli.main(arguments, prog_name="redpoll", standalone_mode=False)
        return done if isinstance(done, int) else 0
    except BrokenPipeError:
        # Whoever read our results has seen enough (`| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return failure(error, as_json="--json" in arguments)


def main() -> NoReturn:
    """Entry point of the ``redpoll`` command."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
