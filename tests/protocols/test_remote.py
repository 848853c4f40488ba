"""Remote backends: TLS, Host, secret headers, plain JSON; and how they are declared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from redpoll.catalog import Model, Output, Version
from redpoll.config.load import load
from redpoll.errors import RedpollError
from redpoll.routes import Target
from redpoll.testing.fake_oip import Answer, FakeOip, Request
from tests.gateway.rig import infer
from tests.protocols.conftest import Certificate
from tests.web_data.process import GatewayProcess, until

INFER = "/v2/models/m/infer"


def serving(folder: Path, version: Version, model: Model = Model(name="m")) -> GatewayProcess:
    targets = {"v1": Target(version=version, addresses=version.urls)}
    return GatewayProcess(folder, {"v1": version.backend}, model, targets=targets)


def test_tls_with_its_own_ca_a_host_and_a_secret_header(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes and questions alike; the secret is nowhere but on the wire."""
    monkeypatch.setenv("CHURN_AUTH", "Bearer s3cret")
    with FakeOip(tls=certificate.server()) as server:
        version = Version(
            name="v1",
            backend=server.url,
            folder=str(certificate.cert.parent),
            ca_file=certificate.cert.name,
            host="churn.models.example",
            headers_env={"authorization": "CHURN_AUTH"},
        )
        with serving(tmp_path, version) as gateway:
            for _ in range(3):
                status, said, _ = gateway.ask("POST", INFER, infer(1.5))
                assert (status, said["outputs"][0]["data"]) == (200, [1.5])
            asked = [*server.requests, *server.probed]
            assert {one.headers["host"] for one in asked} == {"churn.models.example"}
            assert {one.headers["authorization"] for one in asked} == {"Bearer s3cret"}
            assert len({one.connection for one in server.requests}) == 1
        written = [path.read_bytes() for path in gateway.data.root.rglob("*") if path.is_file()]
        assert written and not any(b"s3cret" in text for text in written)


@pytest.mark.parametrize("trusted", ["other", "system"])
def test_a_certificate_that_is_not_trusted_is_no_backend(
    tmp_path: Path, certificate: Certificate, other_certificate: Certificate, trusted: str
) -> None:
    """502 that says so; nothing was sent."""
    ca = str(other_certificate.cert) if trusted == "other" else None
    with FakeOip(tls=certificate.server()) as server:
        version = Version(name="v1", backend=server.url, ca_file=ca)
        gateway = serving(tmp_path, version)
        gateway.start()
        try:
            until(lambda: gateway.ask("POST", INFER, infer(1.0))[0] == 502)
            status, said, _ = gateway.ask("POST", INFER, infer(1.0))
            assert (status, said["code"]) == (502, "RP-200")
            assert "certificate verify failed" in said["error"].lower()
            assert not server.requests
        finally:
            gateway.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"headers_env": {"authorization": "NOT_SET_ANYWHERE"}}, "RP-240", "NOT_SET_ANYWHERE"),
        ({"ca_file": "missing.pem"}, "RP-241", "missing.pem"),
        ({"ca_file": "/dev/null"}, "RP-241", "/dev/null"),
    ],
)
def test_what_is_missing_here_is_said(
    tmp_path: Path, changes: dict[str, Any], code: str, says: str
) -> None:
    """By every answer, and never ready."""
    gateway = serving(
        tmp_path, Version(name="v1", backend="https://127.0.0.1:9/v2/models/m", **changes)
    )
    gateway.start()
    try:
        until(lambda: gateway.ask("POST", INFER, infer(1.0))[0] == 502)
        _, said, _ = gateway.ask("POST", INFER, infer(1.0))
        assert said["code"] == code and says in said["error"]
        assert gateway.ask("GET", "/v2/models/m/ready")[0] == 503
    finally:
        gateway.__exit__(None, None, None)


ROWS_MODEL = Model(
    name="m",
    inputs={"age": "int", "plan": "category"},
    output=Output(name="churn", type="category", score="score"),
)


def rows_answer(request: Request) -> Answer:
    said = json.loads(request.body)
    rows = [
        {"churn": row["plan"] or "none", "score": (row["age"] or 0) / 100} for row in said["rows"]
    ]
    return Answer(body=json.dumps({"rows": rows}).encode())


def test_a_server_of_plain_rows_is_asked_with_rows(tmp_path: Path) -> None:
    """At its own address, whole numbers whole; its answers are tensors, rows and predictions."""
    with FakeOip(rows_answer) as server:
        url = f"json+http://127.0.0.1:{server.port}/score?x=1"
        version = Version(name="v1", backend=url.partition("?")[0])
        with serving(tmp_path, version, ROWS_MODEL) as gateway:
            rows = [{"age": 41, "plan": "basic"}, {"age": None, "plan": None}]
            body = json.dumps({"rows": rows, "id": "r-1"}).encode()
            status, said, _ = gateway.ask("POST", "/predict/m", body)
            assert status == 200
            assert said["rows"] == [
                {"churn": "basic", "score": 0.41},
                {"churn": "none", "score": 0},
            ]
            (asked,) = server.requests
            assert asked.path == "/score"
            sent = json.loads(asked.body)
            assert sent == {"id": "r-1", "rows": rows}
            assert type(sent["rows"][0]["age"]) is int
            tensors = [
                {"name": "age", "shape": [1], "datatype": "INT64", "data": [50]},
                {"name": "plan", "shape": [1], "datatype": "BYTES", "data": ["a"]},
            ]
            _, said, _ = gateway.ask("POST", INFER, json.dumps({"inputs": tensors}).encode())
            assert [(one["name"], one["datatype"], one["data"]) for one in said["outputs"]] == [
                ("churn", "BYTES", ["a"]),
                ("score", "FP64", [0.5]),
            ]
            records = json.dumps({"instances": [[1, "b"]]}).encode()
            _, said, _ = gateway.ask("POST", "/invocations", records)
            assert said == {"predictions": [{"churn": "b", "score": 0.01}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"rows": []}', "0 rows for 1"),
        (b"[1, 2]", "2 rows for 1"),
        (b'{"result": 3}', "no rows"),
        (b"<html>", "malformed"),
        (b'{"rows": [{"churn": 1}, 2]}', "2 rows"),
    ],
)
def test_an_answer_that_is_no_rows_is_invalid(tmp_path: Path, body: bytes, says: str) -> None:
    """502, RP-201."""
    with FakeOip(lambda request: Answer(body=body)) as server:
        version = Version(name="v1", backend=f"json+http://127.0.0.1:{server.port}/score")
        with serving(tmp_path, version) as gateway:
            status, said, _ = gateway.ask("POST", "/predict/m", b'{"x": 1}')
            assert (status, said["code"]) == (502, "RP-201") and says in said["error"], said


def test_bare_values_and_predictions_are_taken_and_errors_passed_on(tmp_path: Path) -> None:
    """What MLflow's scoring server answers."""
    replies = iter([Answer(body=b'{"predictions": [0.5]}'), Answer(400, b'{"error": "too old"}')])
    with FakeOip(lambda request: next(replies)) as server:
        version = Version(name="v1", backend=f"json+http://127.0.0.1:{server.port}/invocations")
        with serving(tmp_path, version) as gateway:
            _, said, _ = gateway.ask("POST", "/predict/m", b'{"x": 1}')
            assert said["rows"] == [{"output": 0.5}]
            status, said, _ = gateway.ask("POST", "/predict/m", b'{"x": 1}')
            assert (status, said["error"]) == (400, "too old")


def read(folder: Path, version: str) -> Any:
    path = folder / "redpoll.toml"
    path.write_text(f"[models.churn.versions.v1]\n{version}\n")
    return load(path).models[0].versions[0]


def test_all_of_it_is_declared_in_the_file(tmp_path: Path) -> None:
    """One URL, several, over TLS, in plain JSON."""
    version = read(
        tmp_path,
        'backend = ["https://a.example/v2/models/m", "https://b.example:8443/v2/models/m"]\n'
        'host = "churn.models.example"\nheaders_env = {Authorization = "CHURN_AUTH"}\n'
        'ca_file = "ca.pem"',
    )
    assert version.urls == ("https://a.example/v2/models/m", "https://b.example:8443/v2/models/m")
    assert (version.kind, version.plain, version.host) == ("http", False, "churn.models.example")
    assert version.headers_env == {"authorization": "CHURN_AUTH"}
    plain = read(tmp_path, 'backend = "json+https://a.example/score"')
    assert (plain.kind, plain.plain, plain.urls) == ("http", True, ("https://a.example/score",))


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ('backend = []', "at least one"),
        ('backend = ["http://a/v2/models/m", "http://a/v2/models/m"]', "once"),
        ('backend = ["http://a/v2/models/m", "sklearn:m.pkl"]', "only URLs"),
        ('backend = ["http://a/v2/models/m", "json+http://a/s"]', "speak the same"),
        ('backend = "https://a/v2/models/m"\nheaders_env = {a = "b c"}', "environment variable"),
        ('backend = "https://a/v2/models/m"\nheaders_env = {host = "H"}', "no header that can be set"),
        ('backend = "https://a/v2/models/m"\nhost = "a b"', "no host"),
        ('backend = "http://a/v2/models/m"\nca_file = "ca.pem"', "no URL of this version is https"),
        ('backend = "python:m:load"\nhost = "a"', "only a URL is asked so"),
        ('backend = "https://a/v2/models/m"\nworkers = 2', "starts no worker for a URL"),
        ('backend = "json+http:///x"', "no URL"),
        ('backend = "https://u:p@a/v2/models/m"', "password"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_of_the_file(
    tmp_path: Path, version: str, says: str
) -> None:
    """With what to write."""
    with pytest.raises(RedpollError) as caught:
        read(tmp_path, version)
    assert says in caught.value.message, caught.value.message
