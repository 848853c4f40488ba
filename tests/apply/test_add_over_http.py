"""``POST /api/v1/models/{model}/versions``: what it takes, and what it refuses to run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from redpoll.catalog import Server
from redpoll.errors import RedpollError
from redpoll.testing.fake_control import FakeControl
from redpoll.web import adding
from redpoll.web.app import create_app


def add(control: FakeControl, body: dict) -> tuple[int, dict]:
    """The endpoint's status and JSON."""

    async def receive() -> dict:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    scope = {
        "type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"",
        "path_params": {"model": "churn"},
    }  # fmt: skip
    reply = asyncio.run(adding.endpoint(control)(Request(scope, receive)))
    return reply.status_code, json.loads(reply.body)


def test_a_version_is_added_with_its_settings(tmp_path: Path) -> None:
    """As ``redpoll version add`` sends it: options are strings."""
    (tmp_path / "m.pkl").write_bytes(b"m")
    control = FakeControl()
    status, said = add(
        control,
        {"name": "v9", "backend": "sklearn:m.pkl", "options": {"workers": "2"},
         "folder": str(tmp_path), "actor": "ada"},
    )  # fmt: skip
    assert status == 201
    assert said["lines"][0]["action"] == "add_version"
    ((what, asked),) = control.asked
    assert (what, asked["model"]) == ("add_version", "churn")
    assert (asked["version"].name, asked["version"].workers) == ("v9", 2)
    assert asked["version"].folder == str(tmp_path)


def test_a_url_needs_no_folder() -> None:
    """Nothing of it lies on this machine."""
    assert add(FakeControl(), {"name": "v9", "backend": "http://h/v2/models/m"})[0] == 201


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"backend": "http://h/v2/models/m"}, "RP-101"),
        ({"name": "v9", "backend": "python:m:f"}, "RP-101"),
        ({"name": "v9", "backend": "python:m:f", "folder": "here"}, "RP-101"),
        ({"name": "v9", "backend": "python:m:f", "folder": "/no/such/folder"}, "RP-101"),
        ({"name": "v9", "backend": "python:m:f", "folder": "/tmp\0"}, "RP-101"),
        ({"name": "v9", "backend": "http://h/v2/models/m", "options": [1]}, "RP-101"),
        ({"name": "v9", "backend": "http://h/v2/models/m", "options": {"backend": "x"}}, "RP-101"),
        ({"name": "v9", "backend": "http://h/v2/models/m", "options": {"wrkers": "1"}}, "RP-001"),
        ({"name": "/", "backend": "http://h/v2/models/m"}, "RP-001"),
        ({"name": "v9", "backend": "lightgbm:m"}, "RP-101"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_added(body: dict, code: str) -> None:
    """With the configuration's own sentences."""
    control = FakeControl()
    with pytest.raises(RedpollError) as caught:
        add(control, body)
    assert caught.value.code == code
    assert control.asked == []


def test_a_folder_that_everyone_can_write_is_refused(tmp_path: Path) -> None:
    """Workers import from it: whoever can write there could run code as the server."""
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    with pytest.raises(RedpollError) as caught:
        add(FakeControl(), {"name": "v9", "backend": "python:m:f", "folder": str(open_folder)})
    assert caught.value.code == "RP-501"


def test_the_endpoint_stands_in_the_application() -> None:
    """Beside the list of versions, which has the same path."""
    app: Starlette = create_app(FakeControl(), Server())
    methods = {
        method
        for route in app.routes
        if isinstance(route, Route) and route.path == adding.PATH
        for method in route.methods or ()
    }
    assert {"GET", "POST"} <= methods
