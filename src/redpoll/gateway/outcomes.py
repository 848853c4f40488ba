"""Taking outcomes in: a line is checked and becomes a fact; joining comes later, from the facts.

Arm, unit and groups come from the request that it belongs to, never from the sender.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redpoll import ids
from redpoll.catalog import FIELD_NAME
from redpoll.errors import RedpollError, closest
from redpoll.facts import Outcome
from redpoll.gateway.lanes import Served

FIELDS = (
    "name", "prediction_id", "row", "value", "happened", "outcome_id", "retracts",
    "request_id", "model",
)  # fmt: skip
TEXT_CHARACTERS_MAX = 512
VALUE_CHARACTERS_MAX = 64 * 1024
ROWS_MAX = 2**31 - 1
REMEMBERED = 65_536
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_US = 4_102_444_800_000_000  # 2100-01-01


class Filed(NamedTuple):
    """An outcome and the model that it is filed under."""

    model: str
    fact: Outcome


class RowCounts:
    """How many rows recent requests had, where it was not one: a bounded memory."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, str], int] = OrderedDict()

    def note(self, model: str, prediction_id: str, request_id: str, rows: int) -> None:
        """Remember a request that had not one row."""
        found = self._rows
        found["", prediction_id] = found[model, request_id] = rows
        while len(found) > REMEMBERED:
            found.popitem(last=False)

    def get(self, model: str, prediction_id: str | None, request_id: str | None) -> int | None:
        """The number of rows; None: one, or not known any more."""
        if prediction_id is not None:
            return self._rows.get(("", prediction_id))
        return self._rows.get((model, request_id or ""))


def read(
    said: Any,
    models: Mapping[str, Served],
    counts: RowCounts,
    now_us: int,
    made_id: str,
    source: str,
) -> Filed:
    """One outcome, checked. Raises ``RedpollError`` that says what is wrong with it."""
    if not isinstance(said, dict):
        raise _wrong('it is no object; send {"name": …, "prediction_id": …}')
    for key in said:
        if key not in FIELDS:
            raise _wrong(f"{key!r} is no field of an outcome", closest(key, FIELDS))
    name = said.get("name")
    if not isinstance(name, str) or FIELD_NAME.match(name) is None or len(name) > 100:
        raise _wrong("`name` must be a name such as churned ([a-z][a-z0-9_]*)")
    prediction_id, request_id = _text(said, "prediction_id"), _text(said, "request_id")
    served = _model(said, prediction_id, request_id, models)
    declared = [outcome.name for outcome in served.route.model.outcomes]
    if declared and name not in declared:
        hint = closest(name, declared) or f" Declared are {', '.join(declared)}."
        raise _wrong(f"{served.name} declares no outcome {name!r}", hint)
    value, value_text = _value(said.get("value"))
    return Filed(
        served.name,
        Outcome(
            _text(said, "outcome_id") or made_id,
            prediction_id,
            request_id,
            _row(said, counts.get(served.name, prediction_id, request_id)),
            name,
            value,
            value_text,
            _happened(said.get("happened"), now_us),
            _text(said, "retracts"),
            source,
        ),
    )


def _model(
    said: dict[str, Any],
    prediction_id: str | None,
    request_id: str | None,
    models: Mapping[str, Served],
) -> Served:
    title = _text(said, "model")
    if title is not None and title not in models:
        raise RedpollError("RP-102", f"There is no model {title[:80]!r}.{closest(title, models)}")
    if prediction_id is None:
        if request_id is None or title is None:
            raise _wrong(
                "it names no prediction; send `prediction_id`, or `request_id` with `model`"
            )
        return models[title]
    if request_id is not None:
        raise _wrong("it has both `prediction_id` and `request_id`; send one of them")
    try:
        number = ids.model_number(prediction_id)
    except ValueError as error:
        raise _wrong(f"{error}; send the redpoll-prediction-id of the answer as it was") from None
    served = next((one for one in models.values() if one.number == number), None)
    if served is None:
        raise RedpollError(
            "RP-102", f"The prediction {prediction_id} is of no model that this server has."
        )
    if title is not None and title != served.name:
        raise _wrong(f"the prediction {prediction_id} is of {served.name}, not of {title}")
    return served


def _text(said: dict[str, Any], key: str) -> str | None:
    value = said.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARACTERS_MAX:
        raise _wrong(f"`{key}` must be a text of 1 to {TEXT_CHARACTERS_MAX} characters")
    return value


def _row(said: dict[str, Any], rows: int | None) -> int:
    row = said.get("row")
    if row is None:
        if rows is not None:
            raise _wrong(
                f"`row` is missing, and the request had {rows} rows; say which (0 is the first)"
            )
        return 0
    if type(row) is not int or not 0 <= row <= ROWS_MAX:
        raise _wrong("`row` must be a whole number, 0 for the first row")
    if rows is not None and row >= rows:
        raise _wrong(f"`row` is {row}, but the request had {rows} rows, 0 to {rows - 1}")
    return row


def _value(value: Any) -> tuple[float | None, str | None]:
    if value is None:
        return None, None
    if isinstance(value, str):
        if len(value) > VALUE_CHARACTERS_MAX:
            raise _wrong(f"`value` has more than {VALUE_CHARACTERS_MAX} characters")
        return None, value
    if isinstance(value, bool | int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise _wrong("`value` is too large for a float")
        return number, None
    raise _wrong(f"`value` must be a number, true, false or a text, not {json.dumps(value)[:40]}")


def _happened(value: Any, now_us: int) -> int:
    """Microseconds since the epoch; when it arrived, where nothing is said."""
    if value is None:
        return now_us
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(
            "`happened` must be a time with an offset, such as 2026-11-24T03:04:09Z"
        ) from None
    if moment.tzinfo is None:
        raise _wrong(f"`happened` {value} has no offset; add Z for UTC, or +01:00")
    since = moment - _EPOCH
    time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not 0 <= time_us < _LATEST_US:  # what no calendar can show would spoil every later query
        raise _wrong(f"`happened` {value} is not between 1970 and 2100")
    return time_us


def _wrong(why: str, hint: str = "") -> RedpollError:
    return RedpollError("RP-101", f"The outcome was rejected: {why}.{hint}")
