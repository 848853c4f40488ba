"""What ``live`` in a file means: compared with the last applied file, never with what is live."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.catalog import Model, Plan, Version
from redpoll.control.live import (
    AbortRollout,
    FirstLive,
    LiveChanges,
    StartRollout,
    SwitchBack,
    live_changes,
)
from redpoll.rollout.machine_state import STATES, ModelState, RolloutState

DAY = 86_400_000_000
NOW = 20_000 * DAY + 14 * 3_600_000_000  # 14:00 UTC on some day
AT_1302 = NOW - 58 * 60_000_000


def model(live: str) -> Model:
    names = ("v1", "v2", "v3")
    return Model(
        name="churn",
        live=live,
        versions=tuple(Version(name=name, backend="sklearn:m") for name in names),
    )


def rollout(state: str, version: str = "v2", stable: str = "v1", **fields) -> RolloutState:
    return RolloutState(
        **{
            "id": "churn-7",
            "model": "churn",
            "version": version,
            "stable": stable,
            "plan": Plan(),
            "spec_digest": "",
            "state": state,
            "since_us": AT_1302,
        }
        | fields
    )


def serving(live: str | None = "v1", run: RolloutState | None = None, **was_live) -> ModelState:
    return ModelState(
        name="churn", live=live, since_us=AT_1302, rollout=run, was_live=dict(was_live)
    )


def only(changes: LiveChanges) -> str:
    assert len(changes.lines) == 1, changes.lines
    return changes.lines[0].sentence


def test_a_models_first_version_goes_live_with_no_rollout() -> None:
    """Nothing serves that it could be compared with."""
    found = live_changes(model("v1"), None, serving(None), NOW)
    assert [type(intent) for intent in found.intents] == [FirstLive]
    assert "needs no rollout" in only(found)


def test_a_first_apply_that_was_cut_short_is_finished_by_the_next() -> None:
    """The catalog has it already, nothing is live: it goes live still."""
    found = live_changes(model("v1"), "v1", serving(None), NOW)
    assert [type(intent) for intent in found.intents] == [FirstLive]


def test_an_unchanged_file_does_nothing_and_says_nothing() -> None:
    """A restart, or SIGHUP."""
    assert live_changes(model("v1"), "v1", serving("v1"), NOW) == LiveChanges()


def test_a_changed_value_starts_the_rollout() -> None:
    """With the plan's weights in the sentence."""
    found = live_changes(model("v2"), "v1", serving("v1"), NOW)
    assert found.intents == (
        StartRollout(model="churn", version="v2", reason='the file says live = "v2"'),
    )
    assert only(found) == (
        'churn: live = "v2" starts a rollout beside v1: 1%, 10%, 50%, then everything'
    )


def test_after_a_promotion_elsewhere_the_old_file_says_what_to_write() -> None:
    """The words of the reference: it is told, and nothing is done."""
    found = live_changes(model("v1"), "v1", serving("v2", rollout("promoted")), NOW)
    assert found.intents == ()
    assert only(found) == ('churn: the file says v1; v2 was promoted at 13:02 UTC: set live = "v2"')
    assert not found.lines[0].waits


def test_a_moment_of_another_day_carries_its_date() -> None:
    """``13:02`` alone would be read as today's."""
    later = NOW + 3 * DAY
    found = live_changes(model("v1"), "v1", serving("v2", rollout("promoted")), later)
    assert "promoted on 2024-10-04 13:02 UTC" in only(found)


def test_after_a_rollback_the_same_file_waits_for_a_person() -> None:
    """Exit code 3 until the value changes, or the rollout is tried again."""
    run = rollout("rolled_back", sentence="errors 5.9% v .6%.")
    found = live_changes(model("v2"), "v2", serving("v1", run), NOW)
    assert found.intents == ()
    assert found.lines[0].waits
    sentence = only(found)
    assert "v2, which was rolled back at 13:02 UTC (errors 5.9% v .6%)" in sentence
    assert 'set live = "v1"' in sentence
    assert "redpoll rollout retry churn" in sentence


def test_a_rollback_after_promotion_waits_too() -> None:
    """The fold marks the promoted rollout as rolled back; v1 is live again."""
    run = rollout("rolled_back", begun=True)
    assert live_changes(model("v2"), "v2", serving("v1", run), NOW).lines[0].waits


def test_after_an_abort_the_same_file_tells_both_ways_on() -> None:
    """A person ended it; no gate said no."""
    found = live_changes(model("v2"), "v2", serving("v1", rollout("aborted")), NOW)
    assert found.intents == ()
    assert not found.lines[0].waits
    assert "churn-7 to v2 was aborted at 13:02 UTC" in only(found)
    assert "rollout retry churn" in only(found)


@pytest.mark.parametrize("state", ["pending", "running", "paused"])
def test_back_to_the_stable_while_a_rollout_runs_is_an_abort(state: str) -> None:
    """Also while it is paused, or not ready yet."""
    found = live_changes(model("v1"), "v2", serving("v1", rollout(state)), NOW)
    assert found.intents == (
        AbortRollout(model="churn", rollout_id="churn-7", reason='the file says live = "v1"'),
    )
    assert "is aborted" in only(found)


@pytest.mark.parametrize("state", ["pending", "running", "paused"])
@pytest.mark.parametrize("applied", ["v1", "v2"])
def test_a_rollout_on_its_way_is_not_started_twice(state: str, applied: str) -> None:
    """Whether a person started it, or this very file before."""
    found = live_changes(model("v2"), applied, serving("v1", rollout(state)), NOW)
    assert found.intents == ()
    assert "churn-7" in only(found)


def test_another_version_makes_the_running_rollout_give_way() -> None:
    """One rollout a model."""
    found = live_changes(model("v3"), "v2", serving("v1", rollout("running")), NOW)
    assert [type(intent) for intent in found.intents] == [StartRollout]
    assert "churn-7 to v2 gives way" in only(found)


def test_a_version_live_lately_is_switched_back_to_at_once() -> None:
    """Within ``rollback_window``, by default seven days."""
    found = live_changes(model("v1"), "v2", serving("v2", v1=NOW - 6 * DAY), NOW)
    assert found.intents == (
        SwitchBack(model="churn", version="v1", reason='the file says live = "v1"'),
    )
    assert "at once" in only(found)


def test_a_version_live_long_ago_needs_a_rollout() -> None:
    """The world has moved on since."""
    found = live_changes(model("v1"), "v2", serving("v2", v1=NOW - 8 * DAY), NOW)
    assert [type(intent) for intent in found.intents] == [StartRollout]


def test_a_switch_back_ends_the_rollout_that_runs() -> None:
    """First the abort, then the switch: control refuses a switch under a running rollout."""
    state = serving("v2", rollout("running", version="v3", stable="v2"), v1=NOW - DAY)
    found = live_changes(model("v1"), "v3", state, NOW)
    assert [type(intent) for intent in found.intents] == [AbortRollout, SwitchBack]


def test_a_changed_value_that_is_live_already_is_noted() -> None:
    """What the line above asked for was written."""
    found = live_changes(model("v2"), "v1", serving("v2", rollout("promoted")), NOW)
    assert found.intents == ()
    assert "live already" in only(found)


@given(
    st.sampled_from(["v1", "v2", "v3"]),
    st.sampled_from(["v1", "v2", "v3", None]),
    st.sampled_from(["v1", "v2", "v3", None]),
    st.sampled_from([None, *STATES]),
    st.permutations(["v1", "v2", "v3"]),
    st.dictionaries(st.sampled_from(["v1", "v2", "v3"]), st.integers(0, NOW)),
)
def test_only_a_changed_value_ever_acts(wanted, applied, live, state, names, was_live) -> None:
    """Whatever serves: an unchanged file starts, ends and switches nothing that is live."""
    run = rollout(state, version=names[0], stable=names[1]) if state else None
    if run is not None and run.active:
        live = run.stable  # a rollout that runs runs beside what is live
    found = live_changes(model(wanted), applied, serving(live, run, **was_live), NOW)
    if live is not None and wanted == applied:
        assert found.intents == ()
    if live is not None and wanted != applied:
        assert len(found.lines) == 1
        settled = wanted in (live, run.version if run and run.active else None)
        aborts = run is not None and run.active and wanted == run.stable
        assert bool(found.intents) == (not settled or aborts)
    assert all(intent.model == "churn" for intent in found.intents)
    assert all(line.sentence.startswith("churn: ") for line in found.lines)
