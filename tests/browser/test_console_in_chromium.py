"""The console in headless Chromium, at a laptop's and a phone's width."""

from __future__ import annotations

import re
import time

import pytest

from redpoll.web import events
from tests.browser.conftest import LAPTOP, PHONE
from tests.web_control.serving import serving

pytestmark = pytest.mark.browser
Error = pytest.importorskip("playwright.sync_api").Error

PATHS = [
    "/",
    "/rollouts",
    "/rollouts/churn-17",
    "/rollouts/fraud-9",
    "/models/churn",
    "/models/fraud/start",
]
SIZES = pytest.mark.parametrize("size", [LAPTOP, PHONE, {"width": 320, "height": 640}], ids=["laptop", "phone", "small"])  # fmt: skip
REASON = "release of the app at three"
STATUS = "main p[role=status]"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Parts come every 100 ms, so that tests do not wait."""
    monkeypatch.setattr(events, "PAGE_S", 0.1)


def until(page, expression: str, timeout_s: float = 5.0) -> None:
    """Wait until a JavaScript expression is true: Playwright's own wait wants ``unsafe-eval``."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            if page.evaluate(expression):
                return
        except Error as error:
            if "context was destroyed" not in str(error):  # the page turns over meanwhile
                raise
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(30)


def status_is(page, text: str) -> None:
    """Wait for the sentence."""
    until(page, f"document.querySelector('main p[role=status]').textContent === {text!r}")


def frozen(server) -> str:
    return f"/rollouts/fraud-9?at={server.control.log[-1].decision_id}"


@SIZES
def test_no_page_scrolls_sideways(visit, server, size):
    """Nor complains about its policy, its script or a file that is missing."""
    page = visit("/", viewport=size)
    for path in [*PATHS, frozen(server)]:
        page.goto(server.url + path, wait_until="load")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path


def test_after_a_rollback_everything_is_within_one_screen(visit):
    """What, evidence, age, share, generation, failures, stderr, causes, bound, told, undo, link."""
    page = visit("/rollouts/fraud-9")
    for selector in (
        STATUS, "dl.facts", "article.pair >> nth=2", "pre", "#sh", "text=False alarm?", "text=Told",
        "button[value=retry]", "text=Frozen:",
    ):  # fmt: skip
        box = page.locator(selector).first.bounding_box()
        assert box is not None, selector
        assert box["y"] + box["height"] <= LAPTOP["height"], selector


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_a_rollout_is_paused_and_resumed(visit, server, script, size):
    """Forms are plain forms; after one the page says what was done and offers the way back."""
    page = visit("/rollouts/churn-17", java_script_enabled=script, viewport=size)
    page.fill("input[name=reason]", REASON)
    page.click("button[value=pause]")
    page.wait_for_url("**/rollouts/churn-17?done=*")
    assert "is paused at 10%" in page.inner_text(STATUS)
    assert "Done:" in page.inner_text(".toast")
    assert server.control.asked[-1][1]["reason"] == REASON
    page.fill("input[name=reason]", "the app is out")
    page.click("button[value=resume]")
    page.wait_for_url("**/rollouts/churn-17?done=*")
    assert "goes on at 10%" in page.inner_text(STATUS)


def test_a_reason_is_demanded_before_anything_is_sent(visit, server):
    """The browser itself holds the form back."""
    page = visit("/rollouts/churn-17")
    page.click("button[value=abort]")
    assert page.evaluate("document.querySelector('input[name=reason]').validity.valueMissing")
    assert server.control.asked == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_stale_form_keeps_what_was_typed(visit, server, script):
    """Somebody was faster: nothing is done, the reason is still in its field."""
    page = visit("/rollouts/churn-17", java_script_enabled=script)
    page.fill("input[name=reason]", REASON)
    if script:  # a page whose stream is late
        page.evaluate("source.close()")
    server.do(server.control.change, "churn-17", weight=0.5, sentence="v2 has 50% now.")
    page.click("button[value=pause]")
    page.wait_for_selector("form [role=alert]")
    assert "Nothing was done" in page.inner_text("form [role=alert]")
    assert "v2 has 50% now." in page.inner_text("form [role=alert]")
    assert page.input_value("input[name=reason]") == REASON
    page.wait_for_timeout(400)  # live parts must not wipe it
    assert page.input_value("input[name=reason]") == REASON
    assert "Nothing was done" in page.inner_text("form [role=alert]")
    visit.complaints.clear()  # the 409 itself


def test_the_sentence_changes_by_itself_and_only_it_is_announced(visit, server):
    """Same node, new words; other parts hold no live region."""
    page = visit("/rollouts/churn-17")
    until(page, "heard > 0")
    page.evaluate("window.before = document.querySelector('main p[role=status]')")
    server.do(server.control.change, "churn-17", weight=0.5, sentence="v2 has 50% now.")
    status_is(page, "v2 has 50% now.")
    assert page.evaluate("window.before === document.querySelector('main p[role=status]')")
    assert page.evaluate("document.querySelectorAll('[role=status]').length") == 1
    assert (
        page.inner_text("button[value=pause]").replace("\u00a0", " ")
        == "Pause: v2 stays at 50%, 21 requests/s"
    )
    assert page.input_value("input[name=generation]") == "211"
    assert "churn v2 canary 50%" in page.title()


def test_now_follows_what_is_decided(visit, server):
    """Rows, the list of changes and the cap."""
    page = visit("/")
    until(page, "heard > 0")
    assert page.get_attribute("link[rel=icon]", "href") == "/static/calls.svg"
    server.do(
        server.control.change, "fraud-9", state="running", sentence="7 is tried again.", weight=0.1
    )
    until(page, "!document.body.classList.contains('calls')")
    assert page.get_attribute("link[rel=icon]", "href") == "/static/calm.svg"
    assert page.inner_text(STATUS) == "Nothing needs you."
    assert "7 is tried again." in page.inner_text("#ch >> xpath=..")


def test_what_is_typed_and_focused_is_left_alone(visit, server):
    """The form keeps its field and its place while parts above it grow."""
    page = visit("/rollouts/churn-17", viewport={"width": 390, "height": 600})
    until(page, "heard > 0")
    page.focus("input[name=reason]")
    page.keyboard.type("because ")
    top = page.locator("input[name=reason]").bounding_box()["y"]
    long = "v2 has 50% now, and this sentence is so long that it takes many more lines. " * 6
    server.do(server.control.change, "churn-17", weight=0.5, sentence=long)
    until(page, "document.querySelector('main p[role=status]').textContent.includes('many more')")
    page.keyboard.type("of the release")
    assert page.input_value("input[name=reason]") == "because of the release"
    assert abs(page.locator("input[name=reason]").bounding_box()["y"] - top) < 2


def test_what_the_cursor_is_on_waits(visit, server):
    """A button under the cursor changes its words only when the cursor has left."""
    page = visit("/rollouts/churn-17")
    until(page, "heard > 0")
    page.hover("button[value=pause]")
    server.do(server.control.change, "churn-17", weight=0.5, sentence="v2 has 50% now.")
    status_is(page, "v2 has 50% now.")
    assert "10%" in page.inner_text("button[value=pause]")
    page.mouse.move(640, 5)
    until(page, "document.querySelector('button[value=pause]').textContent.includes('50%')")


def test_a_rollback_turns_the_open_page_over(visit, server):
    """First the sentence, then the page of three in the morning."""
    page = visit("/rollouts/churn-17")
    until(page, "heard > 0")
    page.evaluate("window.first = true")
    server.do(server.control.change, "churn-17", state="rolled_back", weight=0.0, actions=("retry",),
              sentence="v2 was rolled back.")  # fmt: skip
    until(
        page,
        "window.first && document.querySelector('main p[role=status]').textContent === 'v2 was rolled back.'",
    )
    until(page, "!window.first")
    assert page.locator("dl.facts").count() == 1
    assert "Retry:" in page.inner_text("#act")


def test_cut_off_the_page_says_since_when_and_turns_grey(visit, server):
    """Actions are off while it shows; when the server is back, all is as before."""
    page = visit("/rollouts/churn-17", clock=True)
    until(page, "heard > 0")
    assert page.is_hidden(".gone")
    server.stop()
    page.clock.fast_forward(8000)
    page.wait_for_selector(".gone:not([hidden])")
    assert re.match(
        r"Not connected since \d\d:\d\d:\d\d UTC\. This is \d+", page.inner_text(".gone")
    )
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.say')).filter") == "grayscale(1)"
    )
    assert page.is_disabled("button[value=abort]")
    visit.complaints.clear()  # the connection that was refused
    with serving(port=server.port):
        page.clock.fast_forward(8000)
        page.wait_for_selector(".gone", state="hidden", timeout=10_000)
        assert page.is_enabled("button[value=abort]")
        page.goto("about:blank")
    visit.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_both_schemes(visit, server, scheme):
    """Text against its ground: at least 4.5 to 1, on every page."""
    page = visit("/", color_scheme=scheme)
    for path in PATHS:
        page.goto(server.url + path, wait_until="load")
        ratio, text = page.evaluate(CONTRAST)
        assert ratio >= 4.5, (path, text)


CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || !parent.getClientRects().length || parent.closest("svg, .skip, .gone")) continue;
    let ground = parent;
    while (ground && (rgb(getComputedStyle(ground).backgroundColor)[3] === 0)) ground = ground.parentElement;
    const a = light(rgb(getComputedStyle(parent).color));
    const b = light(rgb(ground ? getComputedStyle(ground).backgroundColor : "rgb(255,255,255)"));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.data.trim().slice(0, 40)];
  }
  return worst;
}"""


def test_the_pages_menu_works_without_script_on_the_phone(visit):
    """A popover; links are large enough for a thumb."""
    page = visit("/", viewport=PHONE, java_script_enabled=False)
    assert page.locator("nav a", has_text="Rollouts").is_hidden()
    page.click("button.menu")
    link = page.locator("nav a", has_text="Rollouts")
    assert link.bounding_box()["height"] >= 44
    link.click()
    page.wait_for_url("**/rollouts")


def test_buttons_are_large_enough_for_a_thumb(visit):
    """44 px on the phone."""
    page = visit("/rollouts/churn-17", viewport=PHONE)
    for button in page.locator("main button, main input[name=reason]").all():
        assert button.bounding_box()["height"] >= 44


def test_the_keyboard_reaches_the_form_and_skips_the_frame(visit):
    """The first stop is the skip link; every control has a visible outline."""
    page = visit("/rollouts/churn-17")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "reason":
            break
    assert page.evaluate("document.activeElement.name") == "reason"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_frozen_page_stays_as_it_is(visit, server):
    """No stream, no form; what is decided later does not reach it."""
    page = visit(frozen(server))
    text = page.inner_text("main")
    server.do(server.control.change, "fraud-9", state="running", sentence="tried again")
    page.wait_for_timeout(300)
    assert page.inner_text("main") == text
    assert page.locator("main form").count() == 0


def test_a_hidden_page_gives_its_connection_back(visit):
    """Six connections to a host are all that a browser has: many tabs must not block each other."""
    page = visit("/")
    until(page, "heard > 0")
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    assert page.evaluate("source === null")
    page.evaluate("heard = 1")
    page.evaluate(hide, False)
    until(page, "heard > 1")
    assert page.is_hidden(".gone")
