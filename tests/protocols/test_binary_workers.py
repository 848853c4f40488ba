"""A real worker process behind a real gateway: every datatype, bit for bit, there and back."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator

import numpy as np
import pytest

from redpoll.backends.worker import answers
from redpoll.backends.worker import binary as worker_binary
from tests.protocols.bodies import NUMPY, body, tensor, texts
from tests.web_data.process import GatewayProcess
from tests.workers.rig import Worker

ECHO = """
def load():
    return lambda columns: dict(columns)
"""


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway before a worker whose model answers what it got."""
    folder = tmp_path_factory.mktemp("echo")
    (folder / "echo_model.py").write_text(ECHO)
    worker = Worker(folder, "python:echo_model:load")
    try:
        with GatewayProcess(folder, {"v1": f"unix:{worker.path}"}) as gateway:
            yield gateway
    finally:
        worker.end()


def ask(gateway: GatewayProcess, made: tuple[bytes, int]) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    headers = {"Inference-Header-Content-Length": str(made[1])}
    connection.request("POST", "/v2/models/m/infer", made[0], headers)
    reply = connection.getresponse()
    found = reply.read()
    connection.close()
    return reply.status, {k.lower(): v for k, v in reply.headers.items()}, found


@pytest.mark.parametrize("datatype", [*sorted(NUMPY), "BYTES"])
@pytest.mark.parametrize("shape", [[5], [5, 1], [5, 2, 3]])
def test_every_datatype_comes_back_bit_for_bit(
    echo: GatewayProcess, datatype: str, shape: list[int]
) -> None:
    """Any bits: NaNs with a payload, infinities, bytes that are no text."""
    seeded = random.Random(7)
    count = int(np.prod(shape))
    if datatype == "BYTES":
        raw = texts(*(seeded.randbytes(seeded.randrange(8)) for _ in range(count)))
    else:
        raw = seeded.randbytes(count * np.dtype(NUMPY[datatype]).itemsize)
        raw = bytes(b & 1 for b in raw) if datatype == "BOOL" else raw
    made = body(tensor("x", datatype, shape, raw), parameters={"binary_data_output": True})
    status, headers, found = ask(echo, made)
    assert status == 200, found
    head_bytes = int(headers["inference-header-content-length"])
    (output,) = json.loads(found[:head_bytes])["outputs"]
    assert (output["datatype"], output["name"]) == (datatype, "x")
    assert output["shape"] == (shape[:1] if shape[1:] == [1] else shape)
    assert found[head_bytes:] == raw
    assert output["parameters"] == {"binary_data_size": len(raw)}


def test_bf16_reaches_the_model_as_the_numbers_that_it_says(echo: GatewayProcess) -> None:
    """Numpy has no BF16: they come as float32, exactly."""
    raw = b"\x80\x3f\x49\x40\x80\xff"
    made = body(tensor("x", "BF16", [3], raw), parameters={"binary_data_output": True})
    status, headers, found = ask(echo, made)
    assert status == 200
    values = np.frombuffer(found[int(headers["inference-header-content-length"]) :], "<f4")
    assert values.tolist() == [1.0, 3.140625, -np.inf]


def test_the_same_in_json_has_null_for_what_json_has_no_number_for(echo: GatewayProcess) -> None:
    """A client that asks for JSON gets JSON."""
    made = body(tensor("x", "FP16", [3], np.array([1.5, np.inf, np.nan], "<f2").tobytes()))
    status, headers, found = ask(echo, made)
    assert status == 200 and headers["content-type"] == "application/json"
    (output,) = json.loads(found)["outputs"]
    assert output == {"name": "x", "shape": [3], "datatype": "FP16", "data": [1.5, None, None]}


def test_a_worker_checks_lengths_itself() -> None:
    """Whoever asks it directly is told, too."""
    from redpoll.backends.worker import tensors

    good, head_bytes = body(tensor("t", "BYTES", [2], texts(b"a", b"bc")))
    declared = tensors.Declared({})
    assert tensors.read(good, declared, head_bytes).columns["t"].tolist() == ["a", "bc"]
    for end in range(len(good)):
        with pytest.raises(tensors.BadRequest):
            tensors.read(good[:end], declared, head_bytes)
    for wrong in range(len(good) + 5):
        if wrong != head_bytes:
            with pytest.raises(tensors.BadRequest):
                tensors.read(good, declared, wrong)


def test_a_model_that_returns_bytes_or_bfloat16_has_them_sent_as_they_are() -> None:
    """In raw tensors; JSON gets text and the same numbers in FP32."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    numbers = np.array([1.0, 2.5], ml_dtypes.bfloat16)
    outputs = {"b": np.array([b"\xff", b"a"], dtype=object), "n": numbers}
    made, head_bytes = worker_binary.encode({}, outputs, 2, {}, (True, {}))
    assert head_bytes is not None
    assert [one["datatype"] for one in json.loads(made[:head_bytes])["outputs"]] == [
        "BYTES",
        "BF16",
    ]
    assert made[head_bytes:] == texts(b"\xff", b"a") + numbers.tobytes()
    plain = json.loads(answers.encode({}, {"n": numbers}, 2, {}))["outputs"][0]
    assert (plain["datatype"], plain["data"]) == ("FP32", [1.0, 2.5])
