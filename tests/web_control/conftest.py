"""The control plane's application over a control that tells one night, asked without a socket."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from redpoll.catalog import Server
from redpoll.clock import SimClock
from redpoll.testing.fake_control import FakeControl
from redpoll.web.app import create_app

HOST = "127.0.0.1:8081"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Speaks ASGI to an application; each call is one request on a loop of its own."""

    app: Any
    control: FakeControl
    headers: dict[str, str] = field(default_factory=lambda: {"host": HOST})

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = b"",
        headers: dict[str, str] | None = None,
        chunks: list[bytes] | None = None,
    ) -> Answer:
        """One request; ``body`` may be an object (sent as JSON) or bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {**self.headers, **(headers or {})}
        sent = {k: v for k, v in given.items() if v is not None}
        if chunks is None and raw:
            sent.setdefault("content-length", str(len(raw)))
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "server": ("127.0.0.1", 8081),
            "client": ("127.0.0.1", 50000),
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in sent.items()],
        }  # fmt: skip
        return asyncio.run(self._ask(scope, chunks if chunks is not None else [raw]))

    async def _ask(self, scope: dict[str, Any], chunks: list[bytes]) -> Answer:
        messages = [
            {"type": "http.request", "body": chunk, "more_body": i + 1 < len(chunks)}
            for i, chunk in enumerate(chunks)
        ]
        status, headers, body = 0, {}, b""

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(5)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status, headers, body
            if message["type"] == "http.response.start":
                assert status == 0, "two answers"
                status = message["status"]
                headers = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
            else:
                body += message.get("body", b"")

        async with asyncio.timeout(10):
            await self.app(scope, receive, send)
        return Answer(status, headers, body)

    def get(self, path: str, **headers: str) -> Answer:
        """GET, as a program."""
        return self.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def page(self, path: str) -> Answer:
        """GET, as a browser."""
        return self.get(path, accept="text/html,*/*;q=0.8")

    def post(self, path: str, body: Any = b"", **headers: str) -> Answer:
        """POST, as a program."""
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.ask("POST", path, body=body, headers=named)

    def form(self, path: str, **fields: str) -> Answer:
        """POST a form, as a browser does from a page of ours."""
        from urllib.parse import urlencode

        return self.ask(
            "POST",
            path,
            body=urlencode(fields).encode(),
            headers={
                "content-type": "application/x-www-form-urlencoded",
                "origin": f"http://{HOST}",
                "accept": "text/html",
            },
        )


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def client(control: FakeControl) -> Client:
    app = create_app(control, Server(), clock=SimClock(control.now_us))
    return Client(app, control)
