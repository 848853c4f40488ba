"""Well-formed requests of every protocol, and the models that they are sent to."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redpoll.catalog import Capture, Model, OutcomeSpec, Output, Tensor

Headers = list[tuple[bytes, bytes]]
TOKEN = b"redpoll_a-token-that-opens-nothing"


@dataclass
class Asked:
    """One request, taken apart so that it can be changed with its lengths right or wrong."""

    line: bytes
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        lines = b"".join(b"%b: %b\r\n" % one for one in self.headers)
        return b"%b\r\n%b\r\n%b" % (self.line, lines, self.body)

    def copy(self) -> Asked:
        """One to be changed."""
        return Asked(self.line, list(self.headers), self.body)

    def set(self, name: bytes, value: bytes) -> None:
        """Put a header in the place of the one of that name, or behind all."""
        for at, (known, _) in enumerate(self.headers):
            if known.lower() == name:
                self.headers[at] = (known, value)
                return
        self.headers.append((name, value))

    def get(self, name: bytes) -> bytes | None:
        """A header's value."""
        return next((value for known, value in self.headers if known.lower() == name), None)


def ask(method: str, target: str, body: bytes = b"", **headers: str | bytes) -> Asked:
    """A request with its length; header names are written with underscores."""
    listed: Headers = [(b"host", b"h")]
    if (body or method == "POST") and "transfer_encoding" not in headers:
        listed.append((b"content-length", b"%d" % len(body)))
    for name, value in headers.items():
        raw = value if isinstance(value, bytes) else value.encode("latin-1")
        listed.append((name.replace("_", "-").encode(), raw))
    return Asked(f"{method} {target} HTTP/1.1".encode(), listed, body)


def column(name: str, datatype: str, data: list[Any], **more: Any) -> dict[str, Any]:
    """A column of the Open Inference Protocol."""
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data, **more}


def dumps(said: Any) -> bytes:
    """JSON in few bytes."""
    return json.dumps(said, separators=(",", ":")).encode()


def oip(*tensors: dict[str, Any], **more: Any) -> bytes:
    """An inference request in JSON."""
    return dumps({"inputs": list(tensors), **more})


def binary(*tensors: tuple[str, str, list[int], bytes], **more: Any) -> Asked:
    """An inference request with binary tensors."""
    told = [
        {"name": n, "datatype": d, "shape": s, "parameters": {"binary_data_size": len(raw)}}
        for n, d, s, raw in tensors
    ]
    head = dumps({"inputs": told, **more})
    raw = b"".join(raw for *_, raw in tensors)
    return ask("POST", INFER, head + raw, inference_header_content_length=str(len(head)))


INFER = "/v2/models/m/infer"
X = column("x", "FP64", [1.0])
AGE, PLAN = column("age", "INT64", [41]), column("plan", "BYTES", ["gold"])
WANTS_BINARY = {"parameters": {"binary_data_output": True}}
TAPPED = "org.kubeflow.serving.inference.request"
EVENT = {
    "specversion": "1.0", "id": "k-3", "type": TAPPED, "source": "s", "time": "2026-11-24T03:04:05Z",
    "inferenceservicename": "churn", "component": "predictor", "data": {"instances": [[1.5]]},
}  # fmt: skip
_TEXTS = b"".join(struct.pack("<I", len(t)) + t for t in (b"gold", b"\xff\x00"))
_CHUNKED = (
    b'a\r\n{"x": 1.5, \r\n1b;a="b"\r\n"age": 41, "plan": "gold"} \r\n0\r\nA-Trailer: b\r\n\r\n'
)

SEEDS: list[Asked] = [
    ask("POST", INFER, oip(X), redpoll_unit="u-1", content_type="application/json"),
    ask("POST", INFER, oip(X, AGE, PLAN), redpoll_unit="u-2"),
    ask("POST", INFER, oip(X, AGE, PLAN, id="r-1"), traceparent=f"00-{'a' * 32}-{'b' * 16}-01"),
    ask("POST", INFER, oip(X, AGE, PLAN, outputs=[{"name": "y"}], parameters={"p": 1})),
    ask("POST", INFER, oip(column("x", "FP32", [1.0, 2.5, -3e7]))),
    ask("POST", INFER, oip({"name": "row", "shape": [2, 2], "datatype": "FP64",
                            "data": [[1.5, 2], [3, 4]]}, AGE | {"shape": [2], "data": [1, 2]})),
    ask("POST", INFER, oip(column("flag", "BOOL", [True, False]), column("u", "UINT8", [0, 255]))),
    ask("POST", "/v2/models/m/versions/v2/infer", oip(X, AGE, PLAN), x_request_id="k%41",
        redpoll_deadline_ms="900", redpoll_subject="p-1", redpoll_group_sex="f"),
    binary(("x", "FP64", [2], struct.pack("<2d", 0.5, -2.0)), ("age", "INT64", [2], bytes(16)),
           ("plan", "BYTES", [2], _TEXTS)),
    binary(("x", "FP32", [1], b"\x00\x00\xc0\x7f"), id="b-1", **WANTS_BINARY),
    binary(("x", "FP16", [2, 1], b"\x00\x3c\x00\xfc"), ("y", "BF16", [2], b"\x80\x3f\x00\x00"),
           outputs=[{"name": "y", "parameters": {"binary_data": True}}]),
    binary(("plan", "BYTES", [2], _TEXTS), ("flag", "BOOL", [2], b"\x01\x00")),
    ask("POST", INFER, oip(X, AGE, PLAN, **WANTS_BINARY), accept_encoding="gzip, deflate;q=0.5"),
    ask("POST", "/predict/m", b'{"x": 1.5, "age": 41, "plan": "gold"}', redpoll_unit="u"),
    ask("POST", "/predict/m", b'{"rows": [{"x": 1, "age": 2, "plan": "a"}, '
        b'{"x": null, "age": 3, "plan": null}], "id": "k"}', redpoll_subject="p"),
    ask("POST", "/predict/m/versions/v1", b'{"x": 1.5, "age": 41, "plan": "\\u00e4\\ud83d\\ude00"}'),
    ask("POST", "/predict/m", gzip.compress(b'{"x": 1.5, "age": 4, "plan": "b"}', 6, mtime=0),
        content_encoding="gzip"),
    ask("POST", INFER, zlib.compress(oip(X, AGE, PLAN)), content_encoding="deflate"),
    ask("POST", "/predict/m", _CHUNKED, transfer_encoding="chunked"),
    ask("POST", "/predict/m", b'{"x": 1}', expect="100-continue"),
    ask("POST", "/v1/outcomes", b'{"name":"redo","request_id":"r","model":"m"}\n'
        b'{"name":"paid","request_id":"q","model":"m","value":12.5,"happened":"2026-11-24T10:00:00Z"}\n'),
    ask("POST", "/v1/outcomes", b'{"name":"redo","request_id":"r","model":"m","row":0,'
        b'"outcome_id":"o-1","retracts":"o-0"}', origin="https://shop.example"),
    ask("POST", "/v1/outcomes", b"name=redo&request_id=r&model=m&value=true",
        content_type="application/x-www-form-urlencoded"),
    ask("OPTIONS", "/v1/outcomes", origin="https://shop.example",
        access_control_request_method="POST", access_control_request_headers="content-type"),
    ask("POST", "/invocations", b'{"dataframe_split": {"columns": ["x", "age", "plan"], '
        b'"data": [[1.5, 41, "gold"]]}}', content_type="application/json"),
    ask("POST", "/invocations", b'{"dataframe_records": [{"x": 1.5, "age": 4, "plan": "a"}]}'),
    ask("POST", "/invocations", b'{"instances": [{"x": 1.5, "age": 4, "plan": "a"}]}'),
    ask("POST", "/invocations", b'{"inputs": {"x": [1.5, 2], "age": [4, 5], "plan": ["a", "b"]}}'),
    ask("POST", "/invocations", b'x,age,plan\n1.5,41,gold\n,2,"a,""b"\n', content_type="text/csv"),
    # Of a model that is not served: so far events are read, and none is left waiting for its answer.
    ask("POST", "/v1/tap", b'{"instances": [[1.5]]}', ce_id="k-1", ce_type=TAPPED, ce_source="s",
        ce_specversion="1.0", ce_time="2026-11-24T03:04:05.123456789Z", ce_metadata="{}",
        ce_inferenceservicename="churn", ce_namespace="n", ce_component="predictor"),
    ask("POST", "/v1/tap", dumps([EVENT, EVENT | {"id": "k-2", "data_base64": "eyJ4IjogMX0="}]),
        content_type="application/cloudevents-batch+json"),
    ask("POST", "/v1/tap", dumps(EVENT), content_type="application/cloudevents+json"),
    ask("GET", "/v2/models/m"), ask("GET", "/v2/models/m/versions/v1/ready"), ask("GET", "/v2"),
    ask("HEAD", "/v2/health/ready"), ask("GET", "/readyz", connection="close"),
    ask("GET", "/metrics", accept_encoding="gzip"),
    Asked(b"POST /predict/m HTTP/1.0", [(b"Content-Length", b"8")], b'{"x": 1}'),
    Asked(b"GET /v2/health/live HTTP/1.0", [(b"Connection", b"keep-alive")]),
]  # fmt: skip


class Setup(NamedTuple):
    """One way to serve the model, told by what a gateway does differently."""

    name: str
    model: Model
    kind: str = "http://h/v2/models/m"  # of its versions' backends
    binary: bool = False  # the backend reads binary tensors
    tokens: bool = False  # requests must carry a token
    candidate: str | None = None


COLUMNS = {"x": "float", "age": "int", "plan": "category"}
_NAMES = ("redo", "paid")
SETUPS = (
    Setup("open", Model(name="m", unit="user"), candidate="v2"),
    Setup("declared", Model(
        name="m", unit="user", inputs=COLUMNS, groups={"sex": "header", "tier": "input:plan"},
        output=Output(name="y", type="float"), redact=("age",),
        outcomes=tuple(OutcomeSpec(name=name) for name in _NAMES)), kind="sklearn:m.pkl"),
    Setup("one column", Model(name="m", unit="user", unit_from="input:x", inputs={"x": "float"},
          capture=Capture(share=0.5, max_body_bytes=60)), binary=True, candidate="v2"),
    Setup("matrix", Model(name="m", inputs={"a": "float", "b": "float", "age": "int"},
          tensor=Tensor(name="row", columns=("a", "b"))), kind="python:m:load"),
    Setup("tokens", Model(name="m", inputs={"x": "float"}), tokens=True),
)  # fmt: skip
