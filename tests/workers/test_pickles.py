"""Which scikit-learn wrote a file is read without running it, whatever form the file has."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.base
from msgspec.structs import replace
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from redpoll.backends import pickles
from redpoll.backends.worker import pickled
from redpoll.catalog import Version
from redpoll.errors import RedpollError
from tests.workers.rig import Worker, output

X = np.random.default_rng(1).normal(size=(50, 3))
FITTED = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, X[:, 0] > 0)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle_is_read(protocol: int) -> None:
    """From 2 on; older ones say nothing, and the worker finds out."""
    assert pickles.written_with(pickle.dumps(FITTED, protocol)) == sklearn.__version__


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("zlib", 9)])
def test_joblib_files_are_read_compressed_or_not(tmp_path: Path, compress: Any) -> None:
    """In every compression that Python brings."""
    joblib.dump(FITTED, tmp_path / "m", compress=compress)
    assert pickles.written_with((tmp_path / "m").read_bytes()) == sklearn.__version__


@pytest.mark.parametrize("raw", [b"", b"x", b"\x1f\x8bno", pickle.dumps({"a": 1}), b"\x80" * 99])
def test_what_does_not_say_is_not_known(raw: bytes) -> None:
    """And never an error."""
    assert pickles.written_with(raw) is None


@pytest.mark.parametrize("raw", [b"not a pickle", b"PK\x03\x04zip", b"\x80\x09x", b"(", b"{}"])
def test_what_is_no_pickle_is_refused_before_a_worker_is_started(
    tmp_path: Path, raw: bytes
) -> None:
    """With what it begins with; a pickle of any protocol is not."""
    (tmp_path / "m.pkl").write_bytes(raw)
    version = Version(name="v1", backend="sklearn:m.pkl", folder=str(tmp_path))
    with pytest.raises(RedpollError, match="no pickle or joblib file: it begins with"):
        pickles.check(version, tmp_path / "m.pkl")
    assert all(pickled.begins(pickle.dumps(FITTED, protocol)) for protocol in range(6))


def test_another_version_is_refused_with_both_named(tmp_path: Path, monkeypatch: Any) -> None:
    """What wrote it, what would load it, and the two ways out."""
    path = tmp_path / "m.pkl"
    version = Version(name="v1", backend="sklearn:m.pkl", folder=str(tmp_path))
    path.write_bytes(pickle.dumps(FITTED))
    pickles.check(version, path)
    monkeypatch.setattr(sklearn.base, "__version__", "0.99.0")
    path.write_bytes(pickle.dumps(FITTED))
    for python in (None, sys.executable, sys.executable.replace("/bin/", "/bin/../bin/")):
        named = Version(name="v1", backend="sklearn:m.pkl", folder="/", python=python)
        with pytest.raises(RedpollError, match=r"0\.99\.0") as caught:
            pickles.check(named, path)
        assert caught.value.code == "RP-003"
        assert sklearn.__version__ in caught.value.message


def test_where_a_version_is_not_known_nothing_is_said(tmp_path: Path) -> None:
    """No file, a pickle of something else, another kind of backend: the worker will tell."""
    path = tmp_path / "m.pkl"
    version = Version(name="v1", backend="sklearn:m.pkl", folder=str(tmp_path))
    pickles.check(version, path)
    path.write_bytes(pickle.dumps({"no": "version"}))
    pickles.check(version, path)
    pickles.check(Version(name="v1", backend="python:m:load"), path)
    pickles.check(Version(name="v1", backend="http://h/v2/models/m", python="/nowhere"), path)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_the_modules_that_a_file_needs_are_read_in_every_protocol(protocol: int) -> None:
    """Also a pickle in which the bytes of a text look like a class."""
    whole = [FITTED, "cnothing\nhere\n", b"cnothing\nhere\n"]
    named = pickled.classes(pickle.dumps(whole, protocol))
    assert "LogisticRegression" in named["sklearn.linear_model._logistic"]
    assert "nothing" not in named


SCRIPT = """
import pickle
import numpy
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

class Double(TransformerMixin, BaseEstimator):
    def fit(self, data, labels=None):
        return self
    def transform(self, data):
        return numpy.asarray(data) * 2

def main():
    model = make_pipeline(Double(), LogisticRegression()).fit([[0.0], [1.0]], [0, 1])
    with open("m.pkl", "wb") as file:
        pickle.dump(model, file)

if __name__ == "__main__":
    main()
"""


def test_a_class_of_the_script_that_saved_the_file_is_found_in_a_side_file(tmp_path: Path) -> None:
    """Without it the message says which class, and which file here to name; with it, it answers."""
    (tmp_path / "fit.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "fit.py"], cwd=tmp_path, check=True, timeout=60)
    path = tmp_path / "m.pkl"
    version = Version(name="v1", backend="sklearn:m.pkl", folder=str(tmp_path))
    with pytest.raises(
        RedpollError, match=r'`Double` of `__main__`.*files = \["fit.py"\]'
    ) as caught:
        pickles.check(version, path)
    assert caught.value.code == "RP-210"
    lost = Worker(tmp_path, "sklearn:m.pkl", wait=False)
    try:
        assert lost.process.wait(30) == 3
    finally:
        lost.end()
    assert 'files = ["fit.py"]' in lost.stderr()
    pickles.check(replace(version, files=("fit.py",)), path)
    worker = Worker(tmp_path, "sklearn:m.pkl", files=("fit.py",))
    try:
        matrix = {"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [0.0, 9.0]}
        status, answer = worker.infer([matrix])
    finally:
        worker.end()
    assert (status, output(answer, "prediction")["data"]) == (200, [0, 1])
