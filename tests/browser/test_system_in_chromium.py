"""*System* in headless Chromium: live, reached by keys, whole without script, on a phone too."""

from __future__ import annotations

import msgspec
import pytest

from tests.browser.conftest import LAPTOP, PHONE

pytestmark = pytest.mark.browser
pytest.importorskip("playwright.sync_api")


def test_it_is_live_and_says_what_broke(visit, server):
    """A sentence that changes is swapped in place; nothing is loaded anew."""
    page = visit("/system")
    page.evaluate("window.same = true")
    shown = server.control.system.shown
    server.do(
        setattr,
        server.control.system,
        "shown",
        msgspec.structs.replace(shown, severity="back", sentence="The sealer does not run."),
    )
    page.wait_for_selector(".say.back >> text=The sealer does not run.")
    assert page.evaluate("window.same")
    assert page.locator("svg.chart").count() == 4


def test_it_is_reached_by_keys_and_by_the_navigation(visit, server):
    """``g s`` from anywhere."""
    page = visit("/")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/system")
    assert page.inner_text("nav [aria-current=page]") == "System"


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_without_script_it_says_the_same_and_never_scrolls_sideways(visit, size):
    """The answer first, then processes, bounds, journal."""
    page = visit("/system", java_script_enabled=False, viewport=size)
    assert page.inner_text(".say p") == "redpoll has lost nothing, and everything runs."
    heads = page.locator("main h2").all_inner_texts()
    assert [head.split()[0] for head in heads] == ["Processes", "Bounds", "Turned", "Journal"]
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
