"""TOML's own errors: as many as can be told at once, each with its line and what to write.

``tomllib`` stops at the first. Where a single line ``key = value`` is at fault, that line is set
aside and the rest is read, so that one slip does not hide the others. Any other fault (a header, an
open string) could change what the following lines mean: then the errors of syntax are all that is
told.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from redpoll.config.problems import ConfigError, Problem, Report
from redpoll.config.scan import Spots, scan

MOST = 50  # syntax errors that are looked for
MOST_CHARACTERS = 1 << 22  # that are read in looking for them: each costs a reading from the start
LONGEST_LINE = 1 << 15  # characters; tomllib takes minutes for a key of a million dots

_AT = re.compile(r" \(at line (\d+), column \d+\)\Z")
_END = re.compile(r" \(at end of document\)\Z")
_PAIR = re.compile(r"""((?:[A-Za-z0-9_.-]|"[^"]*"|'[^']*')+)[ \t]*=[ \t]*(.*)\Z""")
_WORD = re.compile(r"[A-Za-z_./:~-][^\"'#,{}\[\]=]*\Z")
_VERSION = re.compile(r"\d+(?:\.\d+){2,}[\w.-]*\Z")


def read_toml(text: str, file: str) -> tuple[dict[str, Any], Report]:
    """The tables of a text, and a report that holds the syntax errors of lines left out.

    Raises :class:`ConfigError` where a fault makes the rest unreadable.
    """
    lines = text.split("\n")
    for number, written in enumerate(lines, 1):
        if len(written) > LONGEST_LINE:
            message = f"the line has {len(written)} characters, and {LONGEST_LINE} at most are read"
            raise ConfigError([Problem(file, number, "", message)])
    spots = scan(text)
    report = Report(file, spots)
    left = MOST_CHARACTERS
    while True:
        try:
            return tomllib.loads("\n".join(lines)), report
        except RecursionError:
            problem = Problem(file, 0, "", "arrays or tables are nested too deeply")
            raise ConfigError([*report.problems, problem]) from None
        except ValueError as error:  # TOMLDecodeError, and numbers and dates beyond Python
            line, message = _explain(str(error), lines, spots)
            report.problems.append(Problem(file, line, "", message))
            left -= sum(map(len, lines[:line]))
            enough = len(report.problems) >= MOST or left < 0
            if line < 1 or line in report.muted or enough:
                raise ConfigError(report.problems) from None
            if not _PAIR.match(lines[line - 1].strip()) or _opens(lines[line - 1]):
                raise ConfigError(report.problems) from None
            report.muted.add(line)
            lines[line - 1] = ""


def _opens(line: str) -> bool:
    """Whether a value goes on behind the end of its line."""
    value = line.partition("=")[2]
    openers = value.count("[") + value.count("{") - value.count("]") - value.count("}")
    return openers != 0 or '"""' in value or "'''" in value


def _explain(error: str, lines: list[str], spots: Spots) -> tuple[int, str]:
    found = _AT.search(error)
    if found:
        line, what = int(found[1]), error[: found.start()]
    elif _END.search(error):
        line, what = len(lines), _END.sub("", error)
    else:
        return 0, f"{error[:200]}; this is no TOML"
    # A value that is missing is noticed at the line's end, which is told as the next line's start.
    line = max(1, min(line, len(lines)))
    written = lines[line - 1].strip()
    pair = _PAIR.match(written)
    if what.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate", "Duplicate")):
        return line, _twice(written, pair, line, spots)
    if pair:
        hint = _value_hint(pair[1], pair[2].partition(" #")[0].strip())
        if hint:
            return line, hint
    shown = written if len(written) <= 80 else written[:77] + "…"
    return line, f"{_lower(what)}; this is no TOML: {shown}"


def _value_hint(key: str, value: str) -> str:
    if not value:
        return f"{key} has no value"
    if value in ("True", "False", "TRUE", "FALSE", "yes", "no", "on", "off", "None", "null"):
        meant = "true" if value.lower() in ("true", "yes", "on") else "false"
        return f"{value} is no value in TOML; write {meant}, without quotes, or leave the key out"
    if (
        _VERSION.match(value)
        or re.match(r"\d+(?:\.\d+)?\s*[A-Za-z%]+\Z", value)
        or _WORD.match(value)
    ):
        return f'{value} is no value in TOML: a string stands in quotes; write {key} = "{value}"'
    if value[0] in "\"'" and (len(value) == 1 or value[-1] != value[0]):
        return f"the string of {key} is not closed; end it with {value[0]}"
    return ""


def _twice(written: str, pair: re.Match[str] | None, line: int, spots: Spots) -> str:
    name = pair[1] if pair else written.strip("[] ")
    first = spots.again.get(line)
    where = f"; it stands in line {first} already" if first else ""
    return f"{name} is given twice{where}; keep one of them"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
