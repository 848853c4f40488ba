"""What docs/workers.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from redpoll.backends.worker.models import load
from redpoll.backends.worker.tensors import Call

PAGE = Path(__file__).parents[2] / "docs" / "workers.md"


def test_the_pages_model_answers(tmp_path: Path, monkeypatch) -> None:
    """With the outputs that it names, one value a row."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "churn_model_of_the_page.py").write_text(source)
    (tmp_path / "weights.json").write_text('{"age": 1.0, "bias": -50.0}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = load(
        {
            "model": {"name": "churn", "inputs": {"age": "int"}},
            "version": {"backend": "python:churn_model_of_the_page:load", "folder": str(tmp_path)},
        }
    )
    answer = model.predict(Call(2, {"age": np.array([40, 60])}))
    assert answer["churn"].tolist() == [False, True]
    assert answer["probability"].shape == (2,)
