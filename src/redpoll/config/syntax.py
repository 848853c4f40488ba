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
_NUMBER = re.compile(r"[+-]?(?:\d|\.\d)[\d_.:TZxob+-]*\Z")
_STRING = re.compile(r"""\"(?:[^\"\\]|\\.)*\"|'[^']*'""")
_INNER = re.compile(r"""([A-Za-z0-9_-]+)[ \t]*=[ \t]*([^\s,\[\]{}\"'#=][^,\[\]{}\"'#]*)""")
_APART = re.compile(r"([A-Za-z0-9_.-]+)(?:[ \t]*:[ \t]*|[ \t]+)([^\s=:].*)\Z")
_CURLY = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb`"
_DEEP = 50  # brackets that are open at once

# What to write, by how tomllib's own message begins; the first that fits.
_WRITE = (
    ("expected '='", "write key = value, with = and nothing else between them"),
    (
        "expected ']",
        "write a header alone in its line, [models.churn] or [[table.of.an.array]]; a name with"
        ' other signs than letters, digits, _ and - stands in quotes: [models."my model"]',
    ),
    ("expected newline", "write one key = value in a line, and behind it at most a # comment"),
    ("unescaped", "write two backslashes for one, or put the string in single quotes"),
    ("illegal character", "delete that character and write the line anew"),
    ("found invalid character", "delete that character and write the line anew"),
    ("invalid hex", "write \\u and four hexadecimal digits, or the character itself"),
    ("escaped character", "write \\u and four hexadecimal digits, or the character itself"),
    (
        "invalid value",
        'write a string in straight quotes ("v1"), a number, true or false, [\u2026] or {\u2026}',
    ),
    ("unclosed array", "write a comma between elements, and end the array with ]"),
    (
        "unclosed inline",
        "write the table in one line, a comma between its pairs and none behind the last, and end"
        " it with }",
    ),
    ("unterminated", "write the quotes at its end with which the string begins"),
    ("expected \"'", "write the quotes at its end with which the string begins"),
    ("expected '\"", "write the quotes at its end with which the string begins"),
)
_ELSE = "write key = value or a [table]; a key has letters, digits, _ and -, or stands in quotes"


def read_toml(text: str, file: str) -> tuple[dict[str, Any], Report]:
    """The tables of a text, and a report that holds the syntax errors of lines left out.

    Raises :class:`ConfigError` where a fault makes the rest unreadable.
    """
    lines = text.split("\n")
    for number, written in enumerate(lines, 1):
        if len(written) > LONGEST_LINE:
            message = (
                f"the line has {len(written)} characters, and {LONGEST_LINE} at most are read; write"
                " an array with a line for each element"
            )
            raise ConfigError([Problem(file, number, "", message)])
    spots = scan(text)
    report = Report(file, spots)
    left = MOST_CHARACTERS
    while True:
        try:
            return tomllib.loads("\n".join(lines)), report
        except RecursionError:
            message = "arrays or tables are nested too deeply; write [table] headers instead"
            problem = Problem(file, _deepest(lines), "", message)
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
    """The line of tomllib's error and, in words, what is wrong there and what to write."""
    found, ended = _AT.search(error), _END.search(error)
    if found:
        line, what = int(found[1]), error[: found.start()]
    elif ended:
        line, what = len(lines), error[: ended.start()]
    else:
        return _nowhere(error, lines)
    # A value that is missing is noticed at the line's end, which is told as the next line's start.
    line = max(1, min(line, len(lines)))
    written = lines[line - 1].strip(" \t\r")
    pair = _PAIR.match(written)
    if what.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate", "Duplicate")):
        return line, _twice(written, pair, line, spots)
    pairs = [(pair[1], pair[2].partition(" #")[0].strip())] if pair else []
    pairs += [(key, value.strip()) for key, value in _INNER.findall(_STRING.sub('""', written))]
    for key, value in pairs:
        hint = "" if _reads(value) else _value_hint(key, value)
        if hint:
            return line, hint
    inside = written.startswith("[") if pair is None else _opens(written)
    if ended or inside or not written or what.startswith(("Unclosed", "Unterminated")):
        opened = _opened(lines, line)
        if opened and (opened[0] == line or ended or not written):
            where = " in the same line" if opened[2] == "}" else ""
            return opened[0], f"{opened[1]} is not closed; end it with {opened[2]}{where}"
        if opened:
            return line, (
                f"{opened[1]}, begun in line {opened[0]}, is not closed before this: {_shown(written)};"
                f" write a comma between its elements, and end it with {opened[2]}"
            )
    what = _lower(what)
    if what.startswith(("unterminated", "expected \"'", "expected '\"")):
        line = next((n for n, one in enumerate(lines[:line], 1) if _odd(one)), line)
        written = lines[line - 1].strip(" \t\r")
    apart = _APART.match(written)
    if apart and what.startswith("expected '='"):
        value = apart[2] if _reads(apart[2]) else f'"{apart[2]}"'
        return line, f"this is no TOML: {_shown(written)}; write {_shown(f'{apart[1]} = {value}')}"
    write = next((write for begins, write in _WRITE if what.startswith(begins)), _ELSE)
    return line, f"{what}; this is no TOML: {_shown(written) or 'an empty line'}; {write}"


def _nowhere(error: str, lines: list[str]) -> tuple[int, str]:
    """Of an error that names no line: Python's own bounds, such as on the digits of a number."""
    for number, written in enumerate(lines, 1):
        digits = re.search(r"[0-9_]{1000,}", written)
        if digits:
            size = len(digits[0])
            return number, f"a number of {size} digits is too large; write one of at most 18"
    return 1, f"{_lower(error[:200])}; this is no TOML; {_ELSE}"


def _reads(value: str) -> bool:
    """Whether a value is TOML by itself, so that the fault is not in it."""
    try:
        tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return False
    return True


def _opened(lines: list[str], line: int) -> tuple[int, str, str] | None:
    """What is still open at the end of a line: where it began, its name, and what closes it."""
    balance, quotes = 0, {'"""': 0, "'''": 0}
    for number in range(line, 0, -1):
        written = lines[number - 1]
        for mark in quotes:
            quotes[mark] += written.count(mark)
        bare = _STRING.sub("", written).partition("#")[0]
        balance += sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
        pair = _PAIR.match(written.strip())
        if not pair:
            continue
        for mark, count in quotes.items():
            if count % 2 and mark in pair[2]:
                return number, f"the string of {pair[1]}", mark
        if balance > 0 and pair[2][:1] in ("[", "{"):
            array = pair[2][0] == "["
            what = "array" if array else "table"
            return number, f"the {what} of {pair[1]}", "]" if array else "}"
    return None


def _odd(line: str) -> bool:
    """Whether a line has a quote that no other closes."""
    bare = _STRING.sub("", line).partition("#")[0]
    return "'" in bare or '"' in bare


def _deepest(lines: list[str]) -> int:
    """The line in which the fifty-first bracket is opened; 1 where none is."""
    depth = 0
    for number, written in enumerate(lines, 1):
        bare = _STRING.sub("", written)
        for sign in bare:
            depth += (sign in "[{") - (sign in "]}")
            if depth > _DEEP:
                return number
    return 1


def _shown(written: str) -> str:
    """A line as it can be printed: shortened, and what cannot be seen as its code."""
    seen = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in written)
    return seen if len(seen) <= 80 else seen[:77] + "\u2026"


def _value_hint(key: str, value: str) -> str:
    if not value:
        return f'{key} has no value; write {key} = "\u2026", a number, true or false'
    if value in ("True", "False", "TRUE", "FALSE", "yes", "no", "on", "off", "None", "null"):
        meant = "true" if value.lower() in ("true", "yes", "on") else "false"
        return f"{value} is no value in TOML; write {meant}, without quotes, or leave the key out"
    if value[0] in _CURLY:
        inside = value.strip(_CURLY)
        return f'{key} stands in curly quotes; write straight ones: {key} = "{_shown(inside)}"'
    if _NUMBER.match(value) and not _VERSION.match(value):
        return (
            f"{value[:40]} is no number, date or time in TOML: no leading zeros, digits on both sides"
            f' of a point; write 10, 0.5 or 2026-01-31, or a string: {key} = "{value[:40]}"'
        )
    if (
        _VERSION.match(value)
        or re.match(r"\d+(?:\.\d+)?\s*[A-Za-z%]+\Z", value)
        or _WORD.match(value)
    ):
        return f'{value} is no value in TOML: a string stands in quotes; write {key} = "{value}"'
    if value[0] in "\"'":
        closed = _STRING.match(value)
        if closed is None:
            return f"the string of {key} is not closed; end it with {value[0]}"
        if closed.end() < len(value) and not value.startswith(('"""', "'''")):
            return (
                f"something follows the string of {key}: {_shown(value[closed.end() :].strip())}; write"
                f" \\{value[0]} for a quote within a string in double quotes, and behind it at most a"
                " # comment"
            )
    return ""


def _twice(written: str, pair: re.Match[str] | None, line: int, spots: Spots) -> str:
    name = pair[1] if pair else written.strip("[] ")
    first = spots.again.get(line)
    where = f"; it stands in line {first} already" if first else ""
    return f"{name} is given twice{where}; keep one of them"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
