"""*Requests* in headless Chromium: searched, opened, paged, with and without script."""

from __future__ import annotations

import pytest

from redpoll.testing.fake_evidence import failures
from tests.browser.conftest import LAPTOP, PHONE

pytestmark = pytest.mark.browser
pytest.importorskip("playwright.sync_api")

ONE = failures()[0].prediction_id


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_a_failing_request_is_found_and_read(visit, server, script, size):
    """From the filter to everything about one, and no page scrolls sideways."""
    page = visit("/requests", java_script_enabled=script, viewport=size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.select_option("select[name=status]", "failed")
    page.fill("input[name=unit]", "u-58213")
    page.click("form.tools button")
    page.wait_for_url("**status=failed**")
    asked = server.control.requests.asked[-1]
    assert (asked.status, asked.unit) == ("failed", "u-58213")
    assert page.input_value("input[name=unit]") == "u-58213"
    page.click("a[rel=next]")
    page.wait_for_url("**after=**")
    assert server.control.requests.asked[-1].after is not None
    page.click(f"a[href='/requests/{ONE}']")
    page.wait_for_url(f"**/requests/{ONE}")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    heads = [head.split()[0] for head in page.locator("main h2").all_inner_texts()]
    assert heads == ["Its", "Input", "Answers", "Afterwards", "Ids", "Decided"]
    assert "never stored" in page.inner_text("main")


def test_a_rollouts_failing_request_leads_to_its_page(visit):
    """One click from the failure to everything about it."""
    page = visit("/rollouts/fraud-9")
    page.click("article.pair a.mono >> nth=0")
    page.wait_for_url("**/requests/01a20b82-*")
    page.click("main a[href='/rollouts/fraud-9'] >> nth=0")
    page.wait_for_url("**/rollouts/fraud-9")


def test_keys_lead_there_and_to_its_filter(visit, server):
    """``g q``, ``/``, ``j``, ``Enter``."""
    page = visit("/")
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/requests")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "id"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/requests/01a20b82-*")


def test_a_wrong_query_is_an_error_page(visit):
    """With what to write."""
    page = visit("/requests?from=yesterday", expect=400)
    assert "2026-11-24T03:04" in page.inner_text("main")
    visit.complaints.clear()  # the 400 itself
