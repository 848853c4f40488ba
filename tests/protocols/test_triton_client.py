"""The real tritonclient[http], unmodified, against a real gateway and a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redpoll.catalog import Model
from tests.web_data.process import GatewayProcess
from tests.workers.rig import Worker

triton = pytest.importorskip("tritonclient.http")

MODEL = """
import numpy as np

def load():
    def predict(columns):
        values, names = columns["x"], columns["name"]
        texts = np.array([f"{name}: {value:g}" for name, value in zip(names, values)], dtype=object)
        return {"double": values * 2, "text": texts, "whole": np.arange(len(values))}
    return predict
"""
VALUES = np.array([1.5, np.inf, -0.0], np.float32)
NAMES = np.array(["a", "ü", ""], dtype=object)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway before one worker of the model above."""
    folder = tmp_path_factory.mktemp("triton")
    (folder / "doubling.py").write_text(MODEL)
    worker = Worker(folder, "python:doubling:load")
    try:
        with GatewayProcess(folder, {"v1": f"unix:{worker.path}"}, Model(name="m")) as gateway:
            yield gateway
    finally:
        worker.end()


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[Any]:
    """One client for each test: it may be used from one thread only."""
    with triton.InferenceServerClient(f"127.0.0.1:{gateway.port}", concurrency=4) as client:
        yield client


def inputs(values: Any = VALUES, binary: bool = True) -> list[Any]:
    """Two columns."""
    made = [
        triton.InferInput("x", [len(values)], "FP32"),
        triton.InferInput("name", [len(values)], "BYTES"),
    ]
    made[0].set_data_from_numpy(values, binary_data=binary)
    made[1].set_data_from_numpy(NAMES[: len(values)], binary_data=binary)
    return made


def check(result: Any, values: Any = VALUES, infinite: bool = True) -> None:
    """What the model says of these values."""
    doubled = result.as_numpy("double")
    assert doubled.dtype == np.float32
    expected = values * 2
    if not infinite:
        expected = np.where(np.isinf(expected), np.float32("nan"), expected)
    assert np.array_equal(doubled, expected, equal_nan=True)
    assert np.signbit(doubled[-1]) == np.signbit(values[-1])
    whole = result.as_numpy("whole")
    assert (whole.dtype, whole.tolist()) == (np.int64, list(range(len(values))))


def test_it_infers_with_binary_tensors_as_it_does_by_default(client: Any) -> None:
    """Inputs and outputs raw: an infinity and a negative zero arrive as they are."""
    result = client.infer("m", inputs(), request_id="r-7")
    check(result)
    texts = result.as_numpy("text").tolist()
    assert [t.decode() for t in texts] == ["a: 1.5", "ü: inf", ": -0"]
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r-7", "m", "v1")
    assert all("binary_data_size" in one["parameters"] for one in response["outputs"])


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_binary_is_on_or_off_each_way(client: Any, binary_in: bool, binary_out: bool) -> None:
    """In JSON an infinity cannot be sent, and comes as null, which is NaN to the client."""
    values = VALUES if binary_in else np.array([1.5, 2.5, -0.0], np.float32)
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("whole", "double")
    ]
    result = client.infer("m", inputs(values, binary_in), outputs=wanted)
    check(result, values, infinite=binary_out)
    for one in result.get_response()["outputs"]:
        assert ("data" in one) != (binary_out and "parameters" in one)


@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_coding", [None, "gzip", "deflate"])
def test_requests_and_answers_are_compressed(
    client: Any, request_coding: str | None, response_coding: str | None
) -> None:
    """Also answers that are large enough to be worth it."""
    values = np.arange(2000, dtype=np.float32) / 7
    made = [triton.InferInput("x", [2000], "FP32"), triton.InferInput("name", [2000], "BYTES")]
    made[0].set_data_from_numpy(values)
    made[1].set_data_from_numpy(np.array(["ab"] * 2000, dtype=object))
    result = client.infer(
        "m",
        made,
        request_compression_algorithm=request_coding,
        response_compression_algorithm=response_coding,
    )
    check(result, values)


def test_many_are_asked_at_once(client: Any) -> None:
    """`async_infer`: every answer belongs to its request."""
    wanted = [np.array([n, n + 0.5, n + 1], np.float32) for n in range(12)]
    asked = [client.async_infer("m", inputs(values)) for values in wanted]
    for values, one in zip(wanted, asked, strict=True):
        check(one.get_result(), values)


def test_it_finds_the_server_and_the_model(client: Any) -> None:
    """Live, ready, and both kinds of metadata."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("m") and client.is_model_ready("m", "v1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("m")["versions"] == ["v1"]


def test_an_error_says_what_is_wrong(client: Any) -> None:
    """The client raises with our text."""
    made = inputs()
    made[0]._data = {"binary_data_size": 99}
    made[0]._parameters["binary_data_size"] = 99
    with pytest.raises(Exception, match="binary_data_size") as caught:
        client.infer("m", made)
    assert caught.value.status() == "400"
    with pytest.raises(Exception, match="There is no model"):
        client.infer("mm", inputs())


def test_the_journal_has_what_was_sent(tmp_path: Path) -> None:
    """Columns of a raw request, as of any other."""
    (tmp_path / "doubling.py").write_text(MODEL)
    worker = Worker(tmp_path, "python:doubling:load")
    try:
        with GatewayProcess(tmp_path, {"v1": f"unix:{worker.path}"}) as gateway:
            with triton.InferenceServerClient(f"127.0.0.1:{gateway.port}") as client:
                client.infer("m", inputs(np.array([1.5, 2.5], np.float32)))
            (asked,), (told,) = gateway.requests(), gateway.answers()
            assert asked.inputs == '{"x":[1.5,2.5],"name":["a","ü"]}'
            assert told.outputs == '{"double":[3.0,5.0],"text":["a: 1.5","ü: 2.5"],"whole":[0,1]}'
            assert (asked.rows, asked.body, told.status) == (2, None, "ok")
    finally:
        worker.end()
