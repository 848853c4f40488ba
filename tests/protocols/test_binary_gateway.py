"""Binary tensors through the gateway: to workers and servers that read them, and to those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redpoll.catalog import Model, Output, Tensor
from redpoll.gateway.call import ROWS
from tests.gateway.rig import Heard, Rig, answer, infer, run
from tests.protocols.bodies import body, floats, tensor, texts

ALL = {"binary_data_output": True}
WORKER = {"v1": "sklearn:m.pkl"}
RAW_BODY, RAW_HEAD = body(floats("x", 1.5, 2.5), parameters=ALL)


def send(rig: Rig, made: tuple[bytes, int], **more: Any) -> Heard:
    heard, _ = rig.send(made[0], inference_header_content_length=str(made[1]), **more)
    return heard


def head_line(head_bytes: int) -> bytes:
    return b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n" % head_bytes  # fmt: skip


async def answered(rig: Rig, made: tuple[bytes, int], reply: bytes, head_bytes: int | None = None, of: str = "v1", **more: Any) -> Heard:  # fmt: skip
    heard = send(rig, made, **more)
    await rig.tick()
    lines = b"content-type: application/json\r\n" if head_bytes is None else head_line(head_bytes)
    rig.backends[of].asked.pop(0).answered(200, lines, reply)
    await rig.tick()
    return heard


def test_a_worker_gets_the_bytes_as_they_came_and_its_answer_is_passed_on(tmp_path: Path) -> None:
    """Request and answer, with the header that says where the JSON ends; the journal has both."""

    async def story() -> None:
        rig = Rig(tmp_path, kinds=WORKER)
        sent = send(rig, (RAW_BODY, RAW_HEAD))
        await rig.tick()
        (ask,) = rig.backends["v1"].asked
        assert ask.payload == RAW_BODY
        assert b"inference-header-content-length: %d\r\n" % RAW_HEAD in ask.lines
        reply, head_bytes = body(floats("y", float("inf"), -0.0), of="outputs")
        ask.answered(200, head_line(head_bytes), reply)
        await rig.tick()
        assert (sent.status, sent.calls[-1].reply_body) == (200, reply)
        assert sent.headers["inference-header-content-length"] == str(head_bytes)
        assert sent.headers["content-type"] == "application/octet-stream"
        (asked,), (told,) = rig.requests(), rig.answers()
        assert asked.inputs is not None and json.loads(asked.inputs) == {"x": [1.5, 2.5]}
        assert (asked.rows, asked.body, asked.arm) == (2, None, "none")
        assert told.outputs is not None and json.loads(told.outputs) == {"y": [None, -0.0]}
        assert told.status == "ok"

    run(story)


def test_what_json_cannot_carry_is_kept_as_it_came(tmp_path: Path) -> None:
    """An infinity is null in the columns, so the body stays; bytes are written as base64."""

    async def story() -> None:
        rig = Rig(tmp_path, kinds=WORKER)
        for made in (
            body(floats("x", float("inf"), float("nan"))),
            body(tensor("t", "BYTES", [2], texts(b"\xff", b"ok"))),
            body(floats("x", float("nan"))),
        ):
            await answered(rig, made, answer(1.0, 2.0))
        infinite, any_bytes, missing = rig.requests()
        made = body(floats("x", float("inf"), float("nan")))
        assert infinite.inputs is not None and json.loads(infinite.inputs) == {"x": [None, None]}
        assert infinite.body == made[0]
        assert infinite.encoding == f"application/octet-stream; head_bytes={made[1]}"
        assert any_bytes.inputs is not None
        assert json.loads(any_bytes.inputs) == {"t": [{"base64": "/w=="}, "ok"]}
        assert (any_bytes.body, missing.body, missing.encoding) == (None, None, None)
        assert missing.inputs is not None and json.loads(missing.inputs) == {"x": [None]}

    run(story)


def test_a_server_that_does_not_say_that_it_reads_them_gets_json_with_an_id(tmp_path: Path) -> None:
    """And the client gets raw outputs, as it asked."""

    async def story() -> None:
        rig = Rig(tmp_path)
        made = body(
            floats("x", 1.5, float("nan")),
            tensor("b", "BF16", [2], b"\x80\x3f\x00\x40"),
            outputs=[{"name": "y", "parameters": {"binary_data": True, "other": 1}}],
        )
        sent = send(rig, made)
        await rig.tick()
        (ask,) = rig.backends["v1"].asked
        said = json.loads(ask.payload)
        assert b"inference-header" not in ask.lines
        assert said.pop("id") == rig.requests()[0].prediction_id
        assert said == {
            "inputs": [
                {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.5, None]},
                {"name": "b", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]},
            ],
            "outputs": [{"name": "y", "parameters": {"other": 1}}],
        }
        ask.answered(200, b"content-type: application/json\r\n", answer(0.5, 0.25))
        await rig.tick()
        head_bytes = int(sent.headers["inference-header-content-length"])
        raw = sent.calls[-1].reply_body[head_bytes:]
        assert np.frombuffer(raw, "<f8").tolist() == [0.5, 0.25]
        (told,) = rig.answers()
        assert told.outputs is not None and json.loads(told.outputs) == {"y": [0.5, 0.25]}

    run(story)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (body(floats("x", float("-inf"))), "an infinity (input 'x', index 0)"),
        (body(tensor("t", "BYTES", [1], texts(b"\xff"))), "bytes that are no UTF-8"),
    ],
)
def test_what_json_cannot_carry_is_refused_where_the_server_reads_json_alone(
    tmp_path: Path, made: tuple[bytes, int], says: str
) -> None:
    """400 rather than another number; nothing is asked."""

    async def story() -> None:
        rig = Rig(tmp_path)
        heard = send(rig, made)
        await rig.tick()
        assert (heard.status, heard.said["code"]) == (400, "RP-121")
        assert says in heard.said["error"]
        assert not rig.backends["v1"].asked

    run(story)


def test_a_server_that_says_so_gets_them_as_they_came(tmp_path: Path) -> None:
    """The extension is named in its metadata."""

    async def story() -> None:
        rig = Rig(tmp_path)
        rig.backends["v1"].binary = True
        send(rig, (RAW_BODY, RAW_HEAD))
        await rig.tick()
        assert rig.backends["v1"].asked[0].payload == RAW_BODY

    run(story)


def test_raw_outputs_that_nobody_asked_for_become_json(tmp_path: Path) -> None:
    """Some servers send what was not wanted; bytes that no JSON has are then an invalid answer."""

    async def story() -> None:
        rig = Rig(tmp_path, kinds=WORKER)
        plain = body(floats("x", 1.0))
        reply, head_bytes = body(floats("y", 0.5, float("nan")), of="outputs")
        heard = await answered(rig, plain, reply, head_bytes)
        assert heard.status == 200 and "inference-header-content-length" not in heard.headers
        assert heard.said["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [2], "data": [0.5, None]}]  # fmt: skip
        reply, head_bytes = body(tensor("y", "BYTES", [1], texts(b"\xff")), of="outputs")
        heard = await answered(rig, plain, reply, head_bytes)
        assert (heard.status, heard.said["code"]) == (502, "RP-201")
        assert [told.status for told in rig.answers()] == ["ok", "invalid"]

    run(story)


def test_a_request_in_json_may_ask_for_raw_outputs(tmp_path: Path) -> None:
    """What tritonclient sends with `binary_data=False` for its inputs."""

    async def story() -> None:
        rig = Rig(tmp_path)
        heard, _ = rig.send(infer(1.0, parameters=ALL))
        await rig.tick()
        rig.backends["v1"].answer(200, answer(0.5))
        await rig.tick()
        head_bytes = int(heard.headers["inference-header-content-length"])
        assert np.frombuffer(heard.calls[-1].reply_body[head_bytes:], "<f8").tolist() == [0.5]

    run(story)


DECLARED = Model(
    name="m",
    inputs={"a": "float", "n": "int", "t": "text", "i": "image"},
    output=Output(name="y", type="float"),
    tensor=Tensor(name="ab", columns=("a", "n")),
    groups={"who": "input:t"},
    redact=("t",),
)


def columns(**changes: Any) -> tuple[bytes, int]:
    known = {
        "a": floats("a", 1.5, 2.5),
        "n": tensor("n", "INT16", [2, 1], np.array([1, 2], "<i2").tobytes()),
        "t": tensor("t", "BYTES", [2], texts(b"secret", b"secret")),
        "i": tensor("i", "BYTES", [2], texts(b"\xff\xd8", b"\xff\xd8")),
    }
    return body(*(known | changes).values())


def test_declared_columns_are_checked_and_redacted_as_in_json(tmp_path: Path) -> None:
    """Declared types, `[n]` and `[n, 1]`; what is redacted is in no fact."""

    async def story() -> None:
        rig = Rig(tmp_path, DECLARED, kinds=WORKER)
        heard = await answered(rig, columns(), answer(0.5, 0.5))
        assert heard.status == 200
        (asked,) = rig.requests()
        assert asked.inputs is not None and json.loads(asked.inputs) == {
            "a": [1.5, 2.5],
            "n": [1, 2],
            "i": [{"base64": "/9g="}, {"base64": "/9g="}],
        }
        assert asked.body is None and asked.groups == {}
        for changed, says in (
            ({"a": floats("a", 1.0)}, "input 'n' has 2 rows, but 'a' has 1"),
            ({"n": floats("n", 1.0, 2.0)}, "is FP32, but it is declared 'int'"),
            ({"t": tensor("t", "BYTES", [2], texts(b"a", b"\xff"))}, "index 1 is no UTF-8"),
            ({"b": floats("aa", 1.0, 2.0)}, "takes no input 'aa'"),
        ):
            heard = send(rig, columns(**changed))
            await rig.tick()
            assert heard.status == 400 and says in heard.said["error"]

    run(story)


def test_a_declared_matrix_comes_raw(tmp_path: Path) -> None:
    """Its columns are what the journal has."""

    async def story() -> None:
        model = Model(
            name="m",
            inputs={"a": "float", "n": "float"},
            tensor=Tensor(name="ab", columns=("a", "n")),
        )
        rig = Rig(tmp_path, model, kinds=WORKER)
        matrix = np.array([[1, 2], [3, 4], [5, 6]], "<f4")
        made = body(tensor("ab", "FP32", [3, 2], matrix.tobytes()))
        assert (await answered(rig, made, answer(1.0, 2.0, 3.0))).status == 200
        (asked,) = rig.requests()
        assert asked.inputs is not None
        assert json.loads(asked.inputs) == {"a": [1.0, 3.0, 5.0], "n": [2.0, 4.0, 6.0]}

    run(story)


def test_heads_that_come_again_do_not_mix_up_bodies(tmp_path: Path) -> None:
    """The same head over bodies of the same length; refused ones in between."""

    async def story() -> None:
        rig = Rig(tmp_path, kinds=WORKER)
        for value in (1.0, 2.0):
            made = body(floats("x", value))
            assert (await answered(rig, made, answer(value))).status == 200
            broken = send(rig, (made[0][:-1], made[1]))
            await rig.tick()
            assert (broken.status, broken.said["code"]) == (400, "RP-120")
        kept = [json.loads(r.inputs) for r in rig.requests() if r.inputs is not None]
        assert kept == [{"x": [1.0]}, {"x": [2.0]}]

    run(story)


def test_a_header_that_is_no_number_is_refused_and_rows_have_none(tmp_path: Path) -> None:
    """400 with what it counts; plain rows are JSON."""

    async def story() -> None:
        rig = Rig(tmp_path, kinds=WORKER)
        for said in ("-1", "1e3", "", "9" * 30):
            heard, _ = rig.send(RAW_BODY, inference_header_content_length=said)
            await rig.tick()
            assert (heard.status, heard.said["code"]) == (400, "RP-120")
        assert ROWS != 0

    run(story)
