"""A page of another origin sends outcomes from headless Chromium: fetch and beacons."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from redpoll.facts import Outcome
from redpoll.testing.fake_oip import FakeOip
from tests.browser.conftest import ARGUMENTS
from tests.gateway.rig import infer
from tests.web_data.process import GatewayProcess, until

pytestmark = pytest.mark.browser


class Page(BaseHTTPRequestHandler):
    """An empty page, of an origin of its own."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>shop</title>")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def page(tool: Any) -> Iterator[Any]:
    """The page, open in a browser."""
    sync_api = pytest.importorskip("playwright.sync_api")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=tool("chromium"), args=ARGUMENTS)
            found = browser.new_page()
            found.goto(f"http://127.0.0.1:{server.server_port}/")
            yield found
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


SEND = """async ([url, id]) => {
  const said = (name) => JSON.stringify({name, prediction_id: id});
  const reply = await fetch(url, {
    method: "POST", headers: {"content-type": "application/json", "x-request-id": "page"},
    body: said("fetched"), keepalive: true});
  const receipt = await reply.json();
  const beacons = [
    said("beacon_text"),
    new Blob([said("beacon_json")], {type: "application/json"}),
    new URLSearchParams({name: "beacon_form", prediction_id: id, value: "true"}),
  ].map((body) => navigator.sendBeacon(url, body));
  return [reply.status, receipt.accepted, beacons];
}"""


def test_a_page_sends_outcomes_and_reads_the_receipt(tmp_path: Path, page: Any) -> None:
    """Fetch with a preflight, and three kinds of beacons; all are in the journal."""
    with FakeOip() as server, GatewayProcess(tmp_path, {"v1": server.url}) as gateway:
        _, _, headers = gateway.ask("POST", "/v2/models/m/infer", infer(1.0))
        url = f"http://127.0.0.1:{gateway.port}/v1/outcomes"
        found = page.evaluate(SEND, [url, headers["redpoll-prediction-id"]])
        assert found == [202, 1, [True, True, True]]

        def outcomes() -> dict[str, float | None]:
            return {f.name: f.value for f in gateway.facts() if isinstance(f, Outcome)}

        until(lambda: len(outcomes()) == 4)
        assert outcomes() == {
            "fetched": None,
            "beacon_text": None,
            "beacon_json": None,
            "beacon_form": 1.0,
        }
        assert page.evaluate(
            "async (url) => fetch(url).then(() => 'read', () => 'hidden')",
            f"http://127.0.0.1:{gateway.port}/v2",
        ) == "hidden"  # fmt: skip
