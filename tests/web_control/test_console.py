"""Pages without a browser: what they say, in which order, and what forms do."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import msgspec
import pytest

from redpoll.errors import RedpollError
from redpoll.testing import fake_night as night
from redpoll.views import GateView, ModelView

PAGES = [
    "/",
    "/rollouts",
    "/rollouts/churn-17",
    "/rollouts/fraud-9",
    "/models/churn",
    "/models/defects",
]
REASON = "release of the app at three"
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Balance(HTMLParser):
    """Every tag is closed in order; collects text and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, k, v) for k, v in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def parsed(html: str) -> Balance:
    found = Balance()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


def plain(html: str) -> str:
    """The text of a page, white space made one."""
    main = html[html.index("<main") :]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main)).replace("\u00a0", " ")


@pytest.mark.parametrize("path", [*PAGES, "/nothing"])
def test_pages_are_well_formed_and_keep_their_own_policy(client, path):
    """Balanced tags, no inline style or script, no id twice, no address elsewhere."""
    html = client.page(path).text
    found = parsed(html)
    assert len(found.ids) == len(set(found.ids))
    for tag, name, value in found.attributes:
        assert name != "style"
        assert not name.startswith("on")
        if name in ("src", "href", "action"):
            assert value == "" or value[0] in "/#", (tag, name, value)
    assert "<script>" not in html
    assert "None" not in plain(html)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_a_file_too(client, path):
    """``.json`` has the same facts, ``.csv`` the table."""
    base = "/now" if path == "/" else path
    assert client.get(f"{base}.json").json()
    table = client.get(f"{base}.csv")
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert rows or path == "/models/defects"


def test_now_says_first_what_needs_a_person(client):
    """The first sentence is the one thing to look at, and the cap is red."""
    html = client.page("/").text
    first = re.search(r'<p role="status">(.*?)</p>', html)
    assert first and first[1].startswith("fraud 7 was rolled back")
    assert '<body class="calls"' in html
    assert "churn and defects need nothing." in plain(html)


def test_now_is_calm_when_nothing_is_needed(client, control):
    """No red cap, no alert."""
    control.models["fraud"] = ModelView(name="fraud", live="6", candidate=None, weight=0, generation=1, unit="user", sentence="6 serves everything.")  # fmt: skip
    html = client.page("/").text
    assert 'class="calls"' not in html
    assert '<section class="say calm">' in html
    assert "Nothing needs you." in plain(html)


def test_a_recent_rollback_is_said_though_it_needs_nobody(client, control):
    """What, since when, is it over; with the way to its page."""
    fraud = control.models["fraud"]
    control.models["fraud"] = msgspec.structs.replace(fraud, needs="")
    html = client.page("/").text
    assert "fraud 7 was rolled back at 03:04:09 UTC; nothing needs you." in plain(html)
    assert '<section class="say back">' in html and 'class="calls"' not in html
    assert '<a href="/rollouts/fraud-9">fraud-9</a>' in html


def test_now_without_models_says_what_to_do(client, control):
    """An empty page gives the next command."""
    control.models = {}
    assert "redpoll apply" in client.page("/").text


def test_now_has_one_row_a_model(client):
    """Split bar, rates, latency and state in one sentence."""
    text = plain(client.page("/").text)
    assert "live v1 canary 10% v2 : v2 of churn has 10% of traffic" in text
    assert "v2 9.9% (10% wanted) v1 90.1%" in text
    assert "req/s 42 errors 0.6% p95 38 ms unit 99%" in text


def test_a_rolled_back_rollout_answers_in_the_order_of_three_in_the_morning(client):
    """What, evidence, age, observed share, generation, failures, stderr, causes, bound, told, undo."""
    text = plain(client.page("/rollouts/fraud-9").text)
    order = [
        "fraud 7 was rolled back at 03:04:09 UTC",
        "5 min 32 s ago",
        "913 , limit 40",
        "Age of that evidence 5 min 37 s",
        "0 of 102,765 requests",
        "Gateways on route generation 212",
        "Three of its eight failures, beside 6’s answers",
        "6 answered pay, 0.031 · 9 ms",
        "7 answered error after 3 ms",
        "All three have card_age_days 0",
        "ZeroDivisionError: division by zero",
        "Could something shared be the cause?",
        "at most 1 rollout in 20",
        "Told nobody",
        "Retry: 10% of traffic, 31 requests/s, goes to 7 again",
        "Frozen: /rollouts/fraud-9?at=",
    ]
    at = [text.find(part) for part in order]
    assert -1 not in at, order[at.index(-1)]
    assert at == sorted(at)


def test_a_running_rollout_says_what_is_next_and_what_each_button_does(client):
    """Consequences in requests/s before anything is pressed."""
    text = plain(client.page("/rollouts/churn-17").text)
    for part in (
        "Next: 50% at 03:24 UTC",
        "Pause: v2 stays at 10%, 4.2 requests/s",
        "Next step: 21 requests/s go to v2, 50%",
        "Promote: 42 requests/s go to v2, one step skipped",
        "Abort: 42 requests/s go back to v1",
        "evidence 4 s old · 39,186 requests so far",
        "02:44 to 02:54 253 on v2",
        "since 02:54, 15 min 33 s 3,871 on v2",
    ):
        assert part in text
    assert "e-value" not in text and "log" not in text.lower().split()


def test_a_form_does_it_and_leads_back(client, control):
    """303 to the page, which says what was done."""
    answer = client.form("/rollouts/churn-17", action="pause", reason=REASON, generation="210")
    assert answer.status == 303
    assert control.asked[-1] == ("pause", {"id": "churn-17", "reason": REASON, "actor": "somebody on this machine", "full": False})  # fmt: skip
    page = client.page(answer.headers["location"])
    assert "Done: v2 of churn is paused at 10%." in plain(page.text)
    assert "Resume: v2 goes on at 10%, 4.2 requests/s" in plain(page.text)


def test_promoting_fully_is_another_button(client, control):
    """One goes a step, one all the way."""
    client.form("/rollouts/churn-17", action="promote", reason=REASON, generation="210")
    assert control.asked[-1][1]["full"] is False
    client.form("/rollouts/churn-17", action="promote_full", reason=REASON, generation="211")
    assert control.asked[-1][1]["full"] is True
    assert control.by_id["churn-17"].state == "promoted"


def test_undo_after_promotion(client, control):
    """``rollback`` names the version to go back to."""
    control.change("churn-17", state="promoted", actions=("rollback",), weight=1.0)
    text = plain(client.page("/rollouts/churn-17").text)
    assert "Undo: 42 requests/s go back to v1" in text
    client.form("/rollouts/churn-17", action="rollback", reason=REASON, generation="211")
    assert control.asked[-1][0] == "rollback"
    assert control.asked[-1][1]["to"] == "v1"


def test_a_stale_form_keeps_what_was_typed_and_says_what_changed(client, control):
    """Somebody was faster: 409, the reason still in its field, nothing done."""
    typed = 'because "quotes" & <tags>'
    answer = client.form("/rollouts/churn-17", action="abort", reason=typed, generation="209")
    assert answer.status == 409
    assert "Nothing was done: churn is on route generation 210" in plain(answer.text)
    assert 'value="because &#34;quotes&#34; &amp; &lt;tags&gt;"' in answer.text
    assert 'name="generation" value="210"' in answer.text
    assert control.by_id["churn-17"].state == "running"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"action": "pause", "reason": "", "generation": "210"}, 400),
        ({"action": "pause", "reason": "xy", "generation": "210"}, 400),
        ({"action": "pauze", "reason": REASON, "generation": "210"}, 400),
        ({"action": "pause", "reason": REASON, "generation": ""}, 400),
        ({"action": "pause", "reason": REASON, "generation": "²"}, 400),
        ({"action": "resume", "reason": REASON, "generation": "210"}, 409),
        ({}, 400),
    ],
)
def test_a_bad_form_is_answered_on_its_page(client, control, fields, status):
    """With the form still there, and nothing done."""
    answer = client.form("/rollouts/churn-17", **fields)
    assert answer.status == status
    assert "Abort: 42" in plain(answer.text)
    assert control.by_id["churn-17"].state == "running"


def test_a_form_from_another_site_does_nothing(client, control):
    """The guard stands before forms too."""
    answer = client.ask(
        "POST", "/rollouts/churn-17", body=b"action=abort&reason=because&generation=210",
        headers={"origin": "http://evil.example", "content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert answer.status == 403
    assert control.asked == []


def test_a_retry_leads_to_the_rollout_that_it_makes(client, control, monkeypatch):
    """Where a retry gets an id of its own, its page is shown."""
    real = control.act

    async def retry(rollout_id, name, **more):
        rollout = await real(rollout_id, name, **more)
        fresh = msgspec.structs.replace(rollout, id="fraud-10")
        control._keep(fresh, "start", None, "x", None)
        return fresh

    monkeypatch.setattr(control, "act", retry)
    answer = client.form("/rollouts/fraud-9", action="retry", reason=REASON, generation="212")
    assert answer.headers["location"].startswith("/rollouts/fraud-10")


def test_a_frozen_link_shows_what_was_known_then(client, control):
    """State, weight and evidence as decided; no form, no live parts; later decisions left out."""
    start, rollback = (d.decision_id for d in control.log if d.subject_id == "fraud-9")
    before = client.page(f"/rollouts/fraud-9?at={start}")
    text = plain(before.text)
    assert "Frozen at the decision of 03:03:59.4 UTC" in text
    assert "canary 10%" in text and "913" not in text and "rolled back" not in text
    assert "<form" not in before.text
    assert 'data-live=""' in before.text
    after = plain(client.page(f"/rollouts/fraud-9?at={rollback}").text)
    assert "913 , limit 40" in after and "7 failed 5.9% of 136 requests" in after
    control.change("fraud-9", state="running", sentence="tried again")
    assert plain(client.page(f"/rollouts/fraud-9?at={rollback}").text) == after


def test_a_frozen_link_that_was_cut_says_so(client):
    """404 on a page that leads on."""
    answer = client.page("/rollouts/fraud-9?at=01a20b82")
    assert answer.status == 404
    assert "/rollouts/fraud-9" in answer.text


def test_what_models_and_people_write_is_escaped(client, control):
    """Names, reasons, inputs and sentences are text."""
    bad = "<script>alert(1)</script>\"'"
    control.change(
        "churn-17",
        sentence=bad,
        next_sentence=bad,
        shared_causes=(bad,),
        false_alarm=bad,
        gates=(
            GateView(metric=bad, kind="guardrail", answer=bad, evidence=2, limit=3, sentence=bad),
        ),
        gateways={bad: 1},
    )
    control.change("fraud-9", version=bad, sentence=bad)
    for path in PAGES:
        html = client.page(path).text
        assert "<script>alert" not in html
        parsed(html)


def test_an_error_has_a_page_for_people_and_json_for_programs(client):
    """By what is asked for."""
    answer = client.page("/rollouts/churn-71")
    assert answer.status == 404
    assert "Did you mean" in answer.text.replace("&#39;", "'")
    assert client.get("/rollouts/churn-71").json()["code"] == "RP-400"
    assert client.get("/rollouts/churn-71.json", accept="text/html").json()["code"] == "RP-400"


def test_the_list_is_filtered_by_its_address(client):
    """Filters are a plain form."""
    text = plain(client.page("/rollouts?state=rolled_back").text)
    assert "fraud-9" in text and "churn-17" not in text
    assert [r["id"] for r in client.get("/rollouts.json?model=churn").json()["rollouts"]] == [
        "churn-17"
    ]
    assert "No rollout" in plain(client.page("/rollouts?model=defects").text)


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(client, control):
    """``=HYPERLINK(…)`` in a reason stays text."""
    control.change("churn-17", sentence='=HYPERLINK("http://evil")')
    rows = list(csv.DictReader(io.StringIO(client.get("/rollouts/churn-17.csv").text)))
    assert rows[0]["sentence"].startswith("'=")


def test_stderr_is_for_operators_only(control):
    """A reader sees failures, not what the worker printed."""
    from redpoll.web import pages, rollout_page

    asked = pages.Asked(now_us=night.NOW, query={}, operator=False)
    context = rollout_page.rollout(control, "fraud-9", asked).context
    assert context["failures"] and context["stderr"] == ""


def test_a_page_survives_a_rollout_of_which_nothing_is_known_yet(client, control):
    """No gates, no arms, no steps begun, no gateways."""
    control.change("churn-17", state="pending", weight=0.0, gates=(), arms=(), gateways={},
                   observed_share=None, as_of_us=0, shared_causes=(), false_alarm="")  # fmt: skip
    for path in ("/", "/rollouts/churn-17", "/models/churn"):
        answer = client.page(path)
        assert answer.status == 200
        parsed(answer.text)


def test_control_that_is_not_there_is_said(client, control):
    """An error of control is a page, not a blank."""
    control.error = RedpollError("RP-404", "The control process does not answer; it is starting.")
    answer = client.page("/")
    assert answer.status == 503
    assert "does not answer" in answer.text
