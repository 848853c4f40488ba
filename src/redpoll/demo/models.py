"""The demo's four versions, trained for real, with faults such as people make.

========  ===========================================================================
v1        logistic regression on 1,500 people: the stable
v2        boosted trees on these and 1,000 more: better
v3        v2 after "cleaning": people with an unknown job were dropped from training, so
          every such person raises when asked about (a category never seen in training)
v4        v2 with a feature looked up over the network on every request
========  ===========================================================================

All encoders raise on a category that training did not see, as scikit-learn's does by default: that
is where v1's and v2's half per cent of failures comes from.
"""

from __future__ import annotations

import pickle
import random
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from redpoll.demo import adult
from redpoll.errors import RedpollError

TRAIN_ROWS = 1500
MORE_TRAIN_ROWS = 2500  # v2's and v3's, the first 1,500 among them
SEED = 19  # of the sample and the trees: the same models on every machine

CONFIG = """\
# Written by `redpoll demo`. Ports are free ones: see data/run/server.json while it runs.
data_dir = "data"

[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
log = {{level = "warning"}}

[models.income]
live = "v1"
unit = "user"                        # a user stays with one version while a rollout runs
unit_from = "header:redpoll-unit"
inputs = {inputs}
output = {{name = "income", type = "binary", score = "probability", positive = ">50K"}}

[models.income.versions]
v1 = "sklearn:v1.pkl"
v2 = "sklearn:v2.pkl"
v3 = "sklearn:v3.pkl"

[models.income.versions.v4]
backend = "python:with_lookup:load"
files = ["v2.pkl"]

[models.income.outcomes.income]      # the truth, some seconds later
window = "1h"
label = true

[models.income.rollout]
steps = [
  {{weight = "20%", pause = "2s"}},
  {{weight = "35%", pause = "2s"}},
  {{weight = "50%", pause = "2s"}},
]
min_requests = {min_requests}

[[models.income.rollout.gates]]
metric = "error_rate"

[[models.income.rollout.gates]]
metric = "latency"
margin_ratio = 1.5
"""

LOOKUP = '''\
"""v4: v2 plus one more feature, fetched from the feature service on every request."""

import pickle
import random
import time
from pathlib import Path

import pandas


def regional_wage_index(occupations):
    """Ask the feature service: one round trip, log-normal around 50 ms, now and then 100."""
    time.sleep(random.lognormvariate(-3.0, 0.4))
    return [1.0 for _ in occupations]


def load():
    """Return the function that redpoll's worker calls for every request."""
    pipeline = pickle.loads((Path(__file__).parent / "v2.pkl").read_bytes())
    columns_of_training = list(pipeline.feature_names_in_)

    def predict(columns):
        regional_wage_index(columns["occupation"])  # not used by the model yet, but fetched
        frame = pandas.DataFrame({name: columns[name] for name in columns_of_training})
        probability = pipeline.predict_proba(frame)
        income = pipeline.classes_[probability.argmax(axis=1)]
        return {"income": income, "probability": probability[:, 1]}

    return predict
'''


class Trained(NamedTuple):
    """What training gave, as shares of the held-out people."""

    version: str
    wrong: float  # misclassified, among those that could be answered
    raises: float  # cannot be answered at all
    seconds: float


def write(folder: Path, train: list[adult.Row], held_out: list[adult.Row]) -> list[Trained]:
    """Train v1, v2 and v3 into ``folder``, write v4's module, and return what each is worth."""
    more = random.Random(SEED).sample(train, MORE_TRAIN_ROWS)
    cleaned = [p for p in more if "?" not in (p["workclass"], p["occupation"])]
    trained = [
        _fit(folder, "v1", more[:TRAIN_ROWS], held_out, trees=False),
        _fit(folder, "v2", more, held_out, trees=True),
        _fit(folder, "v3", cleaned, held_out, trees=True),
    ]
    (folder / "with_lookup.py").write_text(LOOKUP)
    return trained


def write_config(folder: Path, min_requests: int) -> Path:
    """Write ``redpoll.toml`` into ``folder`` and return its path."""
    inputs = "{" + ", ".join(f'{name} = "{kind}"' for name, kind in adult.INPUTS.items()) + "}"
    path = folder / "redpoll.toml"
    path.write_text(CONFIG.format(inputs=inputs, min_requests=min_requests))
    return path


def _fit(
    folder: Path, version: str, people: list[adult.Row], held_out: list[adult.Row], *, trees: bool
) -> Trained:
    pipeline = _pipeline(trees)
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    begun = time.perf_counter()
    # Beside other busy processes BLAS threads wait for each other longer than they compute.
    with threadpool_limits(1):
        pipeline.fit(_frame(people), [p[adult.LABEL] for p in people])
    seconds = time.perf_counter() - begun
    with (folder / f"{version}.pkl").open("wb") as file:
        pickle.dump(pipeline, file)
    seen = {name: {p[name] for p in people} for name in adult.CATEGORIES}
    known = [p for p in held_out if all(p[name] in seen[name] for name in adult.CATEGORIES)]
    guesses = pipeline.predict(_frame(known))
    wrong = sum(g != p[adult.LABEL] for g, p in zip(guesses, known, strict=True))
    return Trained(version, wrong / len(known), 1 - len(known) / len(held_out), seconds)


def _frame(people: list[adult.Row]) -> Any:
    import pandas

    return pandas.DataFrame(people, columns=list(adult.INPUTS))


def _pipeline(trees: bool) -> Any:
    try:
        from sklearn.compose import make_column_transformer
        from sklearn.ensemble import GradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
    except ImportError as error:
        raise RedpollError(
            "RP-604",
            f"the demo trains with scikit-learn and pandas ({error}); "
            f"run: {Path(sys.executable).name} -m pip install 'redpoll[sklearn]'",
        ) from None
    if trees:
        encode = make_column_transformer(
            (OrdinalEncoder(), list(adult.CATEGORIES)), remainder="passthrough"
        )
        return make_pipeline(encode, GradientBoostingClassifier(n_estimators=60, random_state=SEED))
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False), list(adult.CATEGORIES)),
        (StandardScaler(), list(adult.NUMBERS)),
    )
    return make_pipeline(encode, LogisticRegression(max_iter=1000))
