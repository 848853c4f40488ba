"""*Requests* on a real server: found by what one knows, everything about one, wrong queries told."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from typing import Any
from urllib.parse import quote

import pytest

from redpoll.journal.layout import Layout
from tests.pages.shop import Shop, until

TRACE = "4bf9a3577b34da6a3ce929d0e0e47361"


@pytest.fixture(scope="module")
def made(shop: Shop) -> dict[str, Any]:
    """One that went well, one that failed, one that was refused, one with an outcome."""
    number = str(time.time_ns())
    good = shop.predict(
        "pro",
        f"u-{number}",
        x_request_id=f"order-{number}",
        traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
        redpoll_subject="p-9",
        redpoll_group_sex="f",
    )
    bad = shop.predict("boom", f"u-{number}", x_request_id=f"order-{number}-b")
    status, headers, _ = shop.ask("data", "POST", "/predict/price", {"age": "x"})
    assert (good[":status"], bad[":status"], status) == ("200", "502", 400)
    row = {"name": "bought", "prediction_id": good["redpoll-prediction-id"], "value": True}
    other = {"name": "bought", "request_id": f"order-{number}-b", "model": "price", "value": False}
    for line in (row, other):
        assert shop.ask("data", "POST", "/v1/outcomes", line)[0] == 202
    return {
        "number": number,
        "good": good["redpoll-prediction-id"],
        "bad": bad["redpoll-prediction-id"],
        "refused": headers["redpoll-prediction-id"],
    }


def found(shop: Shop, query: str) -> list[str]:
    return [one["prediction_id"] for one in shop.get(f"/requests.json?{query}")["requests"]]


def test_requests_are_found_by_each_thing_that_is_known(shop, made):
    """Unit, request id, prediction id, status, model and time, alone and together."""
    unit = f"u-{made['number']}"
    assert found(shop, f"unit={unit}") == [made["bad"], made["good"]], "newest first"
    assert found(shop, f"unit={unit}&status=error") == [made["bad"]]
    assert found(shop, f"unit={unit}&status=failed") == [made["bad"]]
    assert found(shop, f"id=order-{made['number']}") == [made["good"]]
    assert found(shop, f"id={made['good']}") == [made["good"]]
    assert made["bad"] in found(shop, "status=error&model=price")
    assert made["refused"] in found(shop, "status=refused")
    assert found(shop, f"unit={unit}&until=2026-01-01T00:00") == []
    assert found(shop, f"unit={unit}&from=2026-01-01") == [made["bad"], made["good"]]
    assert found(shop, f"unit={unit}&status=none") == []


def test_sealed_or_live_the_answer_is_the_same(shop, made):
    """A gateway that died leaves its facts to the sealer; the page does not show it."""
    unit = f"u-{made['number']}"
    before = shop.get(f"/requests/{made['bad']}.json")
    layout = Layout(shop.folder / "data")

    os.kill(shop.said["pids"]["gateway"], signal.SIGKILL)

    def sealed() -> bool:
        return any(
            one.stream == before["stream"] and one.first <= before["sequence"] <= one.last
            for one in layout.segments(["request"])
        )

    until(sealed, 30)
    until(shop.ready, 30)
    assert found(shop, f"unit={unit}") == [made["bad"], made["good"]]
    assert found(shop, f"id=order-{made['number']}-b") == [made["bad"]]
    after = shop.get(f"/requests/{made['bad']}.json")
    assert before == after


def test_everything_about_one(shop, made):
    """Body without what was redacted, groups, trace, answers, outcomes, what is open."""
    one = shop.get(f"/requests/{made['good']}.json")
    assert json.loads(one["inputs"]) == {"age": [41], "plan": ["pro"]}
    assert one["redacted"] == ["note"] and "555" not in json.dumps(one)
    assert (one["trace_id"], one["subject"], one["groups"]) == (TRACE, "p-9", {"sex": "f"})
    (answer,) = one["answers"]
    assert (answer["version"], answer["role"], answer["status"]) == ("v1", "live", "ok")
    assert json.loads(answer["outputs"]) == {"price": [61.5]}
    assert [(o["name"], o["value"]) for o in one["outcomes"]] == [("bought", 1.0)]
    assert one["windows"] == []
    bad = shop.get(f"/api/v1/predictions/{made['bad']}")
    assert bad["answers"][0]["error_code"] == "RP-200" and "boom" in bad["answers"][0]["outputs"]
    assert [(o["name"], o["value"]) for o in bad["outcomes"]] == [("bought", 0.0)]
    assert bad["sentence"].startswith("v1 failed after")
    refused = shop.get(f"/requests/{made['refused']}.json")
    assert refused["answers"][0]["status"] == "refused" and refused["inputs"] is None
    assert refused["windows"][0]["open"] and refused["windows"][0]["name"] == "bought"


def test_pages_follow_each_other_by_a_cursor(shop, made):
    """Each request once, in order, whatever comes meanwhile."""
    unit = f"cursor-{made['number']}"
    ids = [shop.predict(unit=unit)["redpoll-prediction-id"] for _ in range(7)]
    seen: list[str] = []
    query = f"unit={unit}&limit=3"
    page = shop.get(f"/requests.json?{query}")
    while True:
        seen += [one["prediction_id"] for one in page["requests"]]
        if page["more"] is None:
            break
        shop.predict(unit=unit)
        page = shop.get(f"/requests.json?{query}&after={page['more']}")
    assert seen == ids[::-1]
    html = shop.ask("control", "GET", f"/requests?{query}", accept="text/html")[2].decode()
    assert 'rel="next"' in html and f"unit={unit}" in html


def test_an_id_leads_straight_to_its_page(shop, made):
    """Whoever pastes an id wants that one."""
    host, _, port = shop.said["control"].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", f"/requests?id={made['good']}", headers={"accept": "text/html"})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("location")) == (303, f"/requests/{made['good']}")
    connection.close()
    html = shop.ask("control", "GET", f"/requests/{made['good']}", accept="text/html")[2].decode()
    for word in ("redacted, never stored", "61.5", "its other requests", TRACE, "bought"):
        assert word in html


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("status=eror", "RP-101", "Did you mean 'error'?"),
        ("model=prize", "RP-102", "Did you mean 'price'?"),
        ("from=yesterday", "RP-101", "2026-11-24T03:04:09Z"),
        ("from=0001-01-01", "RP-101", "which is no time"),
        ("from=2026-11-24&until=2026-11-23", "RP-101", "from is not before until"),
        ("after=x", "RP-101", "no cursor of this list"),
        ("after=1.2.x", "RP-101", "no cursor"),
        ("limit=0", "RP-101", "from 1 to 500"),
        ("limit=501", "RP-101", "from 1 to 500"),
        ("unti=2026-11-24", "RP-101", "until"),
        ("unit=a&unit=b", "RP-101", "twice"),
        ("id=" + "x" * 600, "RP-101", "longer than 512"),
    ],
)
def test_a_wrong_query_is_told_what_to_write(shop, query, code, said):
    """Nothing that cannot be read is ignored."""
    status, _, raw = shop.ask("control", "GET", f"/requests.json?{query}")
    error = json.loads(raw)
    assert status in (400, 404) and error["code"] == code and said in error["error"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nope", "is no prediction id"),
        ("01a21219-0acb-7fff-996d-fed452306631", "of a model that this catalog does not have"),
        ("01a21219-0acb-7000-996d-fed452306631", "is not in the log of price"),
        ("'; drop table request", "is no prediction id"),
    ],
)
def test_an_unknown_prediction_is_told_so(shop, name, said):
    """404, with why, also where the id is nobody's."""
    status, _, raw = shop.ask("control", "GET", f"/requests/{quote(name)}.json")
    assert status == 404 and said in json.loads(raw)["error"]
    status, headers, _ = shop.ask("control", "GET", f"/requests/{quote(name)}", accept="text/html")
    assert status == 404 and headers["content-type"].startswith("text/html")


def test_a_rollouts_request_shows_its_draw_and_decisions(shop, made):
    """The arm with its probability, the rollout, and what was decided around it."""
    body = {"version": "v2", "reason": "for the page"}
    status, _, raw = shop.ask("control", "POST", "/api/v1/models/price/rollouts", body)
    assert status == 201, raw
    rollout = json.loads(raw)["id"]

    def drawn() -> str:
        return shop.predict(unit=f"d-{time.time_ns()}").get("redpoll-prediction-id", "")

    until(lambda: shop.get(f"/requests/{drawn()}.json")["arm"] == "candidate", 30)
    number = next(n for n in iter(drawn, None) if found(shop, f"id={n}"))
    one = shop.get(f"/requests/{number}.json")
    assert one["arm"] in ("stable", "candidate") and one["arm_probability"] == 0.5
    assert one["rollout_id"] == rollout and one["draws"]
    assert any(d["subject_id"] == rollout for d in one["decisions"])
    reason = {"reason": "enough seen"}
    assert shop.ask("control", "POST", f"/api/v1/rollouts/{rollout}/abort", reason)[0] == 200
    later = shop.get(f"/requests/{number}.json")["decisions"]
    assert later[-1]["action"] == "abort"
