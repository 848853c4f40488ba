"""Bodies that were heard, as columns: the Open Inference Protocol's and KServe's V1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from redpoll.capture.redact import Masks
from redpoll.errors import RedpollError
from redpoll.gateway.call import TEXT_CHARACTERS_MAX
from redpoll.gateway.lanes import Served
from redpoll.tensors import columns, oip
from redpoll.tensors.columns import Columns
from redpoll.tensors.malformed import reason

GROUP = "redpoll-group-"
TEXT_KEPT = 64 * 1024
_decode = msgspec.json.Decoder().decode
_UNREAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Asked(NamedTuple):
    """A request as the journal keeps it."""

    rows: int
    inputs: str | None
    unit: str | None
    groups: dict[str, str]
    masks: Masks | None


def request(body: bytes, served: Served, headers: Mapping[str, str]) -> Asked:
    """Columns without those that are redacted, unit and groups. RP-101, RP-107: cannot be read."""
    found, rows = _columns(body, served)
    model = served.route.model
    groups = {
        name[len(GROUP) :].replace("-", "_"): value[:TEXT_CHARACTERS_MAX]
        for name, value in headers.items()
        if name.startswith(GROUP)
    }
    for group, source in served.group_inputs.items():
        value = _shared(found.get(source))
        if value is not None and source not in model.redact:
            groups[group] = value
    unit = headers.get(served.unit_header.decode("latin-1")) if served.unit_header else None
    if served.unit_input and served.unit_input not in model.redact:
        unit = _shared(found.get(served.unit_input))
    masks = Masks({n: found[n] for n in model.redact if n in found}) if model.redact else None
    kept = {name: values for name, values in found.items() if name not in model.redact}
    return Asked(rows, columns.encode(kept), unit, groups, masks)


def outputs(body: bytes, served: Served | None, masks: Masks | None) -> tuple[str, str]:
    """Status (ok, invalid) and the outputs as JSON; of what cannot be read its text."""
    try:
        found = _answered(body, served)
    except (RedpollError, *_UNREAD):
        text = body[:TEXT_KEPT].decode("utf-8", "replace")
        said = masks.text(text) if masks is not None else text
        return "invalid", msgspec.json.encode({"error": said}).decode()
    return "ok", columns.encode(masks.outputs(found) if masks is not None else found)


def _columns(body: bytes, served: Served) -> tuple[Columns, int]:
    document = _document(body)
    matrix = served.route.model.tensor
    instances = document.get("instances")
    if isinstance(instances, list) and instances:
        return _of_instances(instances, matrix.columns if matrix is not None else ()), len(
            instances
        )
    if isinstance(document.get("inputs"), list):
        infer = oip.read(body)
        tensors = ((t.name, t.shape, t.data) for t in infer.inputs)
        return columns.of_tensors(tensors, matrix), infer.inputs[0].shape[0]
    raise RedpollError(
        "RP-101",
        "The event's data has neither inputs (the Open Inference Protocol) nor instances "
        "(KServe's V1): it is no request that redpoll reads.",
    )


def _of_instances(instances: Sequence[Any], names: Sequence[str]) -> Columns:
    """KServe's V1: objects are rows, lists the columns of the matrix that the model declares."""
    if all(isinstance(one, dict) for one in instances):
        return columns.of_rows(instances)
    if names and all(isinstance(one, list) and len(one) == len(names) for one in instances):
        return {name: [one[at] for one in instances] for at, name in enumerate(names)}
    return {"instances": list(instances)}


def _answered(body: bytes, served: Served | None) -> Columns:
    document = _decode(body)
    found = document.get("predictions") if isinstance(document, dict) else None
    if isinstance(found, list):
        if found and all(isinstance(one, dict) for one in found):
            return columns.of_rows(found)
        output = served.route.model.output if served is not None else None
        return {output.name if output is not None else "predictions": found}
    read = columns.read_answer(body)
    return columns.of_tensors((t.name, t.shape, t.data) for t in read)


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = _decode(body)
    except _UNREAD as error:
        raise RedpollError(
            "RP-101", f"The event's data is no JSON: {reason(body, error)}."
        ) from None
    if not isinstance(found, dict):
        raise RedpollError("RP-101", "The event's data must be a JSON object.")
    return found


def _shared(values: Sequence[Any] | None) -> str | None:
    """The one value that all rows share, as text; None where there is none, or several."""
    if not values or values[0] in (None, "") or isinstance(values[0], list | dict):
        return None
    first = values[0]
    if any(value != first for value in values):
        return None
    text = first if isinstance(first, str) else msgspec.json.encode(first).decode()
    return text[:TEXT_CHARACTERS_MAX]
