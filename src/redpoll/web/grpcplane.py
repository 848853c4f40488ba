"""``python -m redpoll.web.grpcplane``: the Open Inference Protocol over gRPC, in front of the data plane.

A process of its own (extra ``grpc``): each call becomes a request with binary tensors to the data
plane of the server that runs on the data folder, so routing, capture and limits are the same.
Metadata of a call is its headers (``redpoll-unit``, ``authorization``, …); the answer's headers come
back as metadata (``redpoll-prediction-id``, ``redpoll-version``).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import msgspec

from redpoll.catalog import Server
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir
from redpoll.host.tokens import check_reach
from redpoll.tensors import binary, raw
from redpoll.web.dataplane import server_of
from redpoll.web.grpc_messages import METHODS, SERVICE, message
from redpoll.web.upstream import Upstream

log = logging.getLogger("redpoll.grpc")
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
GRACE_S = 5.0
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_KEPT_BACK = ("user-agent", "content-type", "te", "content-length", "host", "connection", "expect")
_TOLD = ("redpoll-", "x-request-id", "retry-after")
_encode = msgspec.json.encode


class Plane:
    """The methods of the service."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def call(self, name: str, request: Any, context: Any) -> Any:
        """Answer a call of the method ``name``."""
        try:
            return await getattr(self, f"_{name}")(request, context)
        except RedpollError as error:
            status = _STATUS.get(error.status, grpc.StatusCode.INTERNAL)
            await context.abort(status, f"{error.message} [{error.code}]")

    async def _ServerLive(self, request: Any, context: Any) -> Any:
        return message("ServerLiveResponse")(live=await self._is("/v2/health/live"))

    async def _ServerReady(self, request: Any, context: Any) -> Any:
        return message("ServerReadyResponse")(ready=await self._is("/v2/health/ready"))

    async def _ModelReady(self, request: Any, context: Any) -> Any:
        path = f"{_path(request.name, request.version)}/ready"
        return message("ModelReadyResponse")(ready=await self._is(path))

    async def _is(self, path: str) -> bool:
        return (await self._upstream.ask("GET", path, {}, b""))[0] == 200

    async def _ServerMetadata(self, request: Any, context: Any) -> Any:
        return message("ServerMetadataResponse")(**await self._said("/v2", context))

    async def _ModelMetadata(self, request: Any, context: Any) -> Any:
        said = await self._said(_path(request.name, request.version), context)
        return message("ModelMetadataResponse")(**said)

    async def _said(self, path: str, context: Any) -> dict[str, Any]:
        status, _, body = await self._upstream.ask("GET", path, _headers(context), b"")
        if status != 200:
            raise _refusal(status, body)
        said: dict[str, Any] = msgspec.json.decode(body)
        return said

    async def _ModelInfer(self, request: Any, context: Any) -> Any:
        body, head_bytes = request_body(request)
        headers = _headers(context)
        headers["inference-header-content-length"] = str(head_bytes)
        left_s = context.time_remaining()
        if left_s is not None and left_s < 24 * 3600:
            headers.setdefault("redpoll-deadline-ms", str(max(1, int(left_s * 1000))))
        path = f"{_path(request.model_name, request.model_version)}/infer"
        status, said, answer = await self._upstream.ask("POST", path, headers, body)
        told = [(name, value) for name, value in said.items() if name.startswith(_TOLD)]
        await context.send_initial_metadata(told)
        if status != 200:
            raise _refusal(status, answer)
        return response(answer, said.get("inference-header-content-length"))


def request_body(request: Any) -> tuple[bytes, int]:
    """A ``ModelInferRequest`` as a body with binary tensors, and the length of its JSON."""
    raws = list(request.raw_input_contents)
    if raws and len(raws) != len(request.inputs):
        raise RedpollError(
            "RP-120",
            f"The binary tensors could not be read: there are {len(raws)} raw_input_contents for "
            f"{len(request.inputs)} inputs.",
        )
    inputs, parts = [], []
    for at, tensor in enumerate(request.inputs):
        part = raws[at] if raws else _contents(tensor)
        inputs.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {"binary_data_size": len(part)},
            }
        )
        parts.append(part)
    document: dict[str, Any] = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    if request.id:
        document["id"] = request.id
    if request.outputs:
        document["outputs"] = [{"name": output.name} for output in request.outputs]
    head = _encode(document)
    return head + b"".join(parts), len(head)


def _contents(tensor: Any) -> bytes:
    """Typed contents as raw ones."""
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise RedpollError(
            "RP-107", f"{tensor.name!r} of {tensor.datatype!r} comes in raw_input_contents only."
        )
    try:
        return raw.encode(tensor.datatype, list(getattr(tensor.contents, field)))
    except raw.Unfit as error:
        raise RedpollError("RP-107", f"{tensor.name!r}: {error}.") from None


def response(body: bytes, head_bytes: str | None) -> Any:
    """An answer as a ``ModelInferResponse``, all its tensors raw."""
    size = int(head_bytes) if head_bytes is not None else len(body)
    head = msgspec.json.decode(body[:size])
    made = message("ModelInferResponse")(
        model_name=str(head.get("model_name") or ""),
        model_version=str(head.get("model_version") or ""),
        id=str(head.get("id") or ""),
    )
    for tensor in binary.read_answer(body, size):
        made.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        try:
            made.raw_output_contents.append(raw.encode(tensor.datatype, tensor.data))
        except raw.Unfit as error:
            raise RedpollError(
                "RP-201", f"Output {tensor.name!r} has no raw form: {error}."
            ) from None
    return made


def _path(model: str, version: str) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _headers(context: Any) -> dict[str, str]:
    """The metadata of a call that are headers of ours: text, and none that frames a message."""
    return {
        name: value
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str) and not name.startswith(("grpc-", ":")) and name not in _KEPT_BACK
    }


def _refusal(status: int, body: bytes) -> RedpollError:
    try:
        said = msgspec.json.decode(body)
        error = RedpollError(str(said["code"]), str(said["error"]))
    except (msgspec.DecodeError, KeyError, TypeError):
        error = RedpollError("RP-200", f"The data plane answered {status}.")
    return error


def _handler(plane: Plane, name: str) -> Any:
    async def serve(request: Any, context: Any) -> Any:
        return await plane.call(name, request, context)

    return grpc.unary_unary_rpc_method_handler(
        serve,
        request_deserializer=message(f"{name}Request").FromString,
        response_serializer=lambda made: made.SerializeToString(),
    )


def _listen(server: Any, listen: str, configured: Server) -> int:
    """Listen, over TLS where the other listeners speak it. RP-607 where that cannot be."""
    try:
        if configured.tls_cert and configured.tls_key:
            pair = Path(configured.tls_key).read_bytes(), Path(configured.tls_cert).read_bytes()
            return int(server.add_secure_port(listen, grpc.ssl_server_credentials([pair])))
        return int(server.add_insecure_port(listen))
    except (RuntimeError, OSError) as error:
        raise RedpollError(
            "RP-607",
            f"redpoll cannot listen on {listen!r}: {error}; name a free address (--listen).",
        ) from None


async def run(data: DataDir, listen: str) -> None:
    """Serve until SIGTERM; calls under way are finished."""
    configured = server_of(data)
    check_reach({"--listen": listen}, configured.tokens_file)
    upstream = Upstream(data, configured.tls_cert)
    limits = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ]
    server = grpc.aio.server(options=limits)
    plane = Plane(upstream)
    handlers = {name: _handler(plane, name) for name in METHODS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = _listen(server, listen, configured)
    await server.start()
    host = listen.rpartition(":")[0]
    print(f"redpoll gRPC: listening on {host}:{port}", file=sys.stderr, flush=True)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await ending.wait()
    await server.stop(GRACE_S)
    upstream.close()


def main(argv: list[str] | None = None) -> int:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="python -m redpoll.web.grpcplane", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("redpoll-data"))
    parser.add_argument("--listen", default="127.0.0.1:8001", help="loopback, or behind a proxy")
    arguments = parser.parse_args(argv)
    try:
        asyncio.run(run(DataDir(arguments.data_dir), arguments.listen))
    except RedpollError as error:
        print(f"redpoll gRPC: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
