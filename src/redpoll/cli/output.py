"""Where a command's words go: results to stdout, narration to stderr, JSON when asked for it.

A JSON document is an object with ``"schema": 1``; a stream is one such object a line. The number
grows when a field changes its meaning or goes; new fields may come at any time.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from redpoll.views import amount

SCHEMA = 1


class Out:
    """The two streams of one command."""

    def __init__(self, as_json: bool, asked: Sequence[str] = ()) -> None:
        self.as_json = as_json
        self._asked = asked  # the options that said which server or folder is meant

    @property
    def live(self) -> bool:
        """Whether a person watches stdout: only then is anything redrawn or coloured."""
        return not self.as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def result(self, document: Any, text: str) -> None:
        """Print the one result: the document with ``--json``, else the text."""
        self.item(document, text)

    def item(self, document: Any, text: str) -> None:
        """Print one element of a stream."""
        print(dumps(document) if self.as_json else text, flush=True)

    def say(self, sentence: str) -> None:
        """Narrate."""
        print(sentence, file=sys.stderr, flush=True)

    def suggest(self, command: str) -> None:
        """Say which command would come next."""
        if not self.as_json:
            print(f"next: {self._as_asked(command)}", file=sys.stderr, flush=True)

    def _as_asked(self, command: str) -> str:
        """The command as it works here: by the name that this one has, about the same server."""
        words, gap, comment = command.partition("   #")
        if self._asked and " -c " not in words and not words.startswith("redpoll apply "):
            words = f"{words} {shlex.join(self._asked)}"
        return words.replace("redpoll ", f"{program()} ", 1) + gap + comment


def program() -> str:
    """What to type for ``redpoll``: as it was called, where the shell would not find it."""
    called = sys.argv[0]
    if Path(called).name != "redpoll" or shutil.which("redpoll"):
        return "redpoll"
    return shlex.quote(called)


def dumps(document: Any) -> str:
    """One line of JSON; an object gets its schema number."""
    plain = msgspec.to_builtins(document)
    if isinstance(plain, dict) and "schema" not in plain:
        plain = {"schema": SCHEMA} | plain
    return json.dumps(plain, ensure_ascii=False)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """Columns in plain text, as wide as what stands in them; ``right`` are aligned right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        placed = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" ".join(placed).rstrip())
    return "\n".join(lines)


def share(fraction: float | None) -> str:
    """``.6%``, ``10%``, ``99%``: as people write it. ``-``: nothing to divide by."""
    if fraction is None:
        return "-"
    percent = 100 * fraction
    text = f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}".removesuffix(".0")
    return (text.removeprefix("0") or "0") + "%"


def milliseconds(value: float | None) -> str:
    """``38ms``, ``3.4ms``, ``1.2s``."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value / 1000:.1f}s"
    return f"{value:.0f}ms" if value >= 10 else f"{value:.1f}ms"


def rate(value: float) -> str:
    """Requests/s in few digits."""
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def quantity(value: float) -> str:
    """An e-value in few digits, never in logarithms: ``.4``, ``37``, ``12,000``, ``4e+12``."""
    text = amount(value)
    return text.removeprefix("0") if 0 < value < 1 else text


def clock(time_us: int) -> str:
    """``03:09:41Z``."""
    seconds = time_us // 1_000_000 % 86400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"


def seconds(value: float) -> str:
    """``.3 s``, ``12 s``, ``40 min``, ``3 h``, ``2 days``."""
    if value < 9.95:
        text = f"{value:.1f}".removesuffix(".0")
        return (text.removeprefix("0") or "0") + " s"
    for limit, unit, name in ((99, 1, "s"), (5940, 60, "min"), (172800, 3600, "h")):
        if value < limit:
            return f"{value / unit:.0f} {name}"
    return f"{value / 86400:.0f} days"
