"""Three real models for the storm: a stable, one as good, and one that raises for some rows."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CONFIG = """\
data_dir = "data"
[server]
data = "127.0.0.1:{data}"
control = "127.0.0.1:{control}"
log = {{level = "warning"}}
drain = "5s"

[models.m]
live = "v1"
unit = "request"
inputs = {{a = "float", b = "float", plan = "category"}}
output = {{name = "churn", type = "binary", score = "probability", positive = 1}}

[models.m.versions]
v1 = "python:served:load_v1"
v2 = "python:served:load_v2"
v3 = "python:served:load_v3"

[models.m.rollout]
steps = [{{weight = "20%", pause = "500ms"}}, {{weight = "50%", pause = "500ms"}}]
min_requests = 60
keep_warm = "1s"
[[models.m.rollout.gates]]
metric = "error_rate"
"""

# A model that was fitted for real, behind a look-up such as people write it.
SERVED = '''\
"""Two fitted pipelines, and a third version whose table lacks a plan."""

import pickle
from pathlib import Path

import numpy

PRICES = {"basic": 1.0, "pro": 2.0, "max": 3.0}


def _load(name, prices):
    pipeline = pickle.loads((Path(__file__).parent / name).read_bytes())

    def predict(columns):
        price = numpy.array([prices[plan] for plan in columns["plan"]])
        data = numpy.column_stack([columns["a"], columns["b"], price])
        share = pipeline.predict_proba(data)[:, 1]
        return {"churn": (share > 0.5).astype(int), "probability": share}

    return predict


def load_v1():
    return _load("v1.pkl", PRICES)


def load_v2():
    return _load("v2.pkl", PRICES)


def load_v3():
    return _load("v2.pkl", {name: price for name, price in PRICES.items() if name != "max"})
'''
PLANS = ("basic",) * 12 + ("pro",) * 7 + ("max",)  # 5 % of the rows raise in v3


def write(folder: Path, data_port: int, control_port: int) -> Path:
    """Fit the models, write everything into ``folder`` and return the configuration's path."""
    random = np.random.default_rng(5)
    data = random.normal(size=(400, 3))
    labels = (data @ [1.0, -2.0, 0.5] + random.normal(size=400) > 0).astype(int)
    for name, rows in (("v1", 100), ("v2", 400)):
        fitted = make_pipeline(StandardScaler(), LogisticRegression())
        fitted.fit(data[:rows], labels[:rows])
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(fitted))
    (folder / "served.py").write_text(SERVED)
    path = folder / "redpoll.toml"
    path.write_text(CONFIG.format(data=data_port, control=control_port))
    return path
