"""``redpoll init``: from files to a line that predicts."""

from __future__ import annotations

import json
import pickle
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import pandas
import pytest

from redpoll import config
from redpoll.backends.probing import Found
from redpoll.cli import draft
from redpoll.cli import init as command
from redpoll.cli import sample as samples
from redpoll.cli.candidates import named
from redpoll.cli.draft import Look
from redpoll.errors import RedpollError
from tests.cli.conftest import Run
from tests.first_use import models
from tests.first_use.serving import serving, shell


def save(model: Any, path: Path) -> Any:
    """A file as people make them; the model."""
    with path.open("wb") as file:
        pickle.dump(model, file)
    return model


@pytest.mark.slow
def test_the_printed_line_predicts_what_the_model_itself_does(
    tmp_path: Path, record_property
) -> None:
    """A stranger's way: init in a folder of files, serve, and the lines as they were printed."""
    kept = {
        "churn": save(models.pipeline(), tmp_path / "churn.pkl"),
        "prices": models.line(),
        "wide": models.forest(),
    }
    joblib.dump(kept["prices"], tmp_path / "prices.joblib", compress=3)
    save(kept["wide"], tmp_path / "wide_v3.pickle")
    began = time.monotonic()
    done = shell("redpoll init", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a pickle runs code" in done.stderr
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  redpoll pre")]
    assert len(lines) == 3
    with serving(tmp_path):
        record_property("to_ready_s", round(time.monotonic() - began, 1))
        for line in lines:
            answered = shell(line, tmp_path)
            assert answered.returncode == 0, answered.stderr
            answer = json.loads(answered.stdout)
            word, given = shlex.split(line)[2:4]
            row = json.loads(given)
            data = pandas.DataFrame([row])
            found = kept[word].predict(data if word != "wide" else data.to_numpy())[0]
            expected = pytest.approx(found) if word == "prices" else found
            assert answer["prediction"] == expected
            assert (word == "prices") != ("probability" in answer)


def test_what_it_says_and_writes(redpoll: Run, tmp_path: Path) -> None:
    """Class, libraries, columns, an answer; a file that holds and is read without an error."""
    save(models.searched(), tmp_path / "churn-v3.pkl")
    done = redpoll("init", "churn-v3.pkl", "--json")
    assert done.code == 0, done.err
    said = done.json()
    (one,) = said["models"]
    assert (one["model"], one["live"]) == ("churn", "v3")
    (version,) = one["versions"]
    assert version["class"].endswith(".GridSearchCV")
    assert {"python", "sklearn", "numpy"} <= set(version["libraries"])
    assert [column["name"] for column in one["columns"]] == ["age", "plan", "income"]
    assert one["answer"]["prediction"] in ("young", "old")
    assert one["predict"].startswith('redpoll predict churn \'{"age": ')
    written = config.load(tmp_path / "redpoll.toml")
    (model,) = written.models
    assert model.inputs == {"age": "float", "plan": "category", "income": "float"}
    assert model.output is not None
    assert (model.output.type, model.output.positive) == ("binary", "young")
    text = (tmp_path / "redpoll.toml").read_text()
    assert "scikit-learn" in text
    assert '"basic" "pro" "?"' in text


def test_it_overwrites_nothing(redpoll: Run, tmp_path: Path) -> None:
    """And says so before it loads anything."""
    (tmp_path / "redpoll.toml").write_text("# mine\n")
    save(models.line(), tmp_path / "m.pkl")
    done = redpoll("init", "m.pkl")
    assert done.code == 1
    assert "RP-040" in done.err
    assert "redpoll version add" in done.err
    assert "loading" not in done.err
    assert (tmp_path / "redpoll.toml").read_text() == "# mine\n"


SAMPLE = "Plan;age;income;label\npro;;51000.5;1\nbasic;44;49000;0\n?;31;50000;1\n"


def test_a_sample_gives_types_and_a_whole_row(redpoll: Run, tmp_path: Path) -> None:
    """The first row without holes; columns of the model only; a slip gets a hint."""
    save(models.pipeline(), tmp_path / "churn.pkl")
    (tmp_path / "data.csv").write_text(SAMPLE)
    wrong = redpoll("init", "churn.pkl", "--sample", "data.csv")
    assert wrong.code == 1
    assert "'plan'" in wrong.err and "Did you mean 'Plan'?" in wrong.err
    assert not (tmp_path / "redpoll.toml").exists()
    (tmp_path / "data.csv").write_text(SAMPLE.replace("Plan", "plan"))
    done = redpoll("init", "churn.pkl", "--sample", "data.csv", "--json")
    assert done.code == 0, done.err
    (one,) = done.json()["models"]
    assert one["row"] == {"age": 44, "plan": "basic", "income": 49000.0}
    types = {column["name"]: column["type"] for column in one["columns"]}
    assert types == {"age": "int", "plan": "category", "income": "float"}


def test_a_sample_names_the_columns_of_a_model_without_names(tmp_path: Path) -> None:
    """In the file's order, as names that the configuration takes; another number is an error."""
    (tmp_path / "data.csv").write_text("Age (years),Income\n31,40000\n")
    (tmp_path / "m.pkl").write_bytes(b"")
    sample = samples.fit_count(samples.read(tmp_path / "data.csv"), 2)
    fields = draft.fields(look(str(tmp_path / "m.pkl"))._replace(sample=sample))
    assert draft.example(fields) == {"age_years": 31, "income": 40000}
    with pytest.raises(RedpollError) as caught:
        samples.fit_count(sample, 3)
    assert "fitted on 3 columns without names, and the file has 2 (Age (years), Income)" in str(
        caught.value
    )


def test_names_that_inputs_cannot_hold_are_left_to_the_model(
    redpoll: Run,
    tmp_path: Path,
) -> None:
    """`sepal length (cm)`: not declared, and the printed row still works."""
    data = models.NUMBERS.rename(columns={"age": "Age (years)"})
    model = models.KNeighborsRegressor().fit(data, models.PEOPLE.income)
    save(model, tmp_path / "prices.pkl")
    done = redpoll("init", "prices.pkl", "--json")
    assert done.code == 0, done.err
    (one,) = done.json()["models"]
    assert set(one["row"]) == {"Age (years)", "income"}
    assert one["answer"]["prediction"] > 0
    assert config.load(tmp_path / "redpoll.toml").models[0].inputs == {}


def look(path: str, *names: str) -> Look:
    """What would be found in a file of that name."""
    found = Found("m.Model", "3.11", {}, True, names=list(names))
    return Look(named([path], Path(path).parent, None)[0], found, None)


def test_several_versions_of_a_model_are_one_model(tmp_path: Path) -> None:
    """By their names; other columns make another model; no version is there twice."""
    files = ["prices_v1.pkl", "prices-2.joblib", "prices_v2.pkl", "prices.pkl", "v7.pkl", "3d.pkl"]
    for name in files:
        (tmp_path / name).write_bytes(b"")
    columns = [["a"], ["a"], ["a"], ["b"], ["a"], ["a"]]
    looks = [look(str(tmp_path / n), *c) for n, c in zip(files, columns, strict=True)]
    made = [(one.candidate.model, one.candidate.version) for one in command._apart(looks)]
    folder = tmp_path.name.replace(".", "-")[:60]
    assert made == [
        ("prices", "v1"), ("prices", "v2"), ("prices", "v3"), ("prices-2", "v1"),
        (folder, "v7"), ("model-3d", "v1"),
    ]  # fmt: skip
    written = config.load(write(tmp_path, command._apart(looks)))
    assert {one.name: len(one.versions) for one in written.models} == {
        "prices": 3, "prices-2": 1, folder: 1, "model-3d": 1
    }  # fmt: skip


def write(folder: Path, looks: list[Look], **server: str) -> Path:
    """The drafted file."""
    path = folder / "drafted.toml"
    path.write_text(draft.text(looks, folder, None, server))
    return path


def test_what_is_no_model_is_left_out_where_nobody_named_it(
    redpoll: Run,
    tmp_path: Path,
) -> None:
    """A scaler beside the model; an environment, and what is hidden, are not looked into."""
    save(models.line(), tmp_path / "prices.pkl")
    save({"scaler": 1}, tmp_path / "parts.pkl")
    hidden = tmp_path / "venv" / "lib"
    hidden.mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    save(models.line(), hidden / "other.pkl")
    done = redpoll("init", "--json")
    assert done.code == 0, done.err
    assert [one["model"] for one in done.json()["models"]] == ["prices"]
    assert "left out: parts.pkl holds a builtins.dict, which has no predict()" in done.err
    named = redpoll("init", "parts.pkl", "-c", "other.toml")
    assert (named.code, "RP-041" in named.err) == (1, True)


def test_a_wide_row_goes_to_a_file(tmp_path: Path) -> None:
    """A command line of a thousand numbers helps nobody; a file of that name is kept."""
    (tmp_path / "digits-sample.json").write_text("mine")
    told = {"model": "digits", "row": {f"x{at}": 0.5 for at in range(200)}}
    for _ in range(2):  # the second time it is there, and the same
        line = command._line(told, Path("redpoll.toml"), tmp_path)
        assert line == f"redpoll predict digits @{tmp_path}/digits-sample-2.json"
    assert (tmp_path / "digits-sample.json").read_text() == "mine"
    assert json.loads((tmp_path / "digits-sample-2.json").read_text()) == told["row"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], ["there is no model in", "redpoll init path/to/model.pkl"]),
        (["no.pkl"], ["there is no file no.pkl"]),
        (["folder"], ["without an MLmodel"]),
        (["net.keras"], ["no loader for .keras", "python:my_module:load"]),
        (["words.txt"], ["neither a pickle"]),
    ],
)
def test_where_there_is_nothing_to_begin_with_it_says_what_to_do(
    redpoll: Run,
    tmp_path: Path,
    files: list[str],
    words: list[str],
) -> None:
    """Every way of having no model."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "net.keras").write_bytes(b"PK")
    (tmp_path / "words.txt").write_text("hello")
    done = redpoll("init", *files)
    assert done.code == 1
    assert "[RP-040]" in done.err
    assert all(word in done.err for word in words), done.err
    assert not (tmp_path / "redpoll.toml").exists()


def test_taken_ports_are_not_written_down(tmp_path: Path, monkeypatch) -> None:
    """A first use must not end at somebody else's server on port 8080."""
    monkeypatch.setattr(command, "_free", lambda port: port not in (8080, 8090))
    (tmp_path / "m.pkl").write_bytes(b"")
    path = write(tmp_path, [look(str(tmp_path / "m.pkl"), "a")], **command._addresses())
    server = config.load(path).server
    assert (server.data, server.control) == ("127.0.0.1:8100", "127.0.0.1:8101")


def test_a_model_that_refuses_a_made_up_row_says_so(redpoll: Run, tmp_path: Path) -> None:
    """The file is written; exit code 1; what to do."""
    (tmp_path / "mine.py").write_text(
        "class Picky:\n    n_features_in_ = 1\n"
        "    def predict(self, data):\n        raise ValueError('only 1969 is known')\n"
    )
    (tmp_path / "picky.pkl").write_bytes(b"\x80\x04cmine\nPicky\n)\x81.")
    done = redpoll("init", "picky.pkl", "--json")
    assert done.code == 1
    assert "only 1969 is known" in done.err
    assert "--sample" in done.err
    assert (tmp_path / "redpoll.toml").exists()
    assert done.json()["models"][0]["answer"] is None


def test_the_environment_beside_the_model_is_used_and_written_down(
    redpoll: Run, tmp_path: Path
) -> None:
    """`.venv/bin/python` of the folder loads it; one without scikit-learn says what to install."""
    save(models.line(), tmp_path / "prices.pkl")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (tmp_path / ".venv" / "pyvenv.cfg").write_text(Path(sys.prefix, "pyvenv.cfg").read_text())
    (tmp_path / ".venv" / "lib").symlink_to(Path(sys.prefix) / "lib")
    done = redpoll("init", "--json")
    assert done.code == 0, done.err
    (one,) = done.json()["models"]
    assert one["versions"][0]["python"] == ".venv/bin/python"
    (model,) = config.load(tmp_path / "redpoll.toml").models
    assert model.versions[0].python == ".venv/bin/python"
    (tmp_path / ".venv" / "lib").unlink()
    bare = redpoll("init", "prices.pkl", "-c", "other.toml")
    assert (bare.code, "RP-210" in bare.err) == (1, True)
    assert ".venv/bin/python -m pip install" in bare.err


def test_a_backend_of_a_later_release_is_said_to_be_one(
    redpoll: Run, tmp_path: Path, monkeypatch
) -> None:
    """Not a key error: what can be done instead."""
    monkeypatch.setattr(command, "LATER_BACKENDS", ("sklearn",))
    save(models.line(), tmp_path / "prices.pkl")
    done = redpoll("init", "prices.pkl")
    assert done.code == 1
    assert "not built yet" in done.err and "python:my_module:load" in done.err
