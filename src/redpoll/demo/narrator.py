"""What the demo says while it runs: plain sentences on stderr, each with its second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Narrator:
    """Sentences with the seconds since the start. ``write`` takes one line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._begun = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._begun

    def say(self, sentence: str) -> None:
        """One sentence, with its second."""
        self._write(f"[{self.elapsed_s:5.1f} s] {sentence}")

    def more(self, sentence: str) -> None:
        """A line that belongs to the sentence before."""
        self._write(f"          {sentence}")

    def head(self, title: str) -> None:
        """Begin a part."""
        self._write("")
        self._write(f"── {title}")


def percent(share: float) -> str:
    """``.5%``, ``14.9%``: ``20%``: a share as people write it."""
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text.removeprefix('0') or '0'}%"
