"""Calls of the model before it is ready, with a declared sample: they are nobody's requests.

The first call of many models is a slow one (compilation, caches, lazy imports). A model that cannot
answer its own sample is not ready, and never takes a request.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from . import answers, observe
from .model import DATATYPES, LoadError, Model
from .tensors import BadRequest, Declared, read, short

CALLS_MAX = 1000


def warm_up(model: Model, version: Mapping[str, Any], redact: tuple[str, ...] = ()) -> None:
    """Ask the model for every entry of ``warm_up``, as a request would. Raises :class:`LoadError`."""
    name = version.get("warm_up")
    if not name:
        return
    path = os.path.join(version["folder"], name)  # noqa: PTH118
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            found = json.load(file)
    except OSError as error:
        raise LoadError(f"warm_up: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise LoadError(f"warm_up: {name} is no JSON: {error}") from None
    entries = found if isinstance(found, list) else [found]
    for at, entry in enumerate(entries[:CALLS_MAX]):
        where = f"warm_up: {name}, entry {at}"
        try:
            call = read(json.dumps(_request(entry, model.declared)).encode(), model.declared)
            answers.encode({}, model.predict(call), call.rows, model.types)
        except BadRequest as error:
            raise LoadError(f"{where}: {error}") from None
        except Exception as error:
            secret = f"{where}: the model failed on it: {type(error).__name__}"
            if redact:  # what it says may hold a value of the sample
                raise LoadError(
                    f"{secret} (its `redact`ed inputs may be in what it says)"
                ) from None
            observe.complain(where, observe.trace(error))
            raise LoadError(f"{where}: the model failed on it: {observe.failure(error)}") from None


def _request(entry: Any, declared: Declared) -> Any:
    """The request of an entry: an OIP body, ``{"rows": […]}``, or one row by itself."""
    if not isinstance(entry, dict):
        raise BadRequest(f"{short(entry)} is neither a row nor a request")
    if "inputs" in entry and isinstance(entry["inputs"], list):
        return entry
    rows = entry["rows"] if isinstance(entry.get("rows"), list) else [entry]
    if not declared.inputs:
        raise BadRequest(
            'the model declares no `inputs`, so a row has no types: write {"inputs": [{"name", '
            '"shape", "datatype", "data"}, …]}'
        )
    tensors = []
    for name, kind in declared.inputs.items():
        data = [row.get(name) if isinstance(row, dict) else None for row in rows]
        tensors.append(
            {
                "name": name,
                "shape": [len(data)],
                "datatype": DATATYPES.get(kind, "BYTES"),
                "data": data,
                "parameters": {"nullable": True},
            }
        )
    return {"inputs": tensors}
