"""``/api/v1``: what it answers, what it refuses, and that its document tells the truth."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

import redpoll.config
from redpoll.errors import CATALOG, RedpollError
from redpoll.views import RolloutView
from redpoll.web.openapi import document

NAMED = {"id", "model", "version", "stable", "strategy", "state", "step", "weight", "sentence"}
GATE = {"metric", "slice", "answer", "evidence", "limit", "sentence"}


def test_a_rollout_reads_as_the_interface_says(client):
    """Every key that scripts rely on is there, with the plain evidence and its limit."""
    said = client.get("/api/v1/rollouts/fraud-9").json()
    assert said.keys() >= NAMED | {"gates"}
    assert said["gates"][0].keys() >= GATE
    assert (said["id"], said["version"], said["stable"]) == ("fraud-9", "7", "6")
    assert said["gates"][0]["evidence"] == 913.0
    assert said["gates"][0]["limit"] == 40.0
    assert said["gates"][0]["answer"] == "fail"


def test_a_models_name_stands_for_its_newest_rollout(client):
    """``rollout show churn`` needs no id."""
    assert client.get("/api/v1/rollouts/churn").json()["id"] == "churn-17"


@pytest.mark.parametrize(
    ("path", "key", "count"),
    [
        ("/api/v1/models", "models", 3),
        ("/api/v1/models/churn/versions", "versions", 2),
        ("/api/v1/models/churn/rollouts", "rollouts", 1),
        ("/api/v1/rollouts/churn-17/decisions", "decisions", 2),
        ("/api/v1/rollouts/fraud-9/curve", "points", 14),
        ("/api/v1/rollouts/fraud-9/failures", "failures", 3),
        ("/api/v1/decisions", "decisions", 4),
        ("/api/v1/decisions?of=churn", "decisions", 2),
        ("/api/v1/decisions?limit=1", "decisions", 1),
    ],
)
def test_lists_are_under_their_name(client, path, key, count):
    """A list is never bare, so that it can gain neighbours."""
    assert len(client.get(path).json()[key]) == count


def test_the_route_has_its_generation_as_etag(client):
    """What ``If-Match`` takes can be read off the answer."""
    answer = client.get("/api/v1/models/fraud/route")
    assert answer.json()["live"] == "6"
    assert answer.headers["etag"] == '"212"'


@pytest.mark.parametrize("action", ["pause", "abort", "promote"])
def test_an_action_is_done_with_its_reason_and_actor(client, control, action):
    """Reason, actor and generation reach control; the answer is the rollout afterwards."""
    answer = client.post(
        f"/api/v1/rollouts/churn-17/{action}",
        {"reason": "release at three", "actor": "ana"},
        if_match='"210"',
    )
    assert answer.status == 200
    assert answer.json()["id"] == "churn-17"
    call, fields = control.asked[-1]
    assert (call, fields["reason"], fields["actor"]) == (action, "release at three", "ana")
    assert answer.headers["etag"] == '"211"'


def test_full_promotion_reaches_control(client, control):
    """``{"full": true}`` skips the steps that are left."""
    body = {"reason": "we are sure", "full": True}
    answer = client.post("/api/v1/rollouts/churn-17/promote", body)
    assert answer.json()["state"] == "promoted"
    assert control.asked[-1][1]["full"] is True


def test_a_stale_generation_changes_nothing_and_says_what_is(client, control):
    """409 with today's sentence."""
    answer = client.post("/api/v1/rollouts/churn-17/pause", {"reason": "x y z"}, if_match='"209"')
    assert answer.status == 409
    assert answer.json()["code"] == "RP-401"
    assert "10%" in answer.json()["error"]
    assert control.by_id["churn-17"].state == "running"


@pytest.mark.parametrize("given", ['W/"210"', "210", "*"])
def test_if_match_is_read_generously(client, given):
    """Quoted, weak, bare; a star matches whatever there is."""
    body = {"reason": "release"}
    assert client.post("/api/v1/rollouts/churn-17/pause", body, if_match=given).status == 200


def test_if_match_that_is_no_generation_is_refused(client):
    """Rather than taken for "any"."""
    body = {"reason": "release"}
    answer = client.post("/api/v1/rollouts/churn-17/pause", body, if_match='"abc"')
    assert (answer.status, answer.json()["code"]) == (400, "RP-101")


def test_a_rollout_is_started(client, control):
    """201 with its address; the plan's keys are those of the file, over the model's own."""
    answer = client.post(
        "/api/v1/models/churn/rollouts",
        {
            "version": "v2",
            "strategy": "canary",
            "reason": "retrained",
            "plan": {"steps": [{"weight": "10%", "pause": "5m"}, {"weight": "50%"}]},
        },
    )
    assert answer.status == 201
    assert answer.headers["location"] == f"/api/v1/rollouts/{answer.json()['id']}"
    plan = control.asked[-1][1]["plan"]
    assert [s.weight for s in plan.steps] == [0.1, 0.5]
    assert plan.steps[0].pause_s == 300.0


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"version": "v3"}, "RP-103", "v3"),
        ({"version": 3}, "RP-101", "version"),
        ({}, "RP-101", "version"),
        ({"version": "v2", "strategy": "canry"}, "RP-101", "canary"),
        ({"version": "v2", "strategy": "shadow"}, "RP-101", "not built yet"),
        ({"version": "v2", "plan": [1]}, "RP-101", "object"),
        ({"version": "v2", "plan": {"stepz": []}}, "RP-001", "steps"),
        ({"version": "v2", "reasn": "x"}, "RP-101", "reason"),
        (b"{", "RP-101", "JSON"),
        (b"[1]", "RP-101", "object"),
        (b"\xff\xfe", "RP-101", "JSON"),
    ],
)
def test_a_bad_start_says_what_is_wrong(client, body, code, says):
    """What happened, and the name that was probably meant; nothing is started."""
    before = len(client.control.asked)
    answer = client.post("/api/v1/models/churn/rollouts", body)
    assert answer.status in (400, 404)
    assert answer.json()["code"] == code
    assert says in answer.text
    assert [c for c, _ in client.control.asked[before:]] in ([], ["start_rollout"])


def test_rollback_answers_with_the_model(client, control):
    """It also works after a promotion, so it belongs to the model."""
    control.change("churn-17", state="promoted", actions=("rollback",))
    body = {"reason": "sales fell", "to": "v1"}
    answer = client.post("/api/v1/models/churn/rollback", body)
    assert (answer.status, answer.json()["name"]) == (200, "churn")
    assert control.asked[-1][1]["to"] == "v1"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "says"),
    [
        ("GET", "/api/v1/rollouts/churn-71", 404, "RP-400", "churn-17"),
        ("GET", "/api/v1/models/chrun", 404, "RP-102", "churn"),
        ("GET", "/api/v1/nothing", 404, "RP-104", "/api/v1/nothing"),
        ("DELETE", "/api/v1/models", 405, "RP-105", "DELETE"),
        ("POST", "/api/v1/rollouts/churn-17/pauze", 404, "RP-104", "pause"),
        ("GET", "/api/v1/decisions?limit=0", 400, "RP-101", "limit"),
        ("GET", "/api/v1/decisions?limit=x", 400, "RP-101", "limit"),
        ("GET", "/api/v1/decisions?after=zz", 400, "RP-101", "known are of, limit"),
        ("GET", "/api/v1/decisions?of=chrun-17", 404, "RP-400", "churn-17"),
        ("GET", "/api/v1/decisions?limit=1&limit=2", 400, "RP-101", "twice"),
        ("GET", "/api/v1/decisions?limt=1", 400, "RP-101", "Did you mean 'limit'?"),
        ("GET", "/api/v1/rollouts/churn-17/curve?points=-5", 400, "RP-101", "takes none"),
        ("GET", "/api/v1/models/churn/rollouts?limit=x", 400, "RP-101", "from 1 to 1000"),
        ("POST", "/api/v1/rollouts/churn-17/pause?reason=x", 400, "RP-101", "takes none"),
        ("POST", "/api/v1/models/churn/versions?dry_run=1", 400, "RP-101", "takes none"),
        ("GET", "/rollouts.json?state=rolledback", 400, "RP-101", "rolled_back"),
        ("GET", "/rollouts.json?stat=running", 400, "RP-101", "state"),
        ("POST", "/api/v1/rollouts/churn-17/pause", 400, "RP-403", "reason"),
    ],
)
def test_errors_are_json_with_a_code(client, method, path, status, code, says):
    """Every error has the same shape, its code is one of the catalog's."""
    answer = client.ask(method, path)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert code in CATALOG
    assert says in answer.json()["error"]


def test_a_mistake_is_a_500_without_its_details(client, control, caplog):
    """The traceback goes to the log, not to the client; security headers are still there."""
    control.error = ValueError("secret detail")  # type: ignore[assignment]
    answer = client.get("/api/v1/overview")
    assert (answer.status, answer.json()["code"]) == (500, "RP-600")
    assert "secret" not in answer.text
    assert "secret detail" in caplog.text
    assert "content-security-policy" in answer.headers


def test_an_error_with_retry_after_says_so(client, control):
    """Seconds, in the header."""
    control.error = RedpollError("RP-404", "control is starting", retry_after_s=2)
    answer = client.get("/api/v1/overview")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


def config(folder: Path) -> Path:
    path = folder / "redpoll.toml"
    path.write_text('[models.churn.versions]\nv1 = "http://127.0.0.1:9/v2/models/churn"\n')
    return path


def test_a_file_is_applied(client, control, tmp_path):
    """Lines come back; a dry run is passed on as one."""
    path = config(tmp_path)
    answer = client.post("/api/v1/apply", {"path": str(path), "dry_run": True})
    assert answer.json()["lines"][0]["sentence"] == "churn: nothing to do"
    assert control.asked[-1][1]["dry_run"] is True
    assert client.post("/api/v1/apply", {"path": str(tmp_path)}).status == 200


def test_while_a_file_is_read_the_loop_goes_on(client, tmp_path, monkeypatch):
    """A slow disk holds up one apply, not the pages, nor what decides about rollouts."""
    read, asked, answered = redpoll.config.load, threading.Event(), threading.Event()

    def slow(*arguments, **options):
        asked.set()
        assert answered.wait(20), "nobody else was answered meanwhile"
        return read(*arguments, **options)

    monkeypatch.setattr(redpoll.config, "load", slow)
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(client.post, "/api/v1/apply", {"path": str(config(tmp_path))})
        assert asked.wait(10)
        assert client.get("/healthz").status == 200
        answered.set()
        assert applied.result(20).status == 200


def test_a_bad_file_is_refused_with_all_its_problems(client, tmp_path):
    """File and line of each, so that an editor can show them."""
    path = config(tmp_path)
    path.write_text('wrong = 1\n[models.churn]\nlife = "v1"\n')
    said = client.post("/api/v1/apply", {"path": str(path)}).json()
    assert said["code"] == "RP-001"
    assert len(said["problems"]) >= 2


@pytest.mark.parametrize(
    "given", ["redpoll.toml", "../x", "", 7, "/nowhere/at/all", "/dev/null", "/a\0b"]
)
def test_a_path_that_may_not_be_applied_is_refused(client, given):
    """Relative, missing, no file."""
    answer = client.post("/api/v1/apply", {"path": given})
    assert answer.status in (400, 403)
    assert client.control.asked == []


def test_a_file_that_anyone_may_write_is_not_applied(client, tmp_path):
    """It names code that the server would run as its own user."""
    path = config(tmp_path)
    path.chmod(0o666)
    answer = client.post("/api/v1/apply", {"path": str(path)})
    assert (answer.status, answer.json()["code"]) == (403, "RP-501")


def test_health_is_also_where_orchestrators_look(client):
    """``/healthz`` and ``/readyz`` with and without the prefix."""
    for path in ("/healthz", "/readyz", "/api/v1/healthz", "/api/v1/readyz"):
        assert client.get(path).json()["status"] == "ok"


def test_readiness_needs_control(client, control):
    """A control that cannot answer is not ready."""
    control.error = RedpollError("RP-404", "control is starting")
    assert client.get("/readyz").status == 503


def test_the_document_names_every_route_and_no_other(client):
    """OpenAPI and router agree in both directions."""
    said = client.get("/api/v1/openapi.json").json()
    documented = {
        (method.upper(), path) for path, found in said["paths"].items() for method in found
    }
    served = {
        (method, route.path)
        for route in client.app.routes
        if route.path.startswith("/api/v1")
        for method in route.methods - {"HEAD"}
    }
    assert documented == served


def test_every_reference_of_the_document_leads_somewhere():
    """Schemas come from the records' types, so that a new field is documented at once."""
    text = json.dumps(document())
    schemas = document()["components"]["schemas"]
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"', 1)[0] in schemas
    assert set(RolloutView.__struct_fields__) == set(schemas["RolloutView"]["properties"])


def test_path_parameters_of_the_document_are_those_of_the_path():
    """A client that is generated from it can be called."""
    for path, found in document()["paths"].items():
        for operation in found.values():
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_the_document_names_the_query_parameters_that_are_taken_and_no_other(client):
    """Each path refuses what its document does not name, and says just what it names."""
    for path, found in document()["paths"].items():
        asked = path.format(model="churn", version="v1", id="churn-17", action="pause")
        for method, operation in found.items():
            named = [p["name"] for p in operation["parameters"] if p["in"] == "query"]
            answer = client.ask(method.upper(), f"{asked}?zzz=1")
            assert (answer.status, answer.json()["code"]) == (400, "RP-101"), path
            says = f"known are {', '.join(named)}." if named else "it takes none."
            assert says in answer.json()["error"], path


def test_a_list_of_rollouts_is_cut_where_it_is_asked_to_be(client, control):
    """The newest are kept."""
    control.by_id["churn-18"] = msgspec.structs.replace(control.by_id["churn-17"], id="churn-18")
    for limit, ids in ((1, ["churn-18"]), (2, ["churn-18", "churn-17"])):
        said = client.get(f"/api/v1/models/churn/rollouts?limit={limit}").json()["rollouts"]
        assert [one["id"] for one in said] == ids
