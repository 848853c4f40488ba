"""What the data plane says of itself and its models, in the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

import redpoll
from redpoll.errors import RedpollError, closest
from redpoll.gateway.choice import named, no_live
from redpoll.gateway.lanes import Lane, Served
from redpoll.gateway.metadata import said_by
from redpoll.tensors.datatypes import datatype_of, datatypes_of

encode = msgspec.json.Encoder().encode


def server() -> bytes:
    """``GET /v2``."""
    return encode(
        {"name": "redpoll", "version": redpoll.__version__, "extensions": ["binary_tensor_data"]}
    )


def find(
    model: str, version: str | None, models: Mapping[str, Served]
) -> tuple[Served, Lane | None]:
    """The model, and the version that is meant: the named one, or the live one (None: none is)."""
    served = models.get(model)
    if served is None:
        hint = closest(model, models) or " `redpoll status` lists the models."
        raise RedpollError("RP-102", f"There is no model {model[:80]!r}.{hint}")
    if version is None:
        return served, served.live
    return served, named(version, served)


def not_ready(models: Mapping[str, Served]) -> list[str]:
    """Models whose live version cannot answer now. Those with no live version do not count."""
    return [
        name
        for name, served in models.items()
        if served.live is not None and not served.live.backend.ready
    ]


def model_ready(served: Served, lane: Lane | None) -> tuple[int, bytes]:
    """``GET /v2/models/{model}[/versions/{version}]/ready``."""
    if lane is None:
        error = no_live(served)
        return 503, encode(
            {"name": served.name, "ready": False, "error": error.message, "code": error.code}
        )
    if lane.backend.ready:
        return 200, encode({"name": served.name, "ready": True})
    why = f"{served.name} {lane.version} does not answer; see `redpoll status`."
    return 503, encode({"name": served.name, "ready": False, "error": why, "code": "RP-200"})


def metadata(served: Served, lane: Lane | None) -> bytes:
    """``GET /v2/models/{model}``: as declared, else as the backend says."""
    model = served.route.model
    document: dict[str, Any] = {
        "name": served.name,
        "versions": list(served.lanes),
        "platform": "redpoll",
        "inputs": [],
        "outputs": [],
    }
    backend = said_by(lane)
    if model.tensor is not None:
        shape = [-1, len(model.tensor.columns)]
        inside = [model.inputs.get(name) for name in model.tensor.columns]
        kinds = {datatype_of(kind) for kind in inside if kind}
        datatype = kinds.pop() if len(kinds) == 1 else "FP64"
        document["inputs"] = [{"name": model.tensor.name, "datatype": datatype, "shape": shape}]
    elif model.inputs:
        document["inputs"] = [
            {"name": name, "datatype": datatype_of(kind), "shape": [-1]}
            for name, kind in model.inputs.items()
        ]
    else:
        document["inputs"] = backend.get("inputs", [])
    if backend.get("outputs"):
        document["outputs"] = backend["outputs"]
    elif model.output is not None:
        document["outputs"] = [
            {"name": name, "datatype": kind, "shape": [-1]}
            for name, kind in datatypes_of(model.output).items()
        ]
    return encode(document)
