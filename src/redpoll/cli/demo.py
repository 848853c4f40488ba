"""``redpoll demo``: a better version promoted, a bad one rolled back, in two minutes."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from redpoll.cli.errors import FAILED, OK
from redpoll.cli.face import Face, with_face
from redpoll.cli.groups import OneOf
from redpoll.cli.output import program

TERMINATED = "SIGTERM"


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(TERMINATED)


@click.command()
@click.option(
    "--act",
    type=OneOf(("errors", "latency", "all")),
    default="all",
    help="Which bad version: one that raises, one that is slow, or both (default).",
)
@click.option("--fast", is_flag=True, help="Fewer requests a step.")
@click.option("--keep-serving", is_flag=True, help="Leave it up, with traffic, until Ctrl-C.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where (default: a new one).")
@click.option("--rate", type=click.FloatRange(10, 2000), help="Requests a second.")
@with_face
def demo(
    face: Face, act: str, fast: bool, keep_serving: bool, folder: Path | None, rate: float | None
) -> int:
    """See the whole way on real data: train, serve, roll out, promote, roll back.

    Ends with exit code 1 if the good version was not promoted or a bad one not rolled back. Ctrl-C
    and SIGTERM drain the server first (130 and 143; with --keep-serving, once the story was told, 0).
    """
    from redpoll.demo.run import REQUESTS_PER_SECOND, Options, run

    options = Options(
        act=act,
        fast=fast,
        keep_serving=keep_serving,
        folder=folder,
        requests_per_second=rate or REQUESTS_PER_SECOND,
        program=program(),
    )
    # Ended from outside, it takes its server along, in order.
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        story = run(options, face.out.say)
    except KeyboardInterrupt as asked:
        if asked.args == (TERMINATED,):
            return 128 + signal.SIGTERM
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    lines = [f"{ending.rollout}: {ending.sentence}" for ending in story.acts]
    face.out.result(story.document(), "\n".join(lines))
    return OK if story.ok else FAILED
