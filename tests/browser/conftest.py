"""Headless Chromium against the control plane on a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.web_control.serving import Serving, serving

LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser(tool) -> Iterator[Any]:
    """One browser a module; each test opens contexts of its own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = tool("chromium")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving() as found:
        yield found


@pytest.fixture
def visit(browser, server) -> Iterator[Callable[..., Any]]:
    """``visit("/", …)`` opens a page; at the end nothing may have been complained about."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_page(path: str, *, expect: int = 200, clock: bool = False, **options: Any) -> Any:
            options.setdefault("viewport", LAPTOP)
            context = browser.new_context(**options)
            stack.callback(context.close)
            context.set_default_timeout(5000)
            page = context.new_page()
            if clock:  # time goes on by itself, and faster when a test says so
                page.clock.install()
            page.on(
                "console",
                lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None,
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            answer = page.goto(server.url + path, wait_until="load")
            assert answer.status == expect
            return page

        open_page.complaints = complaints  # type: ignore[attr-defined]
        yield open_page
    assert complaints == []
