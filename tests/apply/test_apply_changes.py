"""Applying a file: the next catalog, the sentences, and what is refused."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from redpoll.catalog import Config, Limits, Model, ModelLimits, Plan, Pool, Server, Version
from redpoll.config import parse
from redpoll.control.apply import (
    Changes,
    Running,
    changes,
    digest,
    settle,
    with_version,
)
from redpoll.control.live import AbortRollout, FirstLive, StartRollout
from redpoll.control.settings import next_name
from redpoll.errors import RedpollError
from redpoll.rollout.machine_state import ModelState, RolloutState
from redpoll.store.known import kept
from redpoll.store.port import Catalog, StoredModel

NOW = 20_000 * 86_400_000_000
V1 = Version(name="v1", backend="sklearn:m.pkl", folder="/f", artifact="aa")
V2 = Version(name="v2", backend="sklearn:n.pkl", folder="/f", artifact="bb")
CHURN = Model(name="churn", live="v1", versions=(V1,))


def config(*models: Model, **fields) -> Config:
    return Config(path="/f/redpoll.toml", data_dir="/d", models=models, **fields)


def applied(*models: Model) -> Catalog:
    """A catalog to which these models were applied, all of it carried out."""
    done = changes(Catalog(), config(*models), {}, NOW)
    return settle(done.catalog, done)


def serving(name: str = "churn", live: str = "v1", runs: str | None = None) -> dict:
    run = None
    if runs:
        run = RolloutState(
            id=f"{name}-1", model=name, version=runs, stable=live, plan=Plan(), spec_digest="",
            state="running",
        )  # fmt: skip
    return {name: ModelState(name=name, live=live, rollout=run)}


def again(catalog: Catalog, *models: Model, states: dict | None = None) -> Changes:
    return changes(catalog, config(*models), serving() if states is None else states, NOW)


def sentences(found: Changes) -> str:
    return "\n".join(line.sentence for line in found.lines)


def refusal(catalog: Catalog, *models: Model, states: dict | None = None) -> str:
    with pytest.raises(RedpollError) as caught:
        again(catalog, *models, states=states)
    assert caught.value.code == "RP-002"
    return caught.value.message


def test_a_first_apply_adds_the_model_and_makes_it_live() -> None:
    """With a number, and ``live`` unsettled until the intent was carried out."""
    found = changes(Catalog(), config(CHURN), {}, NOW)
    assert [type(intent) for intent in found.intents] == [FirstLive]
    assert found.added == (("churn", "v1"),)
    stored = found.catalog.models["churn"]
    assert (stored.number, stored.applied_live) == (0, None)
    assert settle(found.catalog, found).models["churn"].applied_live == "v1"
    assert [line.action for line in found.lines] == ["add_model", "add_version", "live"]


def test_what_failed_is_not_settled_and_tried_again() -> None:
    """The next apply of the same file finds the change still."""
    catalog = applied(CHURN)
    found = again(catalog, replace(CHURN, live="v2", versions=(V1, V2)))
    after = settle(found.catalog, found, failed={"churn"})
    assert after.models["churn"].applied_live == "v1"
    second = again(after, replace(CHURN, live="v2", versions=(V1, V2)))
    assert [type(intent) for intent in second.intents] == [StartRollout]
    assert second.added == ()


def test_the_same_file_again_changes_nothing_and_says_so() -> None:
    """Not even the catalog."""
    catalog = applied(CHURN)
    found = again(catalog, CHURN)
    assert found.intents == ()
    assert found.catalog == catalog
    assert sentences(found) == "nothing to change: everything is as the file says"
    assert not found.waits


def test_models_get_numbers_in_the_files_order_and_keep_them() -> None:
    """Also when others are left out; a number is never given twice."""
    a, b, c = (replace(CHURN, name=name) for name in "abc")
    catalog = applied(a, b)
    assert [catalog.models[name].number for name in "ab"] == [0, 1]
    without = again(catalog, a, states={}).catalog
    assert without.models["b"].retired
    third = again(without, a, c, states={}).catalog
    assert third.models["c"].number == 2
    back = again(third, a, b, c, states={}).catalog
    assert (back.models["b"].number, back.models["b"].retired) == (1, False)


def test_when_all_numbers_are_given_away_a_new_model_is_refused() -> None:
    """Twelve bits of a prediction id."""
    full = Catalog(models={"old": StoredModel(number=4095, model=replace(CHURN, name="old"))})
    with pytest.raises(RedpollError, match="4096 model numbers"):
        again(full, CHURN, states={})


def test_a_model_that_is_left_out_is_retired_with_a_sentence() -> None:
    """Never silently: it takes no more requests, and its rollout ends."""
    catalog = applied(CHURN, replace(CHURN, name="fraud"))
    states = serving("churn") | serving("fraud", runs="v2")
    found = again(catalog, CHURN, states=states)
    assert found.intents == (
        AbortRollout(model="fraud", rollout_id="fraud-1", reason="fraud was left out of the file"),
    )
    assert "fraud: the file no longer names it, so it takes no more requests" in sentences(found)
    assert "fraud-1 is aborted" in sentences(found)
    after = again(found.catalog, CHURN)
    assert after.intents == ()
    assert "fraud" not in sentences(after)


def test_a_version_that_is_left_out_stays_in_the_catalog() -> None:
    """Old answers keep their version's description; it can be named again."""
    catalog = applied(replace(CHURN, versions=(V1, V2)))
    found = again(catalog, CHURN)
    assert [version.name for version in found.catalog.models["churn"].model.versions] == [
        "v1",
        "v2",
    ]
    assert kept(found.catalog) == {("churn", "v1"), ("churn", "v2")}
    other = replace(V2, artifact="cc")
    assert "other bytes" in refusal(found.catalog, replace(CHURN, versions=(V1, other)))


REFUSED = [
    (V1, replace(V1, artifact="xx"), "m.pkl has other bytes"),
    (V1, replace(V1, backend="python:m:load", artifact=None), "backend was"),
    (V1, replace(V1, file_digests={"labels.json": "1"}), "labels.json"),
    (V1, replace(V1, method="predict_proba"), "its method was predict and now is predict_proba"),
    (
        replace(V1, backend="http://a/v2/models/m", artifact=None),
        replace(V1, backend="http://b/v2/models/m", artifact=None),
        "backend was",
    ),
    (
        replace(V1, backend="python:m:a", artifact=None),
        replace(V1, backend="python:m:b", artifact=None),
        "backend was",
    ),
]


@pytest.mark.parametrize(("before", "after", "says"), REFUSED, ids=[str(n) for n in range(6)])
def test_a_versions_name_never_gets_another_meaning(before, after, says) -> None:
    """It says under which name to add it, and what to set."""
    catalog = applied(replace(CHURN, versions=(before,)))
    message = refusal(catalog, replace(CHURN, versions=(after,)))
    assert says in message
    assert "add it as v2 ([models.churn.versions.v2])" in message
    assert 'set live = "v2"' in message


def test_all_refusals_come_at_once() -> None:
    """Of all models."""
    fraud = replace(CHURN, name="fraud")
    catalog = applied(CHURN, fraud)
    other = (replace(V1, artifact="xx"),)
    message = refusal(
        catalog, replace(CHURN, versions=other), replace(fraud, versions=other), states={}
    )
    assert message.startswith("2 changes are refused:\n")
    assert "churn v1:" in message
    assert "fraud v1:" in message


def test_the_same_bytes_under_another_path_are_the_same_version() -> None:
    """A file may move; what it answers does not."""
    moved = replace(V1, backend="sklearn:models/m.pkl", folder="/elsewhere")
    found = again(applied(CHURN), replace(CHURN, versions=(moved,)))
    assert found.catalog.models["churn"].model.versions[0].folder == "/elsewhere"


def test_operational_settings_of_a_version_may_change() -> None:
    """One line says which, from what to what."""
    after = replace(
        V1, workers=2, threads=4, load_s=90.0, kill_after_s=1.0, timeout_ms=10,
        pool=Pool(idle_s=1.0), resend=False,
    )  # fmt: skip
    found = again(applied(CHURN), replace(CHURN, versions=(after,)))
    assert sentences(found) == (
        "churn: v1: workers 1 → 2; threads 1 → 4; load 60s → 90s; kill_after 30s → 1s; "
        "timeout_ms 5000 → 10; pool changed (idle); resend true → false"
    )
    assert found.catalog.models["churn"].model.versions[0] == after


def test_changed_settings_of_a_model_are_said() -> None:
    """In the file's words."""
    after = replace(
        CHURN, unit="user", unit_from="header:x", limits=ModelLimits(in_flight=1),
        inputs={"a": "int"}, rollout=Plan(alpha=0.01, keep_warm_s=1.0),
    )  # fmt: skip
    found = again(applied(CHURN), after)
    assert sentences(found) == (
        "churn: unit request → user; unit_from none → header:x; inputs changed; "
        "limits changed (in_flight); rollout changed (alpha, keep_warm)"
    )


def test_while_a_rollout_runs_its_plan_stays_and_the_next_gets_the_new_one() -> None:
    """A plan is frozen when it starts."""
    catalog = applied(replace(CHURN, versions=(V1, V2)))
    after = replace(CHURN, versions=(V1, V2), rollout=Plan(alpha=0.01))
    found = again(catalog, after, states=serving(runs="v2"))
    assert "churn-1 keeps the plan that it started with" in sentences(found)


@pytest.mark.parametrize(
    "fields", [{"unit": "user"}, {"unit_from": "header:x"}, {"unit_missing": "reject"}]
)
def test_while_a_rollout_runs_the_unit_stays(fields) -> None:
    """Who is drawn and what is tested must stay the same for both."""
    catalog = applied(replace(CHURN, versions=(V1, V2)))
    after = replace(CHURN, versions=(V1, V2), **fields)
    assert "churn-1 runs" in refusal(catalog, after, states=serving(runs="v2"))
    assert again(catalog, after).catalog.models["churn"].model == after


def test_what_wants_a_restart_is_named() -> None:
    """Addresses, limits and the data folder; nothing where they are as they run."""
    running = Running(server=Server(), data_dir="/d")
    wanted = Server(data="127.0.0.1:9", log_level="debug", limits=Limits(queue=1), drain_s=1.0)
    found = changes(applied(CHURN), config(CHURN, server=wanted), serving(), NOW, running)
    assert [line.action for line in found.lines] == ["restart"] * 4
    assert "server: data 127.0.0.1:8080 → 127.0.0.1:9; this wants a restart" in sentences(found)
    assert "log.level info → debug" in sentences(found)
    same = changes(applied(CHURN), config(CHURN), serving(), NOW, running)
    assert "restart" not in sentences(same)
    moved = replace(config(CHURN), data_dir="/e")
    assert "data_dir /d → /e" in sentences(changes(applied(CHURN), moved, serving(), NOW, running))


def test_a_rolled_back_version_makes_the_whole_apply_wait() -> None:
    """Exit code 3."""
    catalog = applied(replace(CHURN, live="v2", versions=(V1, V2)))
    run = RolloutState(
        id="churn-1", model="churn", version="v2", stable="v1", plan=Plan(), spec_digest="",
        state="rolled_back",
    )  # fmt: skip
    states = {"churn": ModelState(name="churn", live="v1", rollout=run)}
    file = replace(CHURN, live="v2", versions=(V1, V2))
    assert again(catalog, file, states=states).waits
    assert not again(catalog, replace(file, live="v1"), states=states).waits


@pytest.mark.parametrize(
    ("name", "taken", "free"),
    [("v1", {"v1"}, "v2"), ("v1", {"v1", "v2"}, "v3"), ("1.9", set(), "1.10"), ("3", {"3"}, "4"),
     ("blue", {"blue"}, "blue-2"), ("2026-11-24", set(), "2026-11-25"),
     ("a99999999999999999999", set(), "a99999999999999999999-2")],
)  # fmt: skip
def test_the_suggested_name_is_free_and_follows(name, taken, free) -> None:
    """So that the sentence can be followed as it stands."""
    assert next_name(name, taken) == free


def test_the_digest_of_a_file_is_of_what_it_says() -> None:
    """Layout and comments do not matter, values do."""
    text = '[models.churn.versions.v1]\nbackend = "sklearn:m"\n'
    same = '# a comment\nmodels.churn.versions = {v1 = "sklearn:m"}\n'
    assert digest(parse(text, "f")) == digest(parse(same, "f"))
    assert digest(parse(text, "f")) != digest(parse(text.replace(":m", ":n"), "f"))


def test_a_version_can_be_added_to_a_model_alone() -> None:
    """``redpoll version add``: once more is nothing, another meaning is refused."""
    catalog = applied(CHURN)
    after = with_version(catalog, "churn", V2)
    assert [version.name for version in after.models["churn"].model.versions] == ["v1", "v2"]
    assert after.models["churn"].applied_live == "v1"
    assert with_version(after, "churn", V2) is after
    faster = with_version(after, "churn", replace(V2, workers=3)).models["churn"].model
    assert [version.workers for version in faster.versions] == [1, 3]
    with pytest.raises(RedpollError, match="add it as v3") as caught:
        with_version(after, "churn", replace(V2, artifact="cc"))
    assert caught.value.code == "RP-002"
    with pytest.raises(RedpollError, match="Did you mean 'churn'") as caught:
        with_version(catalog, "chrun", V2)
    assert caught.value.code == "RP-102"
