"""The worker's life: load the model, answer for it, end when told or when the supervisor ends."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import json
import os
import re
import signal
import sys
from typing import Any

from . import answers, batches, binary, models, observe, tensors, warm_up
from .connection import HttpRequest
from .server import Reply, Server, bind, document

PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/infer|/ready)?/?\Z")
FAILED_TO_LOAD = 3  # exit status
COLUMNS_SHOWN = 5


class Worker:
    """One version of one model, and the HTTP addresses under which it answers."""

    def __init__(self, spec: dict[str, Any], page: observe.Page) -> None:
        self.spec = spec
        self.page = page
        self.name: str = spec["model"]["name"]
        self.version: str = spec["version"]["name"]
        self.redact: tuple[str, ...] = tuple(spec["model"].get("redact") or ())
        self.model: models.Model | None = None
        batch = spec["version"].get("batch")
        self.batch = batches.Limits(batch["rows"], batch["wait_s"]) if batch else None

    def quick(self, request: HttpRequest) -> Reply | None:
        """Answer all but inference, without the model; None: the model must be asked."""
        ready = self.model is not None
        if request.path == "/v2/health/live":
            return document(200, {"live": True})
        if request.path == "/v2/health/ready":
            return document(200 if ready else 503, {"ready": ready})
        if request.path == "/v2":
            return document(
                200,
                {"name": "redpoll worker", "version": "1", "extensions": ["binary_tensor_data"]},
            )
        found = PATH.match(request.path)
        if found is None:
            return _error(404, "RP-104", f"nothing is served at {request.path[:100]}")
        if found.group(1) != self.name:
            return _error(404, "RP-102", f"this worker answers for {self.name!r} only")
        action = found.group(3)
        if request.method != ("POST" if action == "/infer" else "GET"):
            return _error(405, "RP-105", f"{request.method} is not for {request.path[:100]}")
        if action == "/ready":
            return document(200 if ready else 503, {"name": self.name, "ready": ready})
        if action is None:
            return document(200, self._metadata())
        if not ready:
            return _error(503, "RP-114", f"{self.name} {self.version} is still loading")
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            return _error(415, "RP-111", "send the body as it is, without a content encoding")
        return None

    def call(self, requests: list[HttpRequest]) -> list[Reply]:
        """Ask the model, for several requests at once where it may; what goes wrong is a reply."""
        try:
            if len(requests) == 1:
                return [self._one(requests[0])]
            return self._several(requests)
        finally:
            self.page.idle()

    def _one(self, request: HttpRequest) -> Reply:
        self.page.busy()
        call = self._read(request)
        return call if isinstance(call, Reply) else self._ask(request, call)

    def _several(self, requests: list[HttpRequest]) -> list[Reply]:
        """Those that go together are one call of the model; where that fails, each is its own."""
        assert self.batch is not None
        self.page.busy()
        replies: dict[int, Reply] = {}
        calls: dict[int, tensors.Call] = {}
        for at, request in enumerate(requests):
            call = self._read(request)
            if isinstance(call, Reply):
                replies[at] = call
            elif call.rows == 0:
                replies[at] = self._ask(request, call)
            else:
                calls[at] = call
        numbers = list(calls)
        for members in batches.groups([calls[at] for at in numbers], self.batch.rows):
            group = [numbers[member] for member in members]
            parts = self._together([calls[at] for at in group])
            for number, at in enumerate(group):
                if parts is None:
                    self.page.busy()
                replies[at] = self._ask(requests[at], calls[at], parts[number] if parts else None)
        return [replies[at] for at in range(len(requests))]

    def _together(self, calls: list[tensors.Call]) -> list[dict[str, Any]] | None:
        """The outputs of each; None where they are to be asked for one by one."""
        model = self.model
        assert model is not None
        if len(calls) == 1:
            return None
        self.page.busy()
        try:
            return batches.split(model.outputs(batches.merged(calls)), calls)
        except BaseException:  # whose request it is shows when each is asked by itself
            return None

    def _read(self, request: HttpRequest) -> tensors.Call | Reply:
        assert self.model is not None
        try:
            return tensors.read(request.body, self.model.declared, _head_bytes(request))
        except BaseException as error:
            return self._failed(request, None, error)

    def _ask(
        self, request: HttpRequest, call: tensors.Call, outputs: dict[str, Any] | None = None
    ) -> Reply:
        """Answer a request; ``outputs`` are its own, where the model was asked already."""
        model = self.model
        assert model is not None
        head: dict[str, Any] = {"model_name": self.name, "model_version": self.version}
        if call.id is not None:
            head["id"] = call.id
        try:
            if call.rows == 0:
                return Reply(200, answers.empty(head, model.datatypes))
            found = model.predict(call) if outputs is None else model.chosen(outputs, call)
            if call.raw is not None:
                return Reply(200, *binary.encode(head, found, call.rows, model.types, call.raw))
            return Reply(200, answers.encode(head, found, call.rows, model.types))
        except BaseException as error:  # also SystemExit: a model must not end its worker so
            return self._failed(request, call, error)

    def _failed(
        self, request: HttpRequest, call: tensors.Call | None, error: BaseException
    ) -> Reply:
        if isinstance(error, tensors.BadRequest):
            return _error(400, error.code, self._mask(str(error), call))
        self.page.errors += 1
        if isinstance(error, answers.BadAnswer):
            observe.complain(f"prediction {_prediction(request)}: {error}")
            return _error(500, "RP-201", self._mask(str(error), call))
        line = self._mask(observe.failure(error), call)
        trace = self._mask(observe.trace(error), call)
        observe.complain(f"prediction {_prediction(request)} failed: {line}", trace)
        return _error(500, "RP-200", line + _missing(line, call))

    def _mask(self, text: str, call: tensors.Call | None) -> str:
        if not self.redact or call is None:
            return text
        columns = call.columns
        return observe.mask(
            text, [(name, columns[name].tolist()) for name in self.redact if name in columns]
        )

    def _metadata(self) -> dict[str, Any]:
        declared, output = models.declarations(self.spec["model"])
        datatypes = output.datatypes if output else {}
        if self.model is not None:
            datatypes = self.model.datatypes
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.spec["version"]["backend"].partition(":")[0],
            "inputs": [
                {"name": name, "datatype": models.DATATYPES.get(kind, "BYTES"), "shape": [-1]}
                for name, kind in declared.inputs.items()
            ],
            "outputs": [
                {"name": name, "datatype": kind, "shape": [-1]} for name, kind in datatypes.items()
            ],
        }


def _missing(line: str, call: tensors.Call | None) -> str:
    """What to do where a request with nulls failed: to many models a missing value is an error."""
    names = tensors.with_nulls(call) if call is not None else []
    if not names:
        return ""
    more = f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else ""
    listed = ", ".join(tensors.short(str(name)).strip('"') for name in names[:COLUMNS_SHOWN])
    stop = "" if line.endswith((".", "!", "?", "…")) else "."
    return (
        f"{stop} The request has row(s) with null in: {listed}{more}; send values there, or have the "
        "model fill in what is missing."
    )


def _head_bytes(request: HttpRequest) -> int | None:
    """Return the bytes of the JSON before binary tensors; None: the body is JSON."""
    said = request.headers.get("inference-header-content-length")
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) < 16):
        raise tensors.BadRequest("Inference-Header-Content-Length is no number", "RP-120")
    return int(said)


def _prediction(request: HttpRequest) -> str:
    number = request.headers.get("redpoll-prediction-id", "")
    return number[:64] if number.isascii() and number.isprintable() and number else "(unnamed)"


def _error(status: int, code: str, message: str) -> Reply:
    return document(status, {"error": message, "code": code})


def main(argv: list[str]) -> int:
    """Run a worker; returns the exit status."""
    parser = argparse.ArgumentParser(prog="redpoll-worker", description=__doc__)
    parser.add_argument("--spec", required=True, help="JSON file; - reads it from stdin")
    parser.add_argument("--socket", help="Unix socket to listen on")
    parser.add_argument("--lifeline", type=int, default=-1, help="ends with this descriptor's pipe")
    parser.add_argument("--report", type=int, default=-1, help="descriptor for JSON lines")
    parser.add_argument("--page", type=int, default=-1, help="descriptor of the status page")
    parser.add_argument("--check", action="store_true", help="load, report, end")
    options = parser.parse_args(argv)
    if options.lifeline >= 0:
        _die_with_parent()
    with contextlib.ExitStack() as stack:
        source = sys.stdin if options.spec == "-" else stack.enter_context(open(options.spec))  # noqa: PTH123
        spec = json.load(source)
    _seal_standard_streams()
    faulthandler.enable()
    _dump_on_quit()
    os.chdir(spec["version"]["folder"])
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    worker = Worker(spec, observe.Page(options.page))
    if options.check:
        return 0 if _load(worker, options.report) else FAILED_TO_LOAD
    server = Server(bind(options.socket), worker.quick, worker.call, worker.batch)
    if options.lifeline >= 0:
        server.watch(options.lifeline, lambda: os._exit(1))
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    if not _load(worker, options.report):
        return FAILED_TO_LOAD
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    _dump_on_quit()  # again: the model may have its own ideas about signals
    worker.page.ready()
    observe.report(options.report, "ready")
    server.run()
    return 0


def _load(worker: Worker, report: int) -> bool:
    """Load the model and report; False (and a traceback on stderr) where that fails."""
    try:
        digest = observe.fingerprint(worker.spec)
        observe.report(report, "start", fingerprint=digest, environment=observe.environment())
        model = models.load(worker.spec)
        warm_up.warm_up(model, worker.spec["version"], worker.redact)
    except models.LoadError as error:
        observe.complain(f"{worker.name} {worker.version} cannot be loaded: {error}")
        observe.report(report, "failed", error=str(error))
        return False
    except BaseException as error:
        line = observe.failure(error)
        observe.complain(f"{worker.name} {worker.version} cannot be loaded", observe.trace(error))
        observe.report(report, "failed", error=line)
        return False
    observe.report(report, "loaded", environment=observe.environment())
    worker.model = model
    return True


def _seal_standard_streams() -> None:
    """Nothing from stdin; what the model prints goes to stderr."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)


def _dump_on_quit() -> None:
    """On SIGQUIT all threads' stacks go to stderr, even while C code holds the interpreter."""
    faulthandler.register(signal.SIGQUIT, all_threads=True, chain=False)


def _die_with_parent() -> None:
    """Have the kernel kill us when the supervisor ends, however stuck the model is (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
