"""Taking outcomes in: every rule of the reference, one line at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.catalog import Model, OutcomeSpec
from redpoll.errors import RedpollError
from redpoll.gateway.outcomes import FIELDS, RowCounts, read
from redpoll.ids import IdMaker
from tests.gateway.rig import Rig

NOW = 1_795_000_000_000_000
PID = IdMaker().prediction_id(7, NOW)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict:
    async def make() -> dict:
        folder: Path = tmp_path_factory.mktemp("rig")
        declared = (OutcomeSpec(name="redo"), OutcomeSpec(name="cancelled"))
        return dict(Rig(folder, Model(name="m", outcomes=declared)).gateway.models) | {
            "n": Rig(folder, Model(name="n"), number=8).gateway.models["n"]
        }

    return asyncio.run(make())


def take(models: dict, said: Any, counts: RowCounts | None = None) -> Any:
    return read(said, models, counts or RowCounts(), NOW, "made", "http")


def refusal(models: dict, said: Any, counts: RowCounts | None = None) -> RedpollError:
    with pytest.raises(RedpollError) as caught:
        take(models, said, counts)
    assert caught.value.status in (400, 404)
    return caught.value


def test_an_outcome_is_filed_by_its_prediction_id_alone(models: dict) -> None:
    """The id names the model; what is not said has its default."""
    filed = take(models, {"name": "redo", "prediction_id": PID})
    assert filed.model == "m"
    fact = filed.fact
    assert (fact.outcome_id, fact.prediction_id, fact.request_id, fact.row) == (
        "made",
        PID,
        None,
        0,
    )
    assert (fact.value, fact.value_text, fact.happened, fact.retracts) == (None, None, NOW, None)
    assert fact.source == "http"


def test_an_outcome_may_name_its_request_with_the_model(models: dict) -> None:
    """Instead of the prediction id; one without the other is not enough."""
    filed = take(models, {"name": "x", "request_id": "order-7", "model": "n", "outcome_id": "o-1"})
    assert (filed.model, filed.fact.request_id, filed.fact.outcome_id) == ("n", "order-7", "o-1")
    assert "request_id" in refusal(models, {"name": "x", "request_id": "order-7"}).message
    assert "prediction_id" in refusal(models, {"name": "x", "model": "n"}).message
    both = {"name": "redo", "request_id": "a", "prediction_id": PID}
    assert "one of them" in refusal(models, both).message


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [(True, 1.0, None), (False, 0.0, None), (3, 3.0, None), (0.25, 0.25, None), ("late", None, "late"),
     ("", None, ""), (None, None, None), (-1e300, -1e300, None)],
)  # fmt: skip
def test_values_are_numbers_or_texts(
    models: dict, value: Any, number: float | None, text: str | None
) -> None:
    """True is 1; a text stays a text."""
    fact = take(models, {"name": "redo", "prediction_id": PID, "value": value}).fact
    assert (fact.value, fact.value_text) == (number, text)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)), st.integers(-14 * 60, 14 * 60))
def test_happened_is_exact_to_the_microsecond_in_any_offset(moment: datetime, offset: int) -> None:
    """Z, +01:00, -05:30."""
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    written = f"{moment.isoformat()}{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    expected = datetime.fromisoformat(written).astimezone(UTC)
    fact = take(MODELS, {"name": "x", "request_id": "a", "model": "n", "happened": written}).fact
    whole = int(expected.replace(microsecond=0).timestamp())
    assert fact.happened == whole * 1_000_000 + expected.microsecond


@pytest.mark.parametrize("written", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_no_calendar_can_show_is_rejected(models: dict, written: str) -> None:
    """Once in the journal it would spoil every query that shows it."""
    with pytest.raises(RedpollError, match="between 1970 and 2100"):
        take(models, {"name": "redo", "prediction_id": PID, "happened": written})


MODELS: dict = {}


@pytest.fixture(scope="module", autouse=True)
def _share(models: dict) -> None:
    MODELS.update(models)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": None}, "`name`"), ({"name": "Redo"}, "`name`"), ({"name": 3}, "`name`"),
        ({"name": "redoo"}, "'redo'"), ({"nam": "x"}, "'name'"), ({"arm": "candidate"}, "'arm'"),
        ({"unit": "u"}, "'unit'"), ({"prediction_id": "x"}, "prediction id"), ({"prediction_id": 3}, "prediction_id"),
        ({"prediction_id": PID.upper()}, "prediction id"), ({"row": -1}, "`row`"), ({"row": 1.0}, "`row`"),
        ({"row": True}, "`row`"), ({"row": 2**31}, "`row`"), ({"value": [1]}, "`value`"), ({"value": {}}, "`value`"),
        ({"value": 10**400}, "too large"), ({"happened": "2026-11-24T03:04:09"}, "offset"),
        ({"happened": "yesterday"}, "offset"), ({"happened": 7}, "offset"), ({"outcome_id": ""}, "outcome_id"),
        ({"outcome_id": "x" * 600}, "outcome_id"), ({"retracts": 3}, "retracts"), ({"model": "n"}, "is of m"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_rejected_in_words(models: dict, change: dict, word: str) -> None:
    """Arm, unit and groups come from the request, never from the sender."""
    assert word in refusal(models, {"name": "redo", "prediction_id": PID} | change).message


def test_unknown_models_are_404(models: dict) -> None:
    """By name with the nearest one; by the number in an id."""
    assert refusal(models, {"name": "x", "request_id": "a", "model": "mm"}).code == "RP-102"
    other = IdMaker().prediction_id(9, NOW)
    assert refusal(models, {"name": "x", "prediction_id": other}).code == "RP-102"


def test_row_may_be_left_out_only_where_the_request_had_one(models: dict) -> None:
    """Where several rows are remembered it must be said, and be one of them."""
    counts = RowCounts()
    counts.note("m", PID, "order-7", 3)
    said = {"name": "redo", "prediction_id": PID}
    assert "3 rows" in refusal(models, said, counts).message
    assert "0 to 2" in refusal(models, said | {"row": 3}, counts).message
    assert take(models, said | {"row": 2}, counts).fact.row == 2
    by_request = {"name": "redo", "request_id": "order-7", "model": "m"}
    assert "3 rows" in refusal(models, by_request, counts).message
    assert take(models, by_request | {"request_id": "order-8"}, counts).fact.row == 0


def test_a_retraction_names_what_it_takes_back(models: dict) -> None:
    """It is an outcome like any other: facts are only ever appended."""
    said = {"name": "redo", "prediction_id": PID, "retracts": "o-1", "outcome_id": "o-2"}
    assert take(models, said).fact.retracts == "o-1"


def test_the_memory_of_row_counts_is_bounded() -> None:
    """The oldest are forgotten."""
    counts = RowCounts()
    for n in range(70_000):
        counts.note("m", f"p{n}", f"r{n}", 2)
    assert counts.get("m", "p0", None) is None
    assert counts.get("m", "p69999", None) == counts.get("m", None, "r69999") == 2


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.none(), max_size=1)
)


@given(
    st.dictionaries(
        st.sampled_from(FIELDS) | st.text(max_size=3), ODD | st.sampled_from(["m", "redo", PID])
    )
    | ODD
)
def test_whatever_is_said_becomes_a_fact_or_a_sentence(said: Any) -> None:
    """Never a crash."""
    try:
        filed = take(MODELS, said)
    except RedpollError as error:
        assert error.status in (400, 404)
        return
    assert filed.model in MODELS
