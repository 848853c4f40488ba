"""What a version says of itself, and the datatypes that its answers have."""

from __future__ import annotations

from typing import Any

import msgspec

from redpoll.catalog import Output
from redpoll.gateway.lanes import Lane
from redpoll.tensors.datatypes import datatypes_of


def said_by(lane: Lane | None) -> dict[str, Any]:
    """A backend's own metadata (OIP), as last probed; {} where it said nothing that can be read."""
    raw = lane.backend.metadata() if lane is not None else b""
    try:
        said = msgspec.json.decode(raw) if raw else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def answered(output: Output, lane: Lane) -> dict[str, str]:
    """Datatypes of the declared outputs by name: as the backend says, else as they are declared."""
    known = datatypes_of(output)
    told = said_by(lane).get("outputs")
    for tensor in told if isinstance(told, list) else ():
        if isinstance(tensor, dict) and tensor.get("name") in known:
            datatype = tensor.get("datatype")
            if isinstance(datatype, str):
                known[tensor["name"]] = datatype
    return known
