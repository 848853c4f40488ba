"""The real tritonclient[grpc], unmodified, against the gRPC process, a real gateway and a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redpoll.host.lifeline import die_with_parent
from redpoll.host.paths import DataDir
from tests.protocols.test_triton_client import MODEL, NAMES, VALUES, check
from tests.web_data.process import GatewayProcess
from tests.workers.rig import Worker

triton = pytest.importorskip("tritonclient.grpc")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Any]]:
    """A gateway before one worker, and a client of the gRPC process before that."""
    folder = tmp_path_factory.mktemp("grpc")
    (folder / "doubling.py").write_text(MODEL)
    worker = Worker(folder, "python:doubling:load")
    try:
        with GatewayProcess(folder, {"v1": f"unix:{worker.path}"}) as gateway:
            said = json.loads(gateway.data.server.read_bytes())
            said["data"] = f"127.0.0.1:{gateway.port}"
            gateway.data.server.write_text(json.dumps(said))
            process, address = start(gateway.data.root, "--listen", "127.0.0.1:0")
            try:
                with triton.InferenceServerClient(address) as client:
                    yield gateway, client
            finally:
                assert end(process) == 0
    finally:
        worker.end()


def start(data: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """The gRPC process, and where it listens."""
    command = [sys.executable, "-m", "redpoll.web.grpcplane", "--data-dir", str(data), *words]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    return process, line.split()[-1] if "listening on" in line else line


def end(process: subprocess.Popen[str]) -> int:
    process.terminate()
    status = process.wait(20)
    assert process.stderr is not None
    process.stderr.close()
    return status


def inputs(values: Any = VALUES) -> list[Any]:
    made = [
        triton.InferInput("x", [len(values)], "FP32"),
        triton.InferInput("name", [len(values)], "BYTES"),
    ]
    made[0].set_data_from_numpy(values)
    made[1].set_data_from_numpy(NAMES[: len(values)])
    return made


def test_it_infers_and_the_journal_has_it(served: tuple[GatewayProcess, Any]) -> None:
    """Values bit for bit; metadata of the call are headers."""
    gateway, client = served
    headers = {"redpoll-subject": "p-9", "redpoll-group-sex": "f"}
    result = client.infer("m", inputs(), request_id="r-7", headers=headers)
    check(result)
    assert [t.decode() for t in result.as_numpy("text").tolist()] == ["a: 1.5", "ü: inf", ": -0"]
    said = result.get_response()
    assert (said.id, said.model_name, said.model_version) == ("r-7", "m", "v1")
    (asked,) = [one for one in gateway.requests() if one.request_id == "r-7"]
    assert (asked.subject, asked.groups, asked.rows) == ("p-9", {"sex": "f"}, 3)


def test_outputs_are_chosen_and_calls_may_be_many_at_once(
    served: tuple[GatewayProcess, Any],
) -> None:
    """`async_infer`: each answer to its request."""
    _, client = served
    found: list[Any] = []
    wanted = [np.array([n, n + 0.5], np.float32) for n in range(8)]
    outputs = [triton.InferRequestedOutput("double"), triton.InferRequestedOutput("whole")]
    for values in wanted:
        client.async_infer(
            "m",
            inputs(values),
            lambda result, error: found.append((result, error)),
            outputs=outputs,
        )
    from tests.web_data.process import until

    until(lambda: len(found) == 8)
    assert all(error is None for _, error in found)
    firsts = sorted(float(result.as_numpy("double")[0]) for result, _ in found)
    assert firsts == [2.0 * n for n in range(8)]


def test_it_finds_the_server_and_the_model(served: tuple[GatewayProcess, Any]) -> None:
    """Live, ready, metadata."""
    _, client = served
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("m") and client.is_model_ready("m", "v1")
    assert not client.is_model_ready("n")
    assert client.get_server_metadata().name == "redpoll"
    assert list(client.get_model_metadata("m").versions) == ["v1"]


def test_errors_have_their_status_and_our_words(served: tuple[GatewayProcess, Any]) -> None:
    """What the data plane says."""
    _, client = served
    with pytest.raises(Exception, match="There is no model 'mm'") as caught:
        client.infer("mm", inputs())
    assert "NOT_FOUND" in caught.value.status()
    made = inputs()
    made[0]._raw_content = b"\0\0\0"
    with pytest.raises(Exception, match="12 bytes, not 3") as caught:
        client.infer("m", made)
    assert "INVALID_ARGUMENT" in caught.value.status()


def test_typed_contents_are_taken_too(served: tuple[GatewayProcess, Any]) -> None:
    """Not only raw ones: what a client written by hand sends."""
    from redpoll.web.grpc_messages import message
    from redpoll.web.grpcplane import request_body

    request = message("ModelInferRequest")(model_name="m")
    request.inputs.add(name="x", datatype="INT16", shape=[2]).contents.int_contents.extend([1, -2])
    body, head_bytes = request_body(request)
    assert body[head_bytes:] == b"\x01\0\xfe\xff"


def test_it_speaks_tls_where_the_data_plane_does_and_wants_tokens_to_be_reached(
    tmp_path: Path, certificate: Any
) -> None:
    """With the same certificate; beyond loopback it does not start without tokens."""
    data = DataDir(tmp_path / "data").make()
    said = {"tls_cert": str(certificate.cert), "tls_key": str(certificate.key)}
    data.server.write_text(json.dumps({"server": said, "data": "127.0.0.1:9"}))
    process, address = start(data.root, "--listen", "127.0.0.1:0")
    try:
        secure = triton.InferenceServerClient(
            address.replace("127.0.0.1", "localhost"),
            ssl=True,
            root_certificates=str(certificate.cert),
        )
        with secure, pytest.raises(Exception, match="The data plane does not answer"):
            secure.get_server_metadata()
    finally:
        end(process)
    process, line = start(data.root, "--listen", "0.0.0.0:0")
    assert "tokens" in line
    assert process.wait(20) == 1
    end(process)
