"""redpoll's own log, on stderr: one line an event, as text or JSON, with its request id.

And reading the end of a worker's stderr, whose blocks about one failed call carry its prediction id
(written by :mod:`redpoll.backends.worker`).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from contextvars import ContextVar
from pathlib import Path

from redpoll.clock import iso

# Set it for the length of a request and every line logged meanwhile carries it;
# or pass extra={"request_id": …} with one line.
request_id: ContextVar[str] = ContextVar("request_id", default="")

LEVELS = ("debug", "info", "warning", "error")
TAIL_BYTES = 256 * 1024


class _Format(logging.Formatter):
    """Text or JSON; never more than one line, lest a message forge another."""

    def __init__(self, process: str, as_json: bool) -> None:
        super().__init__()
        self.process = process
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": iso(int(record.created * 1e6)),
            "level": record.levelname.lower(),
            "process": self.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        number = getattr(record, "request_id", "") or request_id.get()
        if number:
            fields["request_id"] = number
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        if self.as_json:
            return json.dumps(fields, ensure_ascii=False)
        head = f"{fields['time']} {fields['level']:<7} {self.process:<9} "
        message = fields["message"].replace("\r", "\\r").replace("\n", "\\n")
        line = head + message + (f" request_id={number}" if number else "")
        if record.exc_info:
            line += "\n" + "\n".join(f"  | {part}" for part in fields["traceback"].split("\n"))
        return line


def setup(level: str = "info", format: str = "text", process: str = "redpoll") -> None:
    """Send this process's log to stderr; replaces what was set up before.

    ``level`` is one of :data:`LEVELS`, ``format`` ``text`` or ``json``; ``process`` names us.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format(process, format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.raiseExceptions = False  # a full pipe on stderr must not break a request


def tail(path: Path, lines: int = 40) -> str:
    """Give the last lines of a worker's stderr (at most 256 KiB), "" where none."""
    text = _end(path)
    return "\n".join(text.rstrip("\n").split("\n")[-lines:]) if text else ""


def of_prediction(path: Path, prediction_id: str) -> str:
    """Find what a worker wrote about one failed call (the traceback), or the empty string.

    Looks through the last 256 KiB of the file, newest first.
    """
    lines = _end(path).split("\n")
    for at in range(len(lines) - 1, -1, -1):
        if prediction_id in lines[at] and not lines[at].startswith("  | "):
            end = at + 1
            while end < len(lines) and lines[end].startswith("  | "):
                end += 1
            return "\n".join([lines[at], *(line[4:] for line in lines[at + 1 : end])])
    return ""


def _end(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL_BYTES))
            raw = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return ""
    text = raw.decode("utf-8", "replace")
    return text.partition("\n")[2] if size > TAIL_BYTES else text
