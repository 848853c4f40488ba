"""What a fitted estimator gives away about its columns."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy
import pandas
import pytest
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from redpoll.backends.probe.estimators import describe
from redpoll.backends.probing import probe
from redpoll.errors import RedpollError
from tests.first_use import models

NAMED = ["pipeline", "searched", "calibrated", "boosted", "neighbours", "line", "ordinal", "notes"]


@pytest.mark.parametrize("name", NAMED)
def test_a_row_of_what_it_remembers_is_a_row_that_it_answers(name: str) -> None:
    """Names, types and values of the description are enough to ask the model."""
    model = getattr(models, name)()
    found = describe(model)
    known = {
        column: (one["type"], (one["values"] or [1.0])[0])
        for column, one in zip(found["names"], found["columns"], strict=True)
    }
    assert list(known) == list(model.feature_names_in_)
    row = pandas.DataFrame({column: [value] for column, (_, value) in known.items()})
    assert len(model.predict(row)) == 1
    for column in found["names"]:
        wanted = {"plan": "category", "note": "text"}.get(column, "float")
        assert known[column][0] == wanted or known[column][0] == ""


def test_values_are_those_of_the_data() -> None:
    """The middle category, a mean within the data, also through a search and a calibration."""
    for name in ("pipeline", "searched", "calibrated", "boosted"):
        found = describe(getattr(models, name)())
        by_name = dict(zip(found["names"], found["columns"], strict=True))
        assert by_name["plan"]["values"] == ["basic", "pro", "?"], name
        assert 18 <= by_name["age"]["values"][0] <= 80, name
        assert 30_000 < by_name["income"]["values"][0] < 70_000, name


def test_a_model_without_names_tells_how_many_columns_it_takes() -> None:
    """And where its trees divide."""
    found = describe(models.forest())
    assert (found["names"], found["count"]) == ([], 2)
    assert 18 <= found["columns"][0]["values"][0] <= 80
    assert found["classes"] == ["high", "low", "middle"]
    assert found["probability"]


def test_a_list_of_texts_is_told_from_a_matrix() -> None:
    """A vectorizer as the first step takes texts; its words make an example."""
    found = describe(models.texts())
    assert (found["text"], found["count"]) == (True, 1)
    assert found["columns"][0]["type"] == "text"
    assert models.texts().predict([found["columns"][0]["values"][0]]).shape == (1,)


def test_a_hostile_estimator_cannot_break_the_probe() -> None:
    """Attributes under well-known names may hold anything, and properties may raise anything."""

    class Odd(BaseEstimator):
        statistics_ = "nothing"
        categories_ = 7
        tree_ = object()
        n_features_in_ = 2
        bin_edges_ = [[], []]

        @property
        def classes_(self) -> None:
            raise RuntimeError("not fitted")

        def predict(self, data: object) -> object:
            return data

    found = describe(Odd())
    assert (found["count"], found["classes"], found["predicts"]) == (2, None, True)


def test_a_transformer_is_told_from_a_model() -> None:
    """It has no predict()."""
    assert not describe(StandardScaler().fit(numpy.ones((3, 1))))["predicts"]
    assert not describe({"model": 1})["predicts"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of all kinds of trouble."""
    path = tmp_path_factory.mktemp("probed")
    (path / "prints.py").write_text(
        "import sys\nprint('x' * 300000)\nsys.stderr.write('y' * 300000)\n"
        "class Model:\n    def predict(self, data):\n        return data\n"
    )
    (path / "prints.pkl").write_bytes(b"\x80\x04cprints\nModel\n)\x81.")
    (path / "lost.pkl").write_bytes(b"\x80\x04c__main__\nScorer\n.")
    (path / "gone.pkl").write_bytes(b"\x80\x04cno_such_module\nThing\n.")
    (path / "exits.pkl").write_bytes(b"\x80\x04cos\n_exit\n(K\x05tR.")
    (path / "raises.pkl").write_bytes(b"\x80\x04csys\nexit\n(K\x05tR.")
    (path / "cut.pkl").write_bytes(b"\x80\x04}q\x00(")
    (path / "pointer.pkl").write_text("version https://git-lfs.github.com/spec/v1\n")
    return path


def look(folder: Path, name: str) -> RedpollError:
    with pytest.raises(RedpollError) as caught:
        probe("sklearn", folder / name, folder, sys.executable)
    assert caught.value.code == "RP-041"
    return caught.value


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lost.pkl", ["'Scorer'", "move Scorer to a module of its own", "no code"]),
        ("gone.pkl", ["no_such_module", "pip install no_such_module", "--python"]),
        ("exits.pkl", ["ended (status 5)"]),
        ("raises.pkl", ["SystemExit"]),
        ("cut.pkl", ["EOFError", "cut in copying"]),
        ("pointer.pkl", ["Git LFS"]),
    ],
)
def test_what_cannot_be_loaded_says_why_and_what_to_do(
    folder: Path, name: str, words: list[str]
) -> None:
    """Every trouble that a file can be in."""
    message = look(folder, name).message
    for word in words:
        assert word in message, message


def test_a_module_that_prints_a_lot_is_heard_through(folder: Path) -> None:
    """Its output goes nowhere near the answer, and fills no pipe."""
    found = probe("sklearn", folder / "prints.pkl", folder, sys.executable)
    assert (found.kind, found.predicts) == ("prints.Model", True)
    assert found.python == ".".join(map(str, sys.version_info[:3]))


def test_a_python_that_is_none_is_named(folder: Path) -> None:
    """With the way to name another."""
    with pytest.raises(RedpollError) as caught:
        probe("sklearn", folder / "prints.pkl", folder, "/no/python")
    assert "--python" in caught.value.message
