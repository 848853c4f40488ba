"""What each address of the data plane answers, and to whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from redpoll.catalog import Model, OutcomeSpec, Output, Tensor
from redpoll.host import tokens
from redpoll.host.tokens import Tokens, make
from redpoll.routes import Table
from tests.web_data.rig import BODY, INFER, Plane, infer, request, run


def test_the_server_says_who_it_is(tmp_path: Path) -> None:
    """OIP server metadata; liveness is always true."""

    async def go() -> None:
        plane = Plane(tmp_path)
        said = (await plane.ask("GET", "/v2")).said
        assert said["name"] == "redpoll"
        assert said["extensions"] == ["binary_tensor_data"]
        assert (await plane.ask("GET", "/v2/")).status == 200
        assert (await plane.ask("GET", "/v2/health/live")).said == {"live": True}

    run(go)


def test_readiness_is_that_of_the_live_versions(tmp_path: Path) -> None:
    """Candidates do not count, nor does a model without a live version; /readyz is this gateway alone."""

    async def go() -> None:
        plane = Plane(tmp_path, candidate="v2", weight=0.5, rollout_id="m-1")
        backends = plane.rig.backends

        async def ready(path: str = "/v2/health/ready") -> int:
            return (await plane.ask("GET", path)).status

        backends["v2"].ready = False
        assert await ready() == 200
        assert await ready("/v2/models/m/ready") == 200
        assert await ready("/v2/models/m/versions/v2/ready") == 503
        backends["v1"].ready = False
        assert await ready() == 503
        assert await ready("/v2/models/m/ready") == 503
        assert await ready("/readyz") == 200
        plane.rig.reroute(live=None)
        assert await ready() == 200
        reply = await plane.ask("GET", "/v2/models/m/ready")
        assert (reply.status, reply.said["code"]) == (503, "RP-113")
        plane.table.table = None
        assert await ready("/readyz") == 503
        plane.table.table = Table()
        plane.rig.writer.refuses = True
        await plane.ask("POST", INFER, BODY)
        assert await ready("/readyz") == await ready() == 503
        assert await ready("/v2/models/x/ready") == 404
        assert await ready("/v2/models/m/versions/v9/ready") == 404

    run(go)


def test_a_model_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    """As declared: names, datatypes, shapes, versions."""

    async def go() -> None:
        declared = Model(name="m", inputs={"age": "int", "rate": "float", "plan": "category"},
                         output=Output(name="churn", type="binary", score="p"))  # fmt: skip
        said = (await Plane(tmp_path, declared).ask("GET", "/v2/models/m")).said
        assert said["name"] == "m"
        assert said["versions"] == ["v1", "v2"]
        assert {t["name"]: t["datatype"] for t in said["inputs"]} == {
            "age": "INT64", "rate": "FP64", "plan": "BYTES",
        }  # fmt: skip
        assert all(t["shape"] == [-1] for t in said["inputs"] + said["outputs"])
        assert {t["name"]: t["datatype"] for t in said["outputs"]} == {
            "churn": "BYTES",
            "p": "FP64",
        }
        matrix = Model(name="m", inputs={"a": "float", "b": "float"},
                       tensor=Tensor(name="input-0", columns=("a", "b")))  # fmt: skip
        said = (await Plane(tmp_path, matrix).ask("GET", "/v2/models/m/versions/v2")).said
        assert said["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 2]}]

    run(go)


def test_what_nobody_declared_is_told_as_the_backend_tells_it(tmp_path: Path) -> None:
    """Its metadata, as last probed."""

    async def go() -> None:
        plane = Plane(tmp_path)
        backend = plane.rig.backends["v1"]
        tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
        backend.metadata = lambda: json.dumps({"inputs": [tensor], "outputs": [tensor]}).encode()
        said = (await plane.ask("GET", "/v2/models/m")).said
        assert said["inputs"] == said["outputs"] == [tensor]
        for odd in (b"[]", b"{", b"\xff"):
            backend.metadata = lambda odd=odd: odd
            assert (await plane.ask("GET", "/v2/models/m")).said["inputs"] == []

    run(go)


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/", 404, "/predict/{model}"), ("GET", "/v3", 404, "'/v2'"), ("GET", "/v2/models", 404, "Nothing"),
        ("GET", "/v2/models/m/infr", 404, "Nothing"), ("POST", "/v2/models/x/infer", 404, "no model"),
        ("POST", "/predict", 404, "Nothing"), ("POST", "/v1/tap", 415, "takes CloudEvents"),
        ("GET", "/v1/predictions/x", 404, "Not built yet"), ("POST", "/v2/models/m/generate_stream", 404, "not built yet"),
        ("GET", "/v2/models/m/infer", 405, "POST"), ("POST", "/v2/health/live", 405, "GET"),
        ("GET", "/predict/m", 405, "POST"), ("DELETE", "/v1/outcomes", 405, "POST"), ("POST", "/metrics", 405, "GET"),
        ("OPTIONS", "*", 404, "no path"), ("GET", "/v2/models/%00/ready", 404, "no model"),
        ("GET", "/v2/models/" + "x" * 5000, 404, "no model"),
    ],
)  # fmt: skip
def test_other_addresses_and_methods_are_refused_in_words(
    tmp_path: Path, method: str, path: str, status: int, word: str
) -> None:
    """With what there is; the connection stays."""

    async def go() -> None:
        plane = Plane(tmp_path)
        raw = request(method, path, b"{}" if method == "POST" else b"")
        (reply, after), transport = await plane.say(raw + request("GET", "/v2"), ticks=8)
        assert reply.status == status
        assert word in reply.said["error"]
        assert len(reply.body) < 1000
        assert after.status == 200
        assert not transport.ended
        if status == 405:
            assert reply.headers["allow"] == word

    run(go)


def test_addresses_are_read_as_http_means_them(tmp_path: Path) -> None:
    """Queries and fragments are not part of the path; percent signs and absolute targets are read."""

    async def go() -> None:
        plane = Plane(tmp_path)
        for path in (
            "/v2/models/m?x=/y",
            "/v2/models/%6d",
            "http://h:80/v2/models/m",
            "/v2/models/m/",
        ):
            assert (await plane.ask("GET", path)).status == 200, path
        assert (await plane.ask("POST", "/predict/m/versions/v2", b'{"x":1}')).status == 200
        assert plane.rig.requests()[0].version_requested == "v2"

    run(go)


def test_what_comes_later_is_refused_clearly(tmp_path: Path) -> None:
    """Streams, and rows with binary tensors: 415 that says what to send instead."""

    async def go() -> None:
        plane = Plane(tmp_path)
        reply = await plane.ask("POST", "/predict/m", BODY, inference_header_content_length="20")
        assert (reply.status, reply.said["code"]) == (415, "RP-111")
        assert "/v2/models/" in reply.said["error"]
        reply = await plane.ask("POST", INFER, BODY, accept="text/event-stream")
        assert reply.status == 415
        plane.whole()

    run(go)


def test_tokens_are_asked_for_everywhere_but_at_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401 without one, 403 without the scope; an admin may all."""

    async def go() -> None:
        made = {
            scope: make(scope, (scope,))
            for scope in ("predict", "outcomes", "metrics", "read", "admin")
        }
        path = tmp_path / "tokens"
        path.write_text("\n".join(line for _, line in made.values()))
        monkeypatch.setattr(tokens, "LOOK_AGAIN_S", 0.0)
        plane = Plane(tmp_path, tokens=Tokens(path))
        asks = {
            "predict": [("POST", INFER, BODY), ("POST", "/predict/m", b'{"x":1}'), ("GET", "/v2/models/m", b"")],
            "outcomes": [("POST", "/v1/outcomes", b'{"name":"a","request_id":"r","model":"m"}')],
            "metrics": [("GET", "/metrics", b"")],
        }  # fmt: skip
        for scope, those in asks.items():
            for ask in those:
                reply = await plane.ask(*ask)
                assert (reply.status, reply.said["code"]) == (401, "RP-500")
                assert reply.headers["www-authenticate"] == "Bearer"
                for wrong in (
                    "Bearer nonsense",
                    "Basic x",
                    made[scope][0],
                    "Bearer",
                    "bearer \xff",
                ):
                    assert (await plane.ask(*ask, authorization=wrong)).status == 401
                for other, (token, _) in made.items():
                    reply = await plane.ask(*ask, authorization=f"Bearer {token}")
                    assert (reply.status < 300) == (other in (scope, "admin")), (scope, other)
                    if reply.status >= 300:
                        assert (reply.status, reply.said["code"]) == (403, "RP-501")
        for path_open in (
            "/v2",
            "/v2/health/live",
            "/v2/health/ready",
            "/readyz",
            "/v2/models/m/ready",
        ):
            assert (await plane.ask("GET", path_open)).status == 200
        filed = [e.fact for e in plane.rig.journal.read(kinds=["outcome"])]
        assert {fact.source for fact in filed} == {"outcomes", "admin"}
        assert len(plane.rig.requests()) == 4
        path.write_text("")
        token = made["predict"][0]
        assert (await plane.ask("POST", INFER, BODY, authorization=f"Bearer {token}")).status == 401

    run(go)


def line(**said: Any) -> bytes:
    return json.dumps({"name": "redo", "model": "m", "request_id": "r"} | said).encode()


def outcomes(plane: Plane) -> list[Any]:
    return [entry.fact for entry in plane.rig.journal.read(kinds=["outcome"])]


def test_outcomes_are_taken_as_an_object_or_line_by_line(tmp_path: Path) -> None:
    """202 with counts and an error for each rejected line; the good ones are kept."""

    async def go() -> None:
        plane = Plane(tmp_path, Model(name="m", outcomes=(OutcomeSpec(name="redo"),)))
        reply = await plane.ask("POST", "/v1/outcomes", line(value=True))
        assert (reply.status, reply.said) == (202, {"accepted": 1, "rejected": 0, "errors": []})
        pretty = json.dumps(json.loads(line()), indent=2).encode()
        assert (await plane.ask("POST", "/v1/outcomes", pretty)).said["accepted"] == 1
        lines = [
            line(outcome_id="o-1"),
            b"",
            b"nonsense",
            line(name="redoo"),
            b"3",
            line(row=1),
            b"\xff",
        ]
        reply = await plane.ask(
            "POST", "/v1/outcomes", b"\r\n".join(lines) + b"\n", content_type="application/x-ndjson"
        )
        assert reply.status == 202
        assert (reply.said["accepted"], reply.said["rejected"]) == (2, 4)
        assert [error["line"] for error in reply.said["errors"]] == [3, 4, 5, 7]
        assert all(
            error["code"].startswith("RP-") and error["error"] for error in reply.said["errors"]
        )
        assert [o.outcome_id for o in outcomes(plane)][2] == "o-1"
        assert len({o.outcome_id for o in outcomes(plane)}) == 4
        assert plane.rig.count("redpoll_outcomes_total", "m", "redo", "accepted") == 4
        assert plane.rig.count("redpoll_outcomes_total", "_", "_", "rejected") == 4

    run(go)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/plain;charset=UTF-8", "application/json", "application/x-www-form-urlencoded", ""],
)  # fmt: skip
def test_a_beacons_plain_text_is_read_as_json(tmp_path: Path, kind: str) -> None:
    """What navigator.sendBeacon and `curl -d` send; forms in parts are not read."""

    async def go() -> None:
        plane = Plane(tmp_path)
        more = {"content_type": kind} if kind else {}
        assert (await plane.ask("POST", "/v1/outcomes", line(), **more)).status == 202
        form = "multipart/form-data; boundary=x"
        assert (await plane.ask("POST", "/v1/outcomes", line(), content_type=form)).status == 415
        for empty in (b"", b"\n\n"):
            assert (await plane.ask("POST", "/v1/outcomes", empty)).status == 400

    run(go)


def test_an_outcome_of_a_request_of_several_rows_says_which(tmp_path: Path) -> None:
    """As long as the gateway remembers the request."""

    async def go() -> None:
        plane = Plane(tmp_path)
        reply = await plane.ask("POST", INFER, infer(1.0, 2.0, id="two"))
        number = reply.headers["redpoll-prediction-id"]
        said = json.dumps({"name": "redo", "prediction_id": number}).encode()
        assert (await plane.ask("POST", "/v1/outcomes", said)).said["rejected"] == 1
        said = json.dumps({"name": "redo", "prediction_id": number, "row": 1}).encode()
        assert (await plane.ask("POST", "/v1/outcomes", said)).said["accepted"] == 1
        assert (await plane.ask("POST", "/v1/outcomes", line(request_id="two"))).said[
            "rejected"
        ] == 1

    run(go)


def test_outcomes_are_acknowledged_only_when_the_journal_has_them(tmp_path: Path) -> None:
    """503 where the disk refuses: the sender tries again, under the same ids."""

    async def go() -> None:
        plane = Plane(tmp_path)
        plane.rig.writer.refuses = True
        for _ in range(2):
            reply = await plane.ask("POST", "/v1/outcomes", line())
            assert (reply.status, reply.said["code"]) == (503, "RP-300")
            assert reply.headers["retry-after"]
        assert not outcomes(plane)

    run(go)


def test_metrics_are_served_as_text(tmp_path: Path) -> None:
    """With what was counted up to this very request."""

    async def go() -> None:
        plane = Plane(tmp_path)
        await plane.ask("POST", INFER, BODY)
        await plane.ask("POST", INFER, b"{")
        reply = await plane.ask("GET", "/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = reply.body.decode()
        for series in (
            'redpoll_requests_total{model="m",version="v1",arm="none",status="ok"} 1',
            'redpoll_requests_total{model="m",version="_",arm="none",status="refused"} 1',
            'redpoll_refused_total{model="m",reason="malformed_body"} 1',
            'redpoll_answers_total{model="m",version="v1",role="live",status="ok"} 1',
            'redpoll_request_duration_seconds_count{model="m",arm="none"} 1',
            'redpoll_backend_duration_seconds_count{model="m",version="v1",role="live"} 1',
            'redpoll_journal_facts_total{fact="request"} 2',
            'redpoll_journal_facts_total{fact="answer"} 2',
        ):
            assert series in text, series

    run(go)
