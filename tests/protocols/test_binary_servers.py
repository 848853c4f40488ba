"""Binary tensors to a real server behind a real gateway, by what the server says of itself."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

from redpoll.testing.fake_oip import Answer, FakeOip, Request
from tests.protocols.bodies import body, floats
from tests.web_data.process import GatewayProcess

ALL = {"binary_data_output": True}


def ask(gateway: GatewayProcess, made: tuple[bytes, int]) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.request(
        "POST", "/v2/models/m/infer", made[0], {"Inference-Header-Content-Length": str(made[1])}
    )
    reply = connection.getresponse()
    found = reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read()
    connection.close()
    return found


def raw_answer(request: Request) -> Answer:
    """Answer raw, as Triton does."""
    made, head_bytes = body(floats("y", 0.5, float("inf")), of="outputs")
    return Answer(body=made, headers={"inference-header-content-length": str(head_bytes)})


def test_a_server_that_names_the_extension_gets_and_answers_binary_tensors(tmp_path: Path) -> None:
    """Bytes there and back as they are, on one connection again and again."""
    with FakeOip(raw_answer) as server:
        server.said = b'{"name":"triton","extensions":["binary_tensor_data"]}'
        with GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
            made = body(floats("x", 1.5, float("nan")), parameters=ALL)
            for _ in range(3):
                status, headers, found = ask(gateway, made)
                expected, head_bytes = body(floats("y", 0.5, float("inf")), of="outputs")
                assert (status, found) == (200, expected)
                assert headers["inference-header-content-length"] == str(head_bytes)
            assert {one.body for one in server.requests} == {made[0]}
            assert server.requests[0].headers["inference-header-content-length"] == str(made[1])
            assert [told.status for told in gateway.answers()] == ["ok"] * 3


def test_a_server_that_does_not_is_asked_in_json(tmp_path: Path) -> None:
    """MLServer and KServe answer 422 and 500 to binary tensors."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        status, headers, found = ask(gateway, body(floats("x", 1.5, 2.5), parameters=ALL))
        assert status == 200
        head_bytes = int(headers["inference-header-content-length"])
        assert json.loads(found[:head_bytes])["outputs"][0]["parameters"] == {"binary_data_size": 8}
        (asked,) = server.requests
        said = json.loads(asked.body)
        assert said["inputs"][0]["data"] == [1.5, 2.5] and said["id"]
        assert "inference-header-content-length" not in asked.headers


def test_an_answer_that_lies_about_its_lengths_is_no_answer(tmp_path: Path) -> None:
    """502 RP-201, whatever the length says; the gateway goes on."""
    lengths = iter(["5", "99999", "x", "-1"])

    def lying(request: Request) -> Answer:
        made, _ = body(floats("y", 0.5), of="outputs")
        return Answer(body=made, headers={"inference-header-content-length": next(lengths)})

    with FakeOip(lying) as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        for _ in range(4):
            status, _, found = ask(gateway, body(floats("x", 1.5)))
            assert (status, json.loads(found)["code"]) == (502, "RP-201")
