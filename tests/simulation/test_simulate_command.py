"""Scenarios: what a file may say, and what the command answers."""

from __future__ import annotations

import json

import pytest

from redpoll.errors import RedpollError
from redpoll.testing.simulate import main, outcomes, simulate
from redpoll.testing.simulate_scenario import parse

WORSE = {"plan": [[0.1, 3000]], "stable": {"rate": 0.01}, "candidate": {"rate": 0.1}}


def test_the_same_seed_gives_the_same_runs_and_another_seed_others():
    """A seed is a bug report."""
    first, again, other = (simulate(WORSE, 200, seed) for seed in (4, 4, 5))
    assert first == again
    assert first["fail"] != other["fail"]


def test_runs_beyond_a_batch_are_other_runs():
    """1,500 runs are a thousand and five hundred more, each with random numbers of its own."""
    found = outcomes(parse(WORSE), 1500, 1).failed
    assert found.size == 1500
    assert found[:500].tolist() != found[1000:].tolist()


def test_json_has_the_keys_that_others_rely_on(tmp_path, capsys):
    """One document on stdout; the plan may use floats where counts stand."""
    file = tmp_path / "scenario.json"
    scenario = WORSE | {"users": None, "plan": [[0.1, 2000.0]], "gate": {"margin_ratio": 1.0}}
    del scenario["users"]
    file.write_text(json.dumps(scenario))
    assert main([str(file), "--runs", "50", "--seed", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"runs", "seed", "fail", "pass", "undecided"}
    assert set(result["fail"]) == set(result["pass"]) == {"share", "p05", "median", "p95"}
    assert result["fail"]["share"] == 1.0
    assert result["pass"] == {"share": 0.0, "p05": None, "median": None, "p95": None}
    assert result["undecided"] == {"share": 0.0}
    assert main([str(file), "--runs", "50"]) == 0
    assert capsys.readouterr().out.startswith("50 runs: fail 100.0% (half by ")


def test_every_part_of_the_documented_scenario_but_slices_is_understood():
    """As it stands in the reference, the parts that exclude each other aside."""
    scenario = {
        "plan": [[0.02, 40], [0.08, 160], [0.2, 400]],
        "alpha": 0.05,
        "gate": {"metric": "error_rate", "margin": 0.0},
        "stable": {"rate": 0.01},
        "candidate": {"rate": 0.02, "from": 200},
        "both": {"rate": 0.08, "from": 300, "until": 330},
        "wave": {"amplitude": 0.6, "period": 90},
    }
    reporting = {"requests_per_second": 400, "stable_failures_late_s": 8}
    users = {
        "count": 150,
        "requests": 4000.0,
        "mean": 0.012,
        "sd": 0.03,
        "ratio": 1.0,
        "extra": 0.0,
        "since": 0.0,
    }
    latency = {"sd": 0.5, "factor": 1.1, "tail_share": 0.0, "tail_factor": 1.0}
    shares = {"plan": [[0.02, 0.5], [0.2, 0.5]]}
    for extra in (
        {},
        {"reporting": reporting},
        {"users": users} | shares,
        {"users": users, "gate": {"margin": 0.01}} | shares,
        {"latency": latency, "gate": {"metric": "latency", "margin_ratio": 1.2}},
    ):
        assert simulate(scenario | extra, 5, 1)["runs"] == 5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"plans": []}, "Did you mean 'plan'"),
        ({"slices": {}}, "not built yet"),
        ({"gate": {"metric": "error"}}, "Did you mean 'error_rate'"),
        ({"gate": {"margni": 1}}, "margni"),
        ({"plan": []}, "empty"),
        ({"plan": [[1.0, 100]]}, "between 0 and 1"),
        ({"plan": [[0.1, 0]]}, "positive amount"),
        ({"plan": "all"}, "cannot be read"),
        ({"alpha": 0}, "alpha"),
        ({"stable": {"rate": 1.5}}, "shares"),
        ({"wave": {"amplitude": 2, "period": 5}}, "amplitude"),
        ({"users": {"count": 5, "requests": 10, "mean": 0.1, "sd": 0.5}}, "so wide"),
    ],
)
def test_a_scenario_that_is_wrong_says_what_to_write(change, says):
    """RP-001; unknown keys with the nearest name."""
    with pytest.raises(RedpollError, match=says) as error:
        simulate(WORSE | change, 5)
    assert error.value.code == "RP-001"


def test_a_wrong_file_ends_the_command_with_2_and_says_so_on_stderr(tmp_path, capsys):
    """Not JSON, not there, no runs."""
    file = tmp_path / "scenario.json"
    file.write_text("{")
    assert main([str(file)]) == 2
    assert "no JSON" in capsys.readouterr().err
    assert main([str(tmp_path / "none.json")]) == 2
    file.write_text(json.dumps(WORSE))
    assert main([str(file), "--runs", "0"]) == 2
    assert capsys.readouterr().out == ""
