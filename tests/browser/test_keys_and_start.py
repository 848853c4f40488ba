"""Single keys, and the form that starts a rollout, in headless Chromium."""

from __future__ import annotations

import pytest

from tests.browser.conftest import LAPTOP, PHONE

pytestmark = pytest.mark.browser
pytest.importorskip("playwright.sync_api")

REASON = "retrained on autumn's data"
FOCUS = "document.activeElement.getAttribute('href') || document.activeElement.name || ''"


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_keys_lead_to_pages_rows_and_fields(visit, server):
    """``g n``, ``g r``, ``g m``, ``j``, ``k``, ``/``, ``a``, ``Esc``."""
    page = visit("/")
    press(page, "j", "j")
    assert page.evaluate(FOCUS) == "/models/fraud"
    press(page, "k", "k", "k")
    assert page.evaluate(FOCUS) == "/models/churn"
    press(page, "Enter")
    page.wait_for_url("**/models/churn")
    press(page, "g", "n")
    page.wait_for_url(server.url + "/")
    press(page, "/")
    page.wait_for_url("**/rollouts#filter")
    page.wait_for_load_state()
    assert page.evaluate(FOCUS) == "model"
    press(page, "Escape", "j")
    assert page.evaluate(FOCUS).startswith("/rollouts/")
    press(page, "Enter")
    page.wait_for_url("**/rollouts/*-*")
    press(page, "a")
    assert page.evaluate(FOCUS) == "reason"
    press(page, "Escape", "g", "m")
    page.wait_for_url("**/models/*")
    press(page, "g", "r")
    page.wait_for_url("**/rollouts")


def test_keys_are_letters_inside_fields_and_with_modifiers(visit, server):
    """What is typed is typed; the browser's own keys stay the browser's."""
    page = visit("/rollouts/churn-17")
    page.focus("input[name=reason]")
    page.keyboard.type("g n / j k a ?")
    assert page.input_value("input[name=reason]") == "g n / j k a ?"
    assert page.is_hidden("#keys")
    page.locator("input[name=reason]").blur()
    press(page, "Control+j", "Alt+k", "g")
    page.wait_for_timeout(1700)  # too late for a second key
    press(page, "n")
    page.wait_for_timeout(100)
    assert page.url == server.url + "/rollouts/churn-17"
    assert page.evaluate("document.activeElement === document.body")


def test_the_keys_are_shown_and_can_be_switched_off(visit, server):
    """By ``?`` and by a button; off holds on the next page too, but ``?`` still shows them."""
    page = visit("/")
    press(page, "?")
    assert page.is_visible("#keys") and "Rollouts" in page.inner_text("#keys")
    press(page, "Escape")
    assert page.is_hidden("#keys")
    page.click("button[popovertarget=keys]:not(#keys *)")
    page.uncheck("#keys-on")
    page.click("#keys button")
    page.goto(server.url + "/rollouts")
    press(page, "j", "g", "n")
    page.wait_for_timeout(100)
    assert page.url == server.url + "/rollouts"
    assert page.evaluate("document.activeElement === document.body")
    press(page, "?")
    assert page.is_visible("#keys") and not page.is_checked("#keys-on")


def test_without_script_no_key_is_promised(visit):
    """The button would show what does not work."""
    page = visit("/", java_script_enabled=False)
    assert page.locator("button[popovertarget=keys]").first.is_hidden()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_a_rollout_is_previewed_mended_and_started(visit, server, script, size):
    """From the model's page to the rollout's; an error keeps what was typed."""
    page = visit("/models/fraud", java_script_enabled=script, viewport=size)
    page.click("text=Start a rollout")
    page.wait_for_url("**/models/fraud/start")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.fill("input[name=weight] >> nth=0", "20%")
    page.fill("input[name=weight] >> nth=1", "30%")
    page.click("text=Show what this plan does")
    page.wait_for_url("**/start?*")
    assert "62\u00a0requests/s" in page.inner_text(".say p")
    page.fill("input[name=pause] >> nth=0", "soon")
    page.fill("input[name=reason]", REASON)
    page.click("button.first")
    page.wait_for_selector("#wrong")
    assert '"soon" is no duration' in page.inner_text("#wrong")
    assert page.input_value("input[name=reason]") == REASON
    page.fill("input[name=pause] >> nth=0", "5m")
    page.click("button.first")
    page.wait_for_url("**/rollouts/fraud-*")
    call, fields = server.control.asked[-1]
    assert (call, fields["reason"]) == ("start_rollout", REASON)
    assert [s.weight for s in fields["plan"].steps] == [0.2, 0.3, 0.5]
    assert fields["plan"].steps[0].pause_s == 300.0
    visit.complaints.clear()  # the 400 itself
