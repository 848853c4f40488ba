"""Before the first route table, and what is said before a body is looked at."""

from __future__ import annotations

import json
from pathlib import Path

from redpoll import routes
from redpoll.catalog import Model, Output
from redpoll.gateway.choice import NO_TABLE
from redpoll.routes import Table
from tests.web_data.rig import BODY, INFER, Plane, run

OUTCOME = json.dumps({"name": "redo", "model": "m", "request_id": "r-1"}).encode()


def test_until_the_first_route_table_nothing_is_unknown(tmp_path: Path) -> None:
    """503 with Retry-After, which clients try again; 404 (or a rejected outcome) would be final."""

    async def go() -> None:
        plane = Plane(tmp_path)
        plane.gateway.models, plane.table.table = NO_TABLE, None
        asked = [
            ("POST", INFER, BODY),
            ("POST", "/predict/m", b'{"x": 1.0}'),
            ("POST", "/predict/m/versions/v1", b'{"x": 1.0}'),
            ("GET", "/v2/models/m", b""),
            ("GET", "/v2/models/m/ready", b""),
            ("POST", "/v1/outcomes", OUTCOME),
        ]
        for method, path, body in asked:
            reply = await plane.ask(method, path, body)
            assert (reply.status, reply.said["code"]) == (503, "RP-116"), path
            assert reply.headers["retry-after"] == "1"
        assert (await plane.ask("GET", "/v2/health/live")).status == 200
        assert (await plane.ask("POST", "/nowhere", BODY)).status == 404
        (tmp_path / "routes.json").write_bytes(routes.encode(Table()))
        plane.table._poll()  # what start() does, without its other timers
        plane.table.stop()
        for method, path, body in asked[:-1]:
            reply = await plane.ask(method, path, body)
            assert (reply.status, reply.said["code"]) == (404, "RP-102"), path
        assert (await plane.ask(*asked[-1])).said["rejected"] == 1

    run(go)


def test_a_version_that_does_not_exist_is_404_whatever_the_body_says(tmp_path: Path) -> None:
    """Nothing that could be mended in the body would help."""

    async def go() -> None:
        plane = Plane(tmp_path, Model(name="m", inputs={"x": "float"}))
        for body in (b'{"inputs": []}', b"", b"{", b'{"inputs": [{"name": "y"}]}', BODY):
            reply = await plane.ask("POST", "/v2/models/m/versions/v9/infer", body)
            assert (reply.status, reply.said["code"]) == (404, "RP-103"), body
            reply = await plane.ask("POST", "/predict/m/versions/v9", body)
            assert (reply.status, reply.said["code"]) == (404, "RP-103"), body
            reply = await plane.ask("POST", "/v2/models/m/versions/v2/infer", body)
            assert reply.status == (200 if body == BODY else 400), body
        plane.whole()

    run(go)


def test_a_binary_output_is_told_as_it_is_answered(tmp_path: Path) -> None:
    """Of no rows too: by its positive class, or as the backend says."""

    async def go() -> None:
        for positive, datatype in ((1, "INT64"), (True, "BOOL"), ("yes", "BYTES"), (None, "BYTES")):
            output = Output(name="churn", type="binary", score="p", positive=positive)
            plane = Plane(tmp_path, Model(name="m", output=output))
            none = b'{"inputs": [{"name": "x", "shape": [0], "datatype": "FP64", "data": []}]}'
            for _ in range(2):
                told = (await plane.ask("GET", "/v2/models/m")).said["outputs"]
                answered = (await plane.ask("POST", INFER, none)).said["outputs"]
                kinds = {"churn": datatype, "p": "FP64"}
                assert {t["name"]: t["datatype"] for t in told} == kinds
                assert {t["name"]: t["datatype"] for t in answered} == kinds
                datatype = "INT32"
                backend = plane.rig.backends["v1"]
                tensors = [
                    {"name": "churn", "datatype": datatype, "shape": [-1]},
                    {"name": "p", "datatype": "FP64", "shape": [-1]},
                ]
                backend.metadata = lambda said={"outputs": tensors}: json.dumps(said).encode()

    run(go)
