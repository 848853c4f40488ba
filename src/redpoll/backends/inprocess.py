"""Light models in the gateway's own process: no socket, no copy, a few microseconds a call.

A version of this kind has a worker, too, and everything that is not plain goes to it: until it is
ready, requests that are not simple columns of the declared types, whatever the model raises for (so
that errors, masks and tracebacks are a worker's), and all of it once the model turns out not to be
light. So what goes wrong here costs a call's time, never an answer.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from redpoll.backends.pool import HttpBackend
from redpoll.backends.port import Ask
from redpoll.catalog import Model, Version

log = logging.getLogger("redpoll.gateway")

LIGHT_S = 0.005  # a call may take: everybody else waits for it
SLOW_CALLS_MAX = 3
_JSON = b"content-type: application/json\r\n"
_DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL"}  # BYTES of every other
Columns = dict[str, list[Any]]
Predict = Callable[[Columns], Mapping[str, Any]]


class NotPlain(Exception):
    """For the worker: it is asked more than columns, or answered what needs a closer look."""


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: Any = None


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


class InProcess:
    """See :class:`redpoll.backends.port.Backend`; ``worker`` is the backend of its worker."""

    def __init__(self, worker: HttpBackend, model: Model, version: Version) -> None:
        self._worker = worker
        self.ready = self.binary = False
        self._name = model.name
        self._version = version
        self._inputs = {name: _DATATYPES.get(kind, "BYTES") for name, kind in model.inputs.items()}
        output = model.output
        self._types: dict[str, str] = {}
        if output is not None:
            kind = output.type
            if kind == "binary" and isinstance(output.positive, int):
                kind = "bool" if isinstance(output.positive, bool) else "int"
            self._types = {output.name: kind}
            if output.score:
                self._types[output.score] = "float"
        self._predict: Predict | None = None
        self._stamp: tuple[int, int] | None = None
        self._slow = 0
        self._waiting: set[Ask] = set()
        self.answered_here = 0

    def free(self) -> bool:
        """Whether one more ask can be started now."""
        return self._predict is not None or self._worker.free()

    def ask(self, ask: Ask) -> None:
        """Answer in the next turn of the loop, or have the worker do it."""
        if self._predict is None:
            self._worker.ask(ask)
            return
        self._waiting.add(ask)
        asyncio.get_running_loop().call_soon(self._answer, ask)

    def ask_now(self, ask: Ask) -> bool:
        """As the worker; a call of the model is more than a write, and waits for the turn's end."""
        return self._predict is None and self._worker.ask_now(ask)

    def _answer(self, ask: Ask) -> None:
        if ask not in self._waiting:
            return  # cancelled
        self._waiting.discard(ask)
        predict = self._predict
        body = None
        if predict is not None:
            began = time.perf_counter()
            try:
                body = self._body(predict, ask.payload)
            except (Exception, SystemExit) as error:
                log.debug("%s %s: to its worker: %r", self._name, self._version.name, error)
            self._timed(time.perf_counter() - began)
        if body is None:
            self._worker.ask(ask)
            return
        ask.attempts += 1
        self.answered_here += 1
        ask.answered(200, _JSON, body)

    def _timed(self, took_s: float) -> None:
        if took_s <= LIGHT_S:
            return
        self._slow += 1
        if self._slow >= SLOW_CALLS_MAX:
            self._predict = None
            log.warning(
                "%s %s is not light: %d calls took more than %d ms, the last one %.0f ms; from now "
                "on its worker answers (write python: instead of in-process:)",
                self._name, self._version.name, self._slow, LIGHT_S * 1000, took_s * 1000,
            )  # fmt: skip

    def _body(self, predict: Predict, payload: bytes) -> bytes:
        request = _decode(payload)
        if request.outputs:
            raise NotPlain("outputs are chosen")
        columns, rows = self._columns(request.inputs)
        if rows == 0:
            raise NotPlain("no rows")
        outputs = predict(columns)
        for name in self._types:
            if name not in outputs:
                raise NotPlain(f"no {name}")
        head = {"model_name": self._name, "model_version": self._version.name}
        if request.id is not None:
            head["id"] = request.id
        tensors = [self._tensor(name, values, rows) for name, values in outputs.items()]
        return _encode({**head, "outputs": tensors})

    def _columns(self, tensors: list[_Tensor]) -> tuple[Columns, int]:
        found: Columns = {}
        rows = -1
        for one in tensors:
            if one.shape != [len(one.data)] or one.name in found or rows not in (-1, len(one.data)):
                raise NotPlain(one.name)
            rows = len(one.data)
            found[one.name] = _floats(one.data) if one.datatype == "FP64" else one.data
            if self._inputs.get(one.name, one.datatype) != one.datatype:
                raise NotPlain(one.name)
            if one.datatype not in ("FP64", "INT64", "BOOL", "BYTES"):
                raise NotPlain(one.datatype)
        if self._inputs:
            found = {name: found[name] for name in self._inputs}
        return found, rows

    def _tensor(self, name: str, values: Any, rows: int) -> dict[str, Any]:
        data = values.tolist() if hasattr(values, "tolist") else list(values)
        if len(data) != rows:
            raise NotPlain(f"{name} has {len(data)} rows")
        kinds = set(map(type, data))
        declared = self._types.get(name)
        if declared == "float" and kinds <= {float, int, bool, type(None)}:
            datatype, data = "FP64", _floats(data)
        elif declared == "int" and kinds <= {int, bool}:
            datatype, data = "INT64", [int(value) for value in data]
        elif declared in ("int", "json") or (declared == "bool" and kinds != {bool}):
            raise NotPlain(name)  # their rules are the worker's
        elif kinds == {bool}:
            datatype = "BOOL"
        elif kinds == {int}:
            datatype = "INT64"
        elif kinds <= {str, type(None)}:
            datatype = "BYTES"
        elif declared is None and kinds <= {float, int, type(None)}:
            datatype, data = "FP64", _floats(data)
        else:
            raise NotPlain(name)
        if datatype == "INT64" and not all(-(2**63) <= value < 2**63 for value in data):
            raise NotPlain(name)
        return {"name": name, "shape": [rows], "datatype": datatype, "data": data}

    def cancel(self, ask: Ask) -> None:
        """Forget an ask."""
        if ask in self._waiting:
            self._waiting.discard(ask)
        else:
            self._worker.cancel(ask)

    async def probe(self) -> bool:
        """Probe the worker; once it has loaded the model, load it here, and again when it changed."""
        alive = await self._worker.probe()
        self.binary = self._worker.binary
        if alive and self._slow < SLOW_CALLS_MAX:
            source = self._source()
            stamp = await asyncio.to_thread(_stamp, source)
            if stamp != self._stamp:
                self._stamp = stamp
                self._predict = await asyncio.to_thread(self._load, source)
        self.ready = alive or self._predict is not None
        return self.ready

    def _source(self) -> Path:
        module = self._version.backend.split(":")[1]
        return Path(self._version.folder, *module.split(".")).with_suffix(".py")

    def _load(self, source: Path) -> Predict | None:
        """Load the module under a name of its own: two versions may come from one file over time."""
        function = self._version.backend.split(":")[2]
        try:
            spec = importlib.util.spec_from_file_location(f"redpoll_light_{id(self)}", source)
            if spec is None or spec.loader is None:
                raise ImportError(str(source))
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found: Any = module
            for part in function.split("."):
                found = getattr(found, part)
            predict: Predict = found()
        except (Exception, SystemExit) as error:
            log.warning(
                "%s %s cannot be loaded in the gateway, its worker answers: %s: %s",
                self._name, self._version.name, type(error).__name__, error,
            )  # fmt: skip
            return None
        return predict

    def metadata(self) -> bytes:
        """As its worker's."""
        return self._worker.metadata()

    def sweep(self) -> None:
        """As its worker."""
        self._worker.sweep()

    def close(self) -> None:
        """Give up everything; those that wait are answered by the worker, which fails them."""
        for ask in list(self._waiting):
            self._waiting.discard(ask)
            self._worker.ask(ask)
        self._predict = None
        self._worker.close()


def _stamp(source: Path) -> tuple[int, int]:
    try:
        found = source.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _floats(data: list[Any]) -> list[Any]:
    return [None if value is None or value != value else float(value) for value in data]
