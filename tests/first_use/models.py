"""Fitted models of all kinds, as people keep them in files."""

from __future__ import annotations

from typing import Any

import numpy
import pandas
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

random = numpy.random.default_rng(7)
ROWS = 120
PLANS = ["?", "basic", "pro"]
PEOPLE = pandas.DataFrame(
    {
        "age": random.integers(18, 80, ROWS),
        "plan": random.choice(PLANS, ROWS),
        "income": random.normal(50_000, 5_000, ROWS),
        "note": random.choice(["a nice long day", "awful grey weather"], ROWS),
    }
)
OLD = (PEOPLE.age > 45).astype(int)
NUMBERS = PEOPLE[["age", "income"]]


def columns() -> Any:
    """A preprocessing as most pipelines have one; an unknown plan is an error."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer((OneHotEncoder(), ["plan"]), (numbers, ["age", "income"]))


def pipeline() -> Any:
    """Names, a category, numbers; classes 0 and 1."""
    return make_pipeline(columns(), LogisticRegression()).fit(PEOPLE.drop(columns="note"), OLD)


def searched() -> Any:
    """The same, found by a search; classes are texts."""
    search = GridSearchCV(make_pipeline(columns(), LogisticRegression()), {}, cv=2)
    return search.fit(PEOPLE.drop(columns="note"), OLD.map({0: "young", 1: "old"}))


def calibrated() -> Any:
    """Classes are truth values."""
    inner = make_pipeline(columns(), LogisticRegression())
    return CalibratedClassifierCV(inner, cv=2).fit(PEOPLE.drop(columns="note"), OLD == 1)


def boosted() -> Any:
    """Categories of pandas."""
    data = PEOPLE[["age", "plan", "income"]].assign(plan=PEOPLE.plan.astype("category"))
    return HistGradientBoostingClassifier(max_iter=5).fit(data, OLD)


def forest() -> Any:
    """An array without names, three classes that are texts."""
    labels = numpy.array(["low", "middle", "high"])[random.integers(0, 3, ROWS)]
    return RandomForestClassifier(5).fit(NUMBERS.to_numpy(), labels)


def neighbours() -> Any:
    """A regression with names."""
    return KNeighborsRegressor().fit(NUMBERS, PEOPLE.income)


def line() -> Any:
    """A regression that remembers a range."""
    return make_pipeline(MinMaxScaler(), LinearRegression()).fit(NUMBERS, PEOPLE.income)


def ordinal() -> Any:
    """Categories as numbers, the rest passed on."""
    part = make_column_transformer((OrdinalEncoder(), ["plan"]), remainder="passthrough")
    return make_pipeline(part, LinearRegression()).fit(PEOPLE.drop(columns="note"), PEOPLE.income)


def notes() -> Any:
    """Texts in a column."""
    part = make_column_transformer((TfidfVectorizer(), "note"), (StandardScaler(), ["age"]))
    return make_pipeline(part, LogisticRegression()).fit(PEOPLE[["note", "age"]], OLD)


def texts() -> Any:
    """A list of texts."""
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(PEOPLE.note, OLD)
