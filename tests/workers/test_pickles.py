"""Which scikit-learn wrote a file is read without running it, whatever form the file has."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.base
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from redpoll.backends import pickles
from redpoll.catalog import Version
from redpoll.errors import RedpollError

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
    """No file, no such interpreter, another kind of backend: the worker will tell."""
    path = tmp_path / "m.pkl"
    version = Version(name="v1", backend="sklearn:m.pkl", python="/nowhere/python")
    pickles.check(version, path)
    path.write_bytes(pickle.dumps(FITTED))
    pickles.check(version, path)
    pickles.check(Version(name="v1", backend="python:m:load"), path)
