"""Listening only: events as KServe's logger sends them, through a real gateway into the journal."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redpoll.catalog import Model, Output, Tensor
from redpoll.facts import Answer, Request
from redpoll.web import cloudevents
from tests.web_data.process import GatewayProcess, until

TYPE = "org.kubeflow.serving.inference."
TRACE = "4bf9a3577b34da6a3ce929d0e0e47361"
V2 = {"inputs": [
    {"name": "age", "shape": [2], "datatype": "INT64", "data": [41, 42]},
    {"name": "note", "shape": [2], "datatype": "BYTES", "data": ["secret-1", "secret-2"]},
]}  # fmt: skip
V2_ANSWER = {"model_name": "churn", "outputs": [
    {"name": "p", "shape": [2], "datatype": "FP64", "data": [0.25, 0.5]}
]}  # fmt: skip
MODEL = Model(
    name="churn",
    unit="user",
    unit_from="header:redpoll-unit",
    groups={"sex": "header"},
    redact=("note",),
    tensor=Tensor(name="m", columns=("age", "size")),
    output=Output(name="p", type="float"),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    # A version's address: what carries the model today. Nothing is asked of it.
    folder: Path = tmp_path_factory.mktemp("tap")
    urls = {"v1": "http://127.0.0.1:9/v2/models/churn", "canary": "http://127.0.0.1:9/v2/models/c"}
    found = GatewayProcess(folder, urls, MODEL)
    found.start()
    try:
        until(lambda: found.ask("GET", "/readyz")[0] == 200, 20)
        yield found
    finally:
        found.__exit__(None, None, None)


def headers(kind: str, number: str, second: str = "10", **more: str) -> dict[str, str]:
    """As ``sendHttpCloudEvent`` of KServe's logger writes them (binary encoding)."""
    return {
        "Content-Type": "application/json",
        "Ce-Specversion": "1.0",
        "Ce-Id": number,
        "Ce-Type": TYPE + kind,
        "Ce-Source": "http://localhost:9081/",
        "Ce-Time": f"2026-11-24T03:04:{second}.123456789Z",
        "Ce-Inferenceservicename": "churn",
        "Ce-Namespace": "models",
        "Ce-Component": "predictor",
        "Ce-Endpoint": "default",
        "Ce-Metadata": json.dumps({}),
        **more,
    }


def tell(gateway: GatewayProcess, kind: str, number: str, body: Any, *rest: str, **more: str):
    return gateway.ask(
        "POST", "/v1/tap", json.dumps(body).encode(), **headers(kind, number, *rest, **more)
    )


def pair(gateway: GatewayProcess, number: str) -> tuple[Request, list[Answer]]:
    (request,) = [one for one in gateway.requests() if one.request_id == number]
    mine = [a for a in gateway.answers() if a.prediction_id == request.prediction_id]
    return request, mine


def test_a_request_and_its_answer_are_one_prediction(gateway):
    """Arm none, the sender's id, columns without what is redacted, the time between the events."""
    told = {"Redpoll-Unit": ["u-7"], "Redpoll-Group-Sex": ["f"], "Redpoll-Subject": ["p-1"],
            "Traceparent": [f"00-{TRACE}-00f067aa0ba902b7-01"]}  # fmt: skip
    metadata = {"Ce-Metadata": json.dumps(told)}
    assert tell(gateway, "request", "k-1", V2, "10", **metadata)[:2] == (
        200, {"accepted": 1, "rejected": 0, "errors": []},
    )  # fmt: skip
    assert tell(gateway, "response", "k-1", V2_ANSWER, "12")[0] == 200
    request, (answer,) = pair(gateway, "k-1")
    assert (request.arm, request.rollout_id, request.rows) == ("none", None, 2)
    assert (request.unit, request.subject, request.groups) == ("u-7", "p-1", {"sex": "f"})
    assert json.loads(request.inputs) == {"age": [41, 42]} and request.trace_id == TRACE
    assert "secret" not in str(gateway.facts())
    assert (answer.version, answer.role, answer.status) == ("v1", "live", "ok")
    assert json.loads(answer.outputs) == {"p": [0.25, 0.5]} and answer.latency_us == 2_000_000


def test_an_answer_that_comes_first_waits_for_its_request(gateway):
    """Its sender is told when both are in the journal, not before."""
    said: list[int] = []
    sender = threading.Thread(
        target=lambda: said.append(tell(gateway, "response", "k-2", V2_ANSWER)[0])
    )
    sender.start()
    time.sleep(0.5)
    assert said == [] and not [r for r in gateway.requests() if r.request_id == "k-2"]
    assert tell(gateway, "request", "k-2", V2)[0] == 200
    sender.join(10)
    request, (answer,) = pair(gateway, "k-2")
    assert said == [200] and request.rows == 2 and answer.status == "ok"


def test_an_answer_without_a_request_is_kept_all_the_same(gateway):
    """A logger may be set to tell answers only."""
    begun = time.monotonic()
    assert tell(gateway, "response", "k-3", V2_ANSWER, **{"Ce-Endpoint": "canary"})[0] == 200
    assert 4 < time.monotonic() - begun < 15
    request, (answer,) = pair(gateway, "k-3")
    assert (request.capture, request.inputs, request.rows) == ("none", None, 0)
    assert (answer.version, answer.status) == ("canary", "ok")


@pytest.mark.parametrize(
    ("instances", "inputs"),
    [
        ([{"age": 41, "note": "x"}, {"age": 42}], {"age": [41, 42]}),
        ([[41, 1.5], [42, 2.5]], {"age": [41, 42], "size": [1.5, 2.5]}),
        ([[1, 2, 3]], {"instances": [[1, 2, 3]]}),
        (["a text"], {"instances": ["a text"]}),
    ],
)
def test_kserves_first_protocol_is_read_too(gateway, instances, inputs):
    """Objects are rows, lists the declared matrix's columns, else they stay as they are."""
    number = f"v1-{time.time_ns()}"
    assert tell(gateway, "request", number, {"instances": instances})[0] == 200
    predictions = [0.5] * len(instances)
    assert tell(gateway, "response", number, {"predictions": predictions})[0] == 200
    request, (answer,) = pair(gateway, number)
    assert json.loads(request.inputs) == inputs and request.rows == len(instances)
    assert json.loads(answer.outputs) == {"p": predictions}


def test_structured_events_and_batches(gateway):
    """One JSON document each, or many; what is wrong with one is told of that one."""

    def event(kind: str, number: str, **data: Any) -> dict[str, Any]:
        return {
            "specversion": "1.0", "id": number, "type": TYPE + kind, "source": "s",
            "inferenceservicename": "churn", "datacontenttype": "application/json", **data,
        }  # fmt: skip

    one = json.dumps(event("request", "s-1", data=V2)).encode()
    kind = "application/cloudevents+json; charset=utf-8"
    assert gateway.ask("POST", "/v1/tap", one, content_type=kind)[0] == 200
    coded = base64.b64encode(json.dumps(V2_ANSWER).encode()).decode()
    batch = [
        event("response", "s-1", data_base64=coded),
        event("request", "s-2", data=V2),
        event("request", "s-3", data={"rows": []}),
        event("request", "", data=V2),
        7,
    ]
    kind = "application/cloudevents-batch+json"
    raw = json.dumps(batch).encode()
    status, receipt, _ = gateway.ask("POST", "/v1/tap", raw, content_type=kind)
    assert status == 200 and (receipt["accepted"], receipt["rejected"]) == (2, 3)
    assert [one["line"] for one in receipt["errors"]] == [3, 4, 5]
    assert pair(gateway, "s-1")[1][0].status == "ok" and pair(gateway, "s-2")[1] == []


def test_an_answer_that_cannot_be_read_is_kept_as_invalid(gateway):
    """With its text, redacted values masked."""
    assert tell(gateway, "request", "k-5", V2)[0] == 200
    assert tell(gateway, "response", "k-5", {"detail": "about secret-1"})[0] == 200
    answer = pair(gateway, "k-5")[1][0]
    assert (answer.status, answer.error_code) == ("invalid", "RP-201")
    assert "[redacted]" in answer.outputs and "secret" not in answer.outputs


def test_what_is_told_twice_is_noted_once(gateway):
    """A sender that tries again."""
    for kind, body in (("request", V2), ("request", V2), ("response", V2_ANSWER)):
        assert tell(gateway, kind, "k-6", body)[0] == 200
    assert len(pair(gateway, "k-6")[1]) == 1


@pytest.mark.parametrize(
    ("change", "body", "status", "said"),
    [
        ({"Ce-Inferenceservicename": "chur"}, V2, 404, "Did you mean 'churn'?"),
        ({"Ce-Type": TYPE + "requests"}, V2, 400, "Did you mean"),
        ({"Ce-Id": ""}, V2, 400, "wants id"),
        ({}, {"rows": [1]}, 400, "neither inputs"),
        ({}, [1], 400, "must be a JSON object"),
        (
            {},
            {"inputs": [{"name": "age", "shape": [2], "datatype": "INT64", "data": [1]}]},
            400,
            "",
        ),
    ],
)
def test_what_cannot_be_taken_is_told_and_counted(gateway, change, body, status, said):
    """At once, with what to write."""
    found, error, _ = tell(gateway, "request", "bad", body, **change)
    assert found == status and said in error["error"]
    assert not [one for one in gateway.requests() if one.request_id == "bad"]


def test_what_is_no_event_is_refused(gateway):
    """Neither headers nor a known content."""
    status, error, _ = gateway.ask("POST", "/v1/tap", b"{}", content_type="application/json")
    assert status == 415 and "application/cloudevents+json" in error["error"]
    assert gateway.ask("GET", "/v1/tap")[0] == 405
    kind = "application/cloudevents-batch+json"
    assert gateway.ask("POST", "/v1/tap", b"[]", content_type=kind)[0] == 400
    assert gateway.ask("POST", "/v1/tap", b"[", content_type=kind)[0] == 400


def test_events_are_counted(gateway):
    """By model, kind and result; and as requests of arm none."""
    assert tell(gateway, "request", "k-9", V2)[0] == 200
    assert tell(gateway, "response", "k-9", V2_ANSWER)[0] == 200

    def counted() -> bool:
        text = str(gateway.ask("GET", "/metrics")[1])
        return (
            'redpoll_tapped_events_total{model="churn",event="request",result="accepted"}' in text
            and 'redpoll_requests_total{model="churn",version="v1",arm="none",status="ok"}' in text
        )

    until(counted)


def test_a_time_of_nanoseconds_is_read_and_one_without_zone_is_none():
    """KServe's clock tells nine digits."""
    head = {k.lower().encode(): v.encode() for k, v in headers("request", "x").items()}
    (event,) = cloudevents.read(head, b"{}")
    assert event.time_us == 1_795_489_450_123_456
    head[b"ce-time"] = b"2026-11-24T03:04:10"
    (event,) = cloudevents.read(head, b"{}")
    assert event.time_us is None
