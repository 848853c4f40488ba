"""Starting a rollout and going back from a model's page, as plain forms."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import msgspec
import pytest

from redpoll.catalog import Plan, Step
from redpoll.errors import RedpollError
from redpoll.web import pages, start_page
from tests.web_control.test_console import parsed, plain

REASON = "retrained on autumn's data"
WHO = "somebody on this machine"
STEPS = [("1%", "10m"), ("10%", "10m"), ("50%", "10m")]


def form(client, path="/models/fraud/start", steps=STEPS, **fields):
    """POST the form as a browser does, rows and all."""
    given = {"version": "7", "reason": REASON, "generation": "212", **fields}
    pairs = [*given.items(), *[("weight", w) for w, _ in steps], *[("pause", p) for _, p in steps]]
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "origin": "http://127.0.0.1:8081",
        "accept": "text/html",
    }
    return client.ask("POST", path, body=urlencode(pairs).encode(), headers=headers)


def test_the_form_shows_the_plan_its_consequence_and_what_it_would_catch(client):
    """Before anything is pressed; the generation that it is based on is in it."""
    html = client.page("/models/fraud/start").text
    parsed(html)
    assert 'name="generation" value="212"' in html
    assert re.findall(r'name="weight"[^>]* value="([^"]*)"', html) == ["1%", "10%", "50%", ""]
    text = plain(html)
    for part in (
        "1% of traffic, 3.1 requests/s, goes to 7 as soon as it is ready; 6 keeps the rest.",
        "fraud-9 tried 7 before",
        "Start: 1%, 3.1 requests/s, go to 7",
        "10% about 10 min at least 10 min and 200 requests",
        "About 30 min to 100%",
        "rolls back when 7 is proven to be more than 20% slower than 6",
        "A version that is no worse is stopped in at most 1 rollout of 20",
        "6 stays warm for 1 h, and can be gone back to for 7 d",
    ):
        assert part in text, part


def test_by_request_it_says_how_soon_harm_would_show(client, control):
    """Figures by the gate's own bets; little harm is said to escape."""
    fraud = control.models["fraud"]
    control.models["fraud"] = msgspec.structs.replace(fraud, unit="request", error_rate=0.006)
    text = plain(client.page("/models/fraud/start").text)
    assert re.search(r"every request fails seen after about \d+ requests on 7, \d+ s, at 1%", text)
    assert re.search(r"twice the errors, 0.6% to 1.2% seen after about [\d,]+ requests", text)
    control.models["fraud"] = msgspec.structs.replace(fraud, unit="user", error_rate=0.006)
    text = plain(client.page("/models/fraud/start").text)
    assert re.search(r"every request fails seen after about \d+ users on 7, \d+ s, at 1%", text)
    assert "Each user counts once" in text
    short = [("weight", "50%"), ("pause", "0s"), ("min_requests", "1")]
    text = plain(client.page(f"/models/fraud/start?{urlencode(short)}").text)
    assert "every request fails likely not seen before 100%" in text


def test_a_rollout_is_started_with_the_models_plan_and_its_page_is_shown(client, control):
    """An untouched plan stays the model's own, so that it is not kept as a given one."""
    answer = form(client)
    assert answer.status == 303
    call, fields = control.asked[-1]
    assert (call, fields["version"], fields["plan"]) == ("start_rollout", "7", None)
    assert (fields["reason"], fields["actor"]) == (REASON, WHO)
    assert "Done:" in plain(client.page(answer.headers["location"]).text)


def test_a_changed_plan_reaches_control(client, control):
    """Empty rows do not count; ``manual`` waits for a person."""
    steps = [("5%", "90s"), ("", ""), ("25%", "manual")]
    answer = form(client, steps=steps, min_requests="1,500", on_fail="pause")
    assert answer.status == 303
    plan = control.asked[-1][1]["plan"]
    assert plan.steps == (Step(weight=0.05, pause_s=90.0), Step(weight=0.25, pause_s=None))
    assert (plan.min_requests, plan.on_fail, plan.alpha) == (1500, "pause", 0.05)


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"reason": "xy"}, 400, "at least three characters"),
        ({"reason": "   "}, 400, "at least three characters"),
        ({"version": "77"}, 404, "no version '77'"),
        ({"version": "6"}, 409, "6 is live for fraud already"),
        ({"generation": ""}, 400, "without the page's generation"),
        ({"generation": "211"}, 409, "fraud is on route generation 212"),
        ({"steps": [("10%", "10m"), ("5%", "10m")]}, 400, "Step 2: weights must grow"),
        ({"steps": [("10", "10m")]}, 400, "Step 1: 10 may mean 10 % or everything"),
        ({"steps": [("10%", "soon")]}, 400, 'Step 1: "soon" is no duration'),
        ({"steps": [("", ""), ("", "5m")]}, 400, "Step 2: a step needs a weight"),
        ({"steps": [("", "")]}, 400, "there is no step"),
        ({"min_requests": "none"}, 400, "must be a whole number"),
        ({"on_fail": "explode"}, 400, "is none of"),
    ],
)
def test_a_bad_form_comes_back_with_what_was_typed(client, control, change, status, says):
    """What is wrong, in the form; nothing is started."""
    real = control.start_rollout

    async def start(model, version, **more):
        if version == control.models[model].live:
            raise RedpollError("RP-402", f"{version} is live for {model} already.")
        return await real(model, version, **more)

    control.start_rollout = start
    answer = form(client, **{"reason": '<because> of "v7"', **change})
    assert answer.status == status
    text = plain(answer.text).replace("&#39;", "'").replace("&#34;", '"')
    assert says in text
    assert control.by_id.keys() == {"churn-17", "fraud-9"}
    if "reason" not in change:
        assert 'value="&lt;because&gt; of &#34;v7&#34;"' in answer.text
    for weight, pause in change.get("steps", STEPS):
        assert f'value="{weight}"' in answer.text and f'value="{pause}"' in answer.text
    assert 'name="generation" value="212"' in answer.text
    parsed(answer.text)


def test_a_wrong_field_is_marked(client):
    """For eyes and for screen readers."""
    html = form(client, steps=[("10%", "10m"), ("20%", "soon")]).text
    marked = re.findall(r'name="(\w+)"[^>]*aria-invalid="true"', html)
    assert marked == ["pause"]


def test_the_address_keeps_the_plan_that_was_typed(client):
    """A preview is a GET: it can be sent to somebody; ``.json`` has the same."""
    query = urlencode([("version", "7"), ("weight", "20%"), ("pause", "1h")])
    html = client.page(f"/models/fraud/start?{query}").text
    assert "20% of traffic, 62 requests/s, goes to 7" in plain(html)
    said = client.get(f"/models/fraud/start.json?{query}").json()
    assert [s["weight"] for s in said["plan"]["steps"]] == [0.2]
    assert (said["generation"], said["problems"]) == (212, [])
    assert client.get("/models/fraud/start?verson=7").json()["code"] == "RP-101"


def test_a_version_that_cannot_be_started_says_why(client, control):
    """Running, live, unknown; a model without another version names the command."""
    said = client.get("/models/churn/start.json?version=v2").json()
    assert said["problems"] == ["churn-17 runs v2 already; abort it first to start anew."]
    assert "Did you mean" not in str(client.get("/models/fraud/start.json?version=6").json())
    text = plain(client.page("/models/churn/start").text)
    assert "v2 is on its way already" in text and "redpoll version add churn" in text


def test_a_running_rollout_is_said_to_give_way(client, control):
    """The consequence for the one that runs."""
    churn = control.models["churn"]
    third = {**churn.versions[1], "name": "v3"}
    control.models["churn"] = msgspec.structs.replace(churn, versions=(*churn.versions, third))
    text = plain(client.page("/models/churn/start").text)
    assert "churn-17 ends: v2 gives way and takes no more traffic." in text


def test_an_unknown_model_is_a_404_page(client):
    """Also for the forms."""
    for answer in (client.page("/models/frau/start"), form(client, path="/models/frau/start")):
        assert answer.status == 404
        assert "There is no model" in answer.text and 'href="/models/fraud' in answer.text


def test_the_model_page_leads_to_the_form(client):
    """From the version itself, and from a button."""
    html = client.page("/models/fraud").text
    assert 'href="/models/fraud/start?version=7"' in html
    assert 'href="/models/fraud/start"' in html


def test_a_promotion_can_be_undone_from_the_models_page(client, control):
    """With the consequence on the button; 303 to the page, which says what was done."""
    control.change("fraud-9", state="promoted", actions=("rollback",), since_us=control.now_us)
    html = client.page("/models/fraud").text
    assert "Roll back: 310 requests/s go back to 6" in plain(html)
    generation = re.search(r'name="generation" value="(\d+)"', html)[1]
    stale = client.form("/models/fraud", to="6", reason="sales fell", generation="1")
    assert stale.status == 409
    assert 'value="sales fell"' in stale.text
    bad = client.form("/models/fraud", to="6", reason="x", generation=generation)
    assert bad.status == 400
    answer = client.form("/models/fraud", to="6", reason="sales fell", generation=generation)
    assert answer.status == 303
    assert control.asked[-1] == ("rollback", {"to": "6", "reason": "sales fell", "actor": WHO})
    assert "Done:" in plain(client.page(answer.headers["location"]).text)


def test_the_plan_as_the_form_writes_it_reads_back_as_the_same_plan():
    """Every weight and pause that a plan may have."""
    steps = (Step(weight=0.001, pause_s=0.25), Step(weight=1 / 3, pause_s=5400.0),
             Step(weight=0.5, pause_s=86400.0), Step(weight=0.75, pause_s=None))  # fmt: skip
    plan = Plan(steps=steps)
    assert start_page.plan_of(start_page.filled(start_page.Typed(), plan), plan) is None
    read = start_page.plan_of(start_page.filled(start_page.Typed(), plan), Plan())
    assert [s.pause_s for s in read.steps] == [0.25, 5400.0, 86400.0, None]
    assert [s.weight for s in read.steps] == pytest.approx([0.001, 1 / 3, 0.5, 0.75], rel=1e-5)


def test_whoever_may_only_read_is_offered_no_change(control):
    """Neither the button nor the form to go back."""
    asked = pages.Asked(now_us=control.now_us, query={}, operator=False)
    assert pages.model(control, "fraud", asked).context["operator"] is False
    typed = start_page.Typed()
    assert start_page.start(control, "fraud", asked, typed).context["operator"] is False
