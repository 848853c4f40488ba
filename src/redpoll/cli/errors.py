"""How a command ends when it does not succeed: one clear line, and the code that goes with it."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import click

from redpoll.client import ClientError, RolloutUnfinished
from redpoll.errors import RedpollError

OK = 0
FAILED = 1  # also aborted, superseded
USAGE = 2
GATE_SAYS_NO = 3
NOT_ENOUGH_YET = 4  # evidence; also a time limit
WAITS = 5  # for a person
INTERRUPTED = 130

BY_STATE = {
    "promoted": OK,
    "rolled_back": GATE_SAYS_NO,
    "aborted": FAILED,
    "superseded": FAILED,
    "paused": WAITS,
    "pending": NOT_ENOUGH_YET,
    "running": NOT_ENOUGH_YET,
}


def failure(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong on stderr (and, with ``--json``, as a document) and return the code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    if isinstance(error, click.UsageError):
        error.show()
        _document(as_json, error.format_message(), "usage", ())
        return USAGE
    if isinstance(error, click.ClickException):
        error.show()
        _document(as_json, error.format_message(), "usage", ())
        return FAILED
    code, message = _said(error)
    problems = [_problem(p) for p in getattr(error, "problems", ())]
    print(f"redpoll: {message} [{code}]", file=sys.stderr)
    for problem in problems:
        print(f"  {_where(problem)}{problem.get('message', '')}", file=sys.stderr)
    if code == "RP-600" and os.environ.get("REDPOLL_DEBUG"):
        traceback.print_exception(error)
    _document(as_json, message, code, problems)
    unfinished = isinstance(error, RolloutUnfinished) or code == "RP-602"
    return NOT_ENOUGH_YET if unfinished else FAILED


def _said(error: BaseException) -> tuple[str, str]:
    if isinstance(error, RedpollError | ClientError):
        message = error.message
        if getattr(error, "problems", ()):
            message = message.splitlines()[0]  # the problems follow, a line each
        return error.code, message
    if isinstance(error, OSError) and error.filename:
        return "RP-605", f"{error.filename}: {error.strerror}"
    hint = "" if os.environ.get("REDPOLL_DEBUG") else "; REDPOLL_DEBUG=1 shows where"
    return "RP-600", f"redpoll made a mistake: {type(error).__name__}: {error}{hint}"


def _problem(problem: Any) -> dict[str, Any]:
    if isinstance(problem, dict):
        return problem
    return {name: getattr(problem, name, "") for name in ("file", "line", "key", "message")}


def _where(problem: dict[str, Any]) -> str:
    """``redpoll.toml:12: models.churn.live: ``, as far as it is known."""
    file, line, key = (problem.get(name) for name in ("file", "line", "key"))
    place = f"{file}:{line}: " if line else f"{file}: " if file else ""
    return place + (f"{key}: " if key else "")


def _document(as_json: bool, message: str, code: str, problems: Any) -> None:
    if not as_json:
        return
    document: dict[str, Any] = {"schema": 1, "error": message, "code": code}
    if problems:
        document["problems"] = list(problems)
    print(json.dumps(document, default=str))
