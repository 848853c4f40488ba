"""Outcomes from files and lists: ids made once, sent in batches, safe to send again."""

from __future__ import annotations

import csv
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from redpoll.client.errors import ClientError
from redpoll.client.transport import Transport

BATCH_LINES = 500
TRIES = 6
FIELDS = (
    "name", "prediction_id", "request_id", "model", "row", "value", "happened", "outcome_id",
    "retracts",
)  # fmt: skip
# Ids of a file's lines are derived from place and content, so that sending a file again after a
# crash repeats them, and the join settles the duplicates.
_NAMESPACE = uuid.UUID("6f0d2f5e-6c3c-5b0e-9f0a-726564706f6c")


@dataclass(frozen=True, slots=True)
class Rejected:
    """One line that the server did not take, and why. ``line`` counts from 1."""

    line: int
    message: str
    code: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of outcomes that were sent. ``ids`` are in order of the lines."""

    accepted: int = 0
    rejected: int = 0
    errors: tuple[Rejected, ...] = ()
    ids: tuple[str, ...] = field(default=(), repr=False)

    def __add__(self, other: Receipt) -> Receipt:
        return Receipt(
            self.accepted + other.accepted,
            self.rejected + other.rejected,
            self.errors + other.errors,
            self.ids + other.ids,
        )


def read(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    columns: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """The outcomes of a file (``.ndjson``, ``.jsonl``, ``.json``, ``.csv``, ``.parquet``) or list.

    ``columns`` says which column holds which field (then no other column is read); ``fixed`` are
    fields of every line that does not have them. Parquet needs pyarrow. Raises ``ClientError``
    RP-101 that names the line that cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        for item in source:
            yield _ready(_fields(item, columns, fixed), str(uuid.uuid4()))
        return
    path = Path(source)
    if not path.is_file():
        raise ClientError("RP-101", f"there is no file {path}")
    readers = {".csv": _csv, ".parquet": _parquet}
    for line, item in readers.get(path.suffix.lower(), _ndjson)(path):
        content = json.dumps(item, sort_keys=True, default=str)
        wanted = _fields(item, columns, fixed)
        unknown = sorted(set(wanted) - set(FIELDS))
        if unknown:
            raise ClientError(
                "RP-101",
                f"{path}, line {line} has {unknown[0]!r}; known are {', '.join(FIELDS)}; "
                "name other columns with a map",
            )
        yield _ready(wanted, str(uuid.uuid5(_NAMESPACE, f"{line}:{content}")))


def send(transport: Transport, outcomes: Iterable[Mapping[str, Any]]) -> Receipt:
    """Send in batches; a batch that met no answer or a full server is sent again, ids unchanged.

    Raises the last ``ClientError`` after six tries; what was accepted before stays accepted.
    """
    total, batch, first = Receipt(), [], 1
    for outcome in outcomes:
        batch.append(outcome)
        if len(batch) == BATCH_LINES:
            total += _post(transport, batch, first)
            first += len(batch)
            batch = []
    return total + _post(transport, batch, first) if batch else total


def _post(transport: Transport, batch: list[Mapping[str, Any]], first: int) -> Receipt:
    body = b"\n".join(json.dumps(one, allow_nan=False).encode() for one in batch)
    headers = {"content-type": "application/x-ndjson"}
    for attempt in range(TRIES):
        try:
            said = transport.call("POST", "/v1/outcomes", body, headers).json()
            break
        except ClientError as error:
            if attempt == TRIES - 1 or error.status not in (0, 429, 502, 503, 504):
                raise
            time.sleep(min(error.retry_after_s or 0.1 * 2**attempt, 5.0))
    errors = tuple(
        Rejected(first - 1 + int(e.get("line", 1)), str(e.get("error")), str(e.get("code")))
        for e in said.get("errors", ())
    )
    ids = tuple(str(one["outcome_id"]) for one in batch)
    return Receipt(int(said.get("accepted", 0)), int(said.get("rejected", 0)), errors, ids)


def _fields(
    item: Mapping[str, Any], columns: Mapping[str, str] | None, fixed: Mapping[str, Any] | None
) -> dict[str, Any]:
    """An outcome's fields, from a line's columns."""
    picked = dict(item)
    if columns:
        missing = [column for column in columns.values() if column not in item]
        if missing:
            raise ClientError(
                "RP-101", f"there is no column {missing[0]!r}; there are {', '.join(item)}"
            )
        picked = {field: item[column] for field, column in columns.items()}
    return dict(fixed or {}) | {k: v for k, v in picked.items() if v is not None and v != ""}


def _ready(item: Mapping[str, Any], made: str) -> dict[str, Any]:
    known = {k: _plain(_number(k, v)) for k, v in item.items() if v is not None and v != ""}
    return known if known.get("outcome_id") else known | {"outcome_id": made}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ClientError(
                "RP-101", f"`happened` {value} has no offset; make it an aware datetime"
            )
        return value.isoformat()
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    return value


def _ndjson(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except ValueError as error:
                raise ClientError("RP-101", f"{path}, line {number} is no JSON: {error}") from None
            if not isinstance(item, dict):
                raise ClientError("RP-101", f"{path}, line {number} is no JSON object")
            yield number, item


def _csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines)
        for number, item in enumerate(table, 1):
            if None in item:
                raise ClientError("RP-101", f"{path}, row {number} has more fields than the header")
            yield number, item


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ClientError(
            "RP-101", f"reading {path} needs pyarrow; run: pip install pyarrow"
        ) from None
    number = 0
    for batch in parquet.ParquetFile(path).iter_batches():
        for item in batch.to_pylist():
            number += 1
            yield number, item


def _number(field: str, text: Any) -> Any:
    """Text (a CSV has nothing else) as true/false or a number, where the field takes one."""
    if not isinstance(text, str) or field not in ("value", "row"):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
