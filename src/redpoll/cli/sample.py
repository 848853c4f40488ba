"""``--sample CSV``: real values and the types that they have."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redpoll.catalog import FIELD_NAME
from redpoll.errors import RedpollError, closest

ROWS_MAX = 1000
BYTES_MAX = 8 << 20
EMPTY = ("", "na", "n/a", "nan", "null", "none")
BOOLS = {"true": True, "false": False}
CATEGORIES_MAX = 30  # different texts; beyond that, and where they are long, it is text
WORDS_MIN = 4  # a column of so many words on average is text


class Sample(NamedTuple):
    """Columns of a CSV file: type by name, in the file's order, and one whole row."""

    file: str
    types: dict[str, str]
    row: dict[str, Any]


def read(path: Path) -> Sample:
    """Read the beginning of a file. RP-043 where it is no CSV with a header and a row."""
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise _bad(path, str(error.strerror), "check the path") from None
    except UnicodeDecodeError:
        raise _bad(path, "it is not UTF-8", "save it as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        rows = list(itertools.islice((row for row in reader if row), ROWS_MAX + 1))
    except csv.Error as error:
        raise _bad(path, str(error), "check its quotes") from None
    if len(rows) < 2:
        raise _bad(path, "it has no row below its header", "give a header and at least one row")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header) or "" in header[1:]:
        raise _bad(path, "its first line has empty or equal names", "name every column once")
    rows = [row for row in rows[1:] if len(row) == len(header)]
    if not rows:
        raise _bad(path, "no row has as many values as the header", "check its quotes")
    columns = {name: [_empty(row[at]) for row in rows] for at, name in enumerate(header) if name}
    types = {name: _type(values) for name, values in columns.items()}
    whole = [sum(values[at] is None for values in columns.values()) for at in range(len(rows))]
    best = whole.index(min(whole))
    row = {name: _value(values[best], types[name]) for name, values in columns.items()}
    return Sample(str(path), types, row)


def fit(sample: Sample, names: Sequence[str]) -> Sample:
    """Only the columns that a model was fitted on, by name. RP-043 where one is missing."""
    for name in names:
        if name not in sample.types:
            hint = closest(name, sample.types) or f" It has {', '.join(list(sample.types)[:20])}."
            raise _bad(
                Path(sample.file),
                f"the model takes a column {name!r}, which the file does not have.{hint}",
                "give a file with all of its columns",
            )
    return Sample(
        sample.file,
        {name: sample.types[name] for name in names},
        {name: sample.row[name] for name in names},
    )


def fit_count(sample: Sample, count: int) -> Sample:
    """For a model without names: the columns in the file's order. RP-043 unless ``count`` are."""
    if len(sample.types) != count:
        raise _bad(
            Path(sample.file),
            f"the model was fitted on {count} columns without names, and the file has "
            f"{len(sample.types)} ({', '.join(list(sample.types)[:12])})",
            "give a file with just these columns, in the order of fitting",
        )
    return sample


def as_name(words: str) -> str:
    """A name that ``inputs`` takes: ``sepal length (cm)`` → ``sepal_length_cm``."""
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return name if FIELD_NAME.match(name) else f"x_{name}".rstrip("_")


def _delimiter(text: str) -> str:
    return max(",;\t|", key=text.partition("\n")[0].count)


def _empty(value: str) -> str | None:
    value = value.strip()
    return None if value.lower() in EMPTY else value


def _type(values: Sequence[str | None]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return "float"
    if all(value.lower() in BOOLS for value in present):
        return "bool"
    if all(re.fullmatch(r"[+-]?(0|[1-9]\d{0,17})", value) for value in present):
        return "int"
    if all(_number(value) for value in present):
        return "float"
    words = sum(len(value.split()) for value in present) / len(present)
    many = len(set(present)) > min(CATEGORIES_MAX, len(present) / 2)
    return "text" if words >= WORDS_MIN and many else "category"


def _number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _value(value: str | None, kind: str) -> Any:
    if value is None:
        return None
    if kind == "bool":
        return BOOLS[value.lower()]
    return int(value) if kind == "int" else float(value) if kind == "float" else value


def _bad(path: Path, why: str, todo: str) -> RedpollError:
    return RedpollError("RP-043", f"{path} cannot serve as a sample: {why}; {todo}.")
