"""Commands against a running control plane."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import msgspec
import pytest

from redpoll.cli import watch
from redpoll.errors import RedpollError
from redpoll.views import ApplyLine
from tests.cli.conftest import Run
from tests.web_control.serving import Serving

TOML = '[models.churn.versions.v1]\nbackend = "http://127.0.0.1:9/v2/models/m"\n'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.02)


def test_status_is_a_line_a_model(night: Serving, redpoll: Run) -> None:
    """The table of the reference: live, rollout, rates as people write them, then how fresh."""
    done = redpoll("status")
    assert done.code == 0
    header, churn, fraud, defects, *rest = done.out.splitlines()
    assert header.split() == ["MODEL", "LIVE", "ROLLOUT", "REQ/S", "ERR", "P95", "UNIT"]
    assert churn.split()[:4] == ["churn", "v1", "v2", "10%:"]
    assert churn.split()[-4:] == ["42", ".6%", "38ms", "99%"]
    assert "rolled back 03:04: 7 failed 5.9% of 136 requests" in fraud
    assert defects.split()[:3] == ["defects", "2.3", "-"]
    assert rest[0].startswith("! fraud 7 was rolled back")
    assert "as of 03:09:40Z (.3 s old) · 0 facts lost" in rest[-1]
    assert "next: redpoll rollout watch churn" in done.err


def test_status_with_json_is_one_document(night: Serving, redpoll: Run) -> None:
    """What the API says, with a schema number."""
    document = redpoll("status", "--json").json()
    assert document["schema"] == 1
    assert [m["name"] for m in document["models"]] == ["churn", "fraud", "defects"]


def test_show_tells_gates_steps_and_arms(night: Serving, redpoll: Run) -> None:
    """Evidence as a number beside its limit, never as a logarithm."""
    done = redpoll("rollout", "show", "fraud")
    assert done.code == 0
    for words in ("fraud-9: 7 beside 6", "rolled back", "913", "5.9%", "STEP", "route generation"):
        assert words in done.out
    assert redpoll("rollout", "show", "fraud", "--exit-code").code == 3
    assert redpoll("rollout", "show", "churn-17", "--exit-code", "--json").code == 4


def test_an_unknown_rollout_or_model_gets_a_suggestion(night: Serving, redpoll: Run) -> None:
    """From the server's own words."""
    done = redpoll("rollout", "show", "chrun")
    assert done.code == 1
    assert "RP-400" in done.err and "churn" in done.err


def test_history_reads_from_the_first_decision_to_the_last(night: Serving, redpoll: Run) -> None:
    """Oldest first, with who and why."""
    lines = redpoll("rollout", "history", "churn").out.splitlines()
    assert "start by team-ml" in lines[0] and "retrained on October" in lines[0]
    assert "advance by redpoll" in lines[1]
    document = redpoll("rollout", "history", "churn", "--json").json()
    assert [d["action"] for d in document["decisions"]] == ["start", "advance"]


def test_explaining_a_rollout_gives_the_whole_story(night: Serving, redpoll: Run) -> None:
    """Where it stands, how it came there, and the bound on a false alarm."""
    done = redpoll("explain", "fraud-9")
    assert "fraud 7 was rolled back" in done.out
    assert "rollback by redpoll" in done.out
    assert set(redpoll("explain", "fraud", "--json").json()) == {"schema", "rollout", "decisions"}


def test_a_rollout_is_started_with_reason_and_plan(night: Serving, redpoll: Run) -> None:
    """What the control is asked, and what comes next."""
    done = redpoll(
        "rollout", "start", "defects", "2.3", "--reason", "new camera", "--plan",
        '{"min_requests": 50}',
    )  # fmt: skip
    assert done.code == 0
    assert "redpoll rollout watch defects-1 --until done" in done.err
    call, asked = night.control.asked[-1]
    assert call == "start_rollout"
    assert (asked["version"], asked["reason"]) == ("2.3", "new camera")
    assert asked["plan"].min_requests == 50


@pytest.mark.parametrize("name", ["pause", "abort", "promote"])
def test_steering_asks_the_control_and_says_what_is(
    name: str, night: Serving, redpoll: Run
) -> None:
    """By the model's name as well as by the rollout's id."""
    done = redpoll("rollout", name, "churn", "--reason", "looks odd", "--json")
    assert done.code == 0
    assert done.json()["id"] == "churn-17"
    call, asked = night.control.asked[-1]
    assert (call, asked["reason"]) == (name, "looks odd")


def test_promote_goes_one_step_and_full_all_the_way(night: Serving, redpoll: Run) -> None:
    """``--full``."""
    assert redpoll("rollout", "promote", "churn", "--reason", "fine", "--json").json()["step"] >= 0
    assert night.control.asked[-1][1]["full"] is False
    redpoll("rollout", "promote", "churn-17", "--full", "--reason", "fine")
    assert night.control.asked[-1][1]["full"] is True


def test_a_stale_generation_changes_nothing(night: Serving, redpoll: Run) -> None:
    """If-Match, as the console sends it."""
    done = redpoll("rollout", "pause", "churn", "--reason", "old", "--generation", "1")
    assert done.code == 1
    assert "RP-401" in done.err
    assert not night.control.asked


def test_rollback_names_what_is_live_then(night: Serving, redpoll: Run) -> None:
    """Also after a promotion; ``--to`` is passed on."""
    done = redpoll("rollback", "churn", "--to", "v1", "--reason", "customers complain")
    assert done.code == 0
    assert "v1 is live" in done.out
    assert night.control.asked[-1][1]["to"] == "v1"


def test_versions_are_listed_with_their_state(night: Serving, redpoll: Run) -> None:
    """Role, state, backend, fingerprint."""
    done = redpoll("version", "list", "churn")
    assert "v1      live" in done.out and "v2      candidate" in done.out
    assert "sklearn:v1.pkl" in done.out


def test_a_version_is_added_with_its_settings(night: Serving, redpoll: Run) -> None:
    """KEY=VALUE as in the file; what is not so is a usage error."""
    url = "http://127.0.0.1:9/v2/models/m"
    done = redpoll("version", "add", "churn", "v3", url, "timeout_ms=250")
    assert done.code == 0, done.err
    call, asked = night.control.asked[-1]
    assert (call, asked["version"].name, asked["version"].timeout_ms) == ("add_version", "v3", 250)
    assert redpoll("version", "add", "churn", "v3", url, "250").code == 2


def test_the_plan_is_shown_with_how_long_each_step_takes_at_least(
    night: Serving, redpoll: Run
) -> None:
    """200 requests at 1 % of 42 requests/s: eight minutes."""
    done = redpoll("rollout", "plan", "churn", "--plan", '{"steps": [{"weight": 0.01}]}')
    assert done.code == 0
    step = next(line for line in done.out.splitlines() if line.strip().startswith("1 "))
    assert step.split() == ["1", "1%", "0", "s", "200", "8", "min"]


@pytest.mark.parametrize(
    "plan",
    [
        '{"steps": [{"weight": 2}]}',
        '{"steps": [{"weight": "50%"}, {"weight": "10%"}]}',
        '{"steps": [{"weight": "lots"}]}',
        '{"steps": [], "min_requests": 0}',
        '{"step": [{"weight": "10%"}]}',
        '{"advance_on": "passed"}',
        '{"gates": [{"metric": "eror_rate"}]}',
        '{"strategy": "shadow"}',
        "[]",
        "{",
    ],
)
def test_a_plan_is_refused_by_plan_as_by_start(plan: str, night: Serving, redpoll: Run) -> None:
    """What could not be started is not shown as if it could: the same words, the same code."""
    shown = redpoll("rollout", "plan", "defects", "--plan", plan)
    started = redpoll("rollout", "start", "defects", "2.3", "--reason", "new", "--plan", plan)
    assert shown.code == started.code in (1, 2)
    said, said_by_start = (
        [line for line in done.err.splitlines() if not line.startswith(("Usage", "Try"))]
        for done in (shown, started)
    )
    assert said == said_by_start and said and shown.out == ""
    as_json = redpoll("rollout", "plan", "defects", "--plan", plan, "--json").out
    assert (
        as_json
        == redpoll(
            "rollout", "start", "defects", "2.3", "--reason", "new", "--plan", plan, "--json"
        ).out
    )


def test_a_plan_is_shown_as_it_would_be_frozen(night: Serving, redpoll: Run) -> None:
    """Weights as shares, steps cut at max_weight, gates with their defaults."""
    plan = '{"steps": [{"weight": "5%", "pause": "manual"}], "gates": [{"metric": "latency"}]}'
    shown = redpoll("rollout", "plan", "defects", "--plan", plan, "--json").json()["plan"]
    redpoll("rollout", "start", "defects", "2.3", "--reason", "new", "--plan", plan)
    assert shown == json.loads(msgspec.json.encode(night.control.asked[-1][1]["plan"]))
    assert shown["steps"] == [{"weight": 0.05, "pause_s": None}]


def test_the_history_of_a_name_that_is_none_is_an_error(night: Serving, redpoll: Run) -> None:
    """With what was probably meant; not an empty list."""
    done = redpoll("rollout", "history", "chrun")
    assert done.code == 1 and done.out == ""
    assert "Did you mean 'churn" in done.err


def test_apply_sends_the_files_path_and_says_each_line(
    night: Serving, redpoll: Run, tmp_path: Path
) -> None:
    """The server reads the file itself; ``--dry-run`` is passed on."""
    (tmp_path / "redpoll.toml").write_text(TOML)
    done = redpoll("apply", "--dry-run")
    assert done.code == 0
    assert "churn" in done.out
    assert night.control.asked[-1][1]["dry_run"] is True
    document = redpoll("apply", "redpoll.toml", "--json").json()
    assert document["lines"][0]["model"] == "churn"


def test_a_file_with_errors_has_them_all_said_with_their_lines(
    night: Serving, redpoll: Run, tmp_path: Path
) -> None:
    """From the server's answer: one line a problem."""
    (tmp_path / "redpoll.toml").write_text(TOML + 'workrs = 2\ntimeout_ms = "soon"\n')
    done = redpoll("apply", "--json")
    assert done.code == 1
    assert done.json()["code"] == "RP-001"
    assert {problem["line"] for problem in done.json()["problems"]} == {3, 4}
    assert "redpoll.toml:3" in done.err and "workers" in done.err


@pytest.mark.parametrize(
    ("state", "code"), [("promoted", 0), ("rolled_back", 3), ("aborted", 1), ("superseded", 1)]
)
def test_watching_ends_with_the_rollout_and_its_exit_code(
    state: str, code: int, night: Serving, redpoll: Run
) -> None:
    """A line a Decision, then the rollout; so CI can branch."""

    def later() -> None:
        time.sleep(0.15)
        night.do(night.control.change, "churn-17", state, state=state, sentence=f"it is {state}.")

    thread = threading.Thread(target=later)
    thread.start()
    done = redpoll("rollout", "watch", "churn", "--until", "done", "--json")
    thread.join()
    assert done.code == code
    lines = done.lines()
    assert [line["decision"]["action"] for line in lines[:-1]] == ["start", "advance", state]
    assert lines[-1]["rollout"]["state"] == state
    assert all(line["schema"] == 1 for line in lines)


def test_watching_until_done_stops_where_a_person_must_act(night: Serving, redpoll: Run) -> None:
    """Exit code 5."""
    night.do(night.control.change, "churn-17", "pause", state="paused")
    done = redpoll("rollout", "watch", "churn-17", "--until", "done")
    assert done.code == 5
    assert "redpoll rollout resume" in done.err


def test_watching_no_longer_than_told_ends_with_4(night: Serving, redpoll: Run) -> None:
    """Not enough evidence yet is no failure."""
    done = redpoll("rollout", "watch", "churn", "--until", "done", "--timeout", "100ms")
    assert done.code == 4
    assert "still running" in done.err


def test_watching_survives_a_server_that_is_away_for_a_moment(night: Serving, redpoll: Run) -> None:
    """503 while control restarts."""
    night.control.error = RedpollError("RP-404", "control restarts")
    night.do(night.control.change, "churn-17", "promote", state="promoted")
    assert redpoll("rollout", "watch", "churn-17", "--until", "done").code in (0, 1)


def test_starting_and_waiting_in_one_command(night: Serving, redpoll: Run) -> None:
    """``--wait`` ends as the rollout does."""
    done = redpoll(
        "rollout", "start", "defects", "2.3", "--reason", "go on", "--wait", "--timeout", "100ms"
    )
    assert done.code == 4


def test_status_can_be_watched(night: Serving, redpoll: Run, monkeypatch) -> None:
    """It is shown again when it changed; Ctrl-C ends it in order."""
    shown = 0

    def stop_after_two(_: float) -> None:
        nonlocal shown
        shown += 1
        if shown == 2:
            raise KeyboardInterrupt
        night.do(night.control.change, "churn-17", sentence="something else.")

    monkeypatch.setattr("redpoll.cli.status.time.sleep", stop_after_two)
    done = redpoll("status", "--watch", "--json")
    assert done.code == 0
    assert len(done.lines()) == 2


@pytest.mark.parametrize(
    ("action", "waits", "code"), [("start", False, 0), ("differs", True, 3), ("failed", True, 1)]
)
def test_the_exit_code_of_apply_says_whether_the_file_got_its_way(
    action: str, waits: bool, code: int, night: Serving, redpoll: Run, tmp_path: Path, monkeypatch
) -> None:
    """3: the file still wants what was rolled back; 1: something could not be done."""

    async def apply(*_: object, **__: object) -> tuple[ApplyLine, ...]:
        return (ApplyLine(sentence="churn: so it is", model="churn", action=action, waits=waits),)

    monkeypatch.setattr(night.control, "apply", apply)
    (tmp_path / "redpoll.toml").write_text(TOML)
    assert redpoll("apply").code == code


def test_apply_can_wait_for_the_rollout_that_it_finds(
    night: Serving, redpoll: Run, tmp_path: Path
) -> None:
    """Also for one that was on its way already: CI may be run twice."""
    (tmp_path / "redpoll.toml").write_text(TOML)
    assert redpoll("apply", "--wait", "--timeout", "50ms").code == 4
    night.do(night.control.change, "churn-17", "rollback", state="rolled_back")
    assert redpoll("apply", "--wait", "--timeout", "50ms").code == 0
