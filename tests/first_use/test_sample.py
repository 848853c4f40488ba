"""Types and rows of ``--sample``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.cli import sample
from redpoll.errors import RedpollError


def read(folder: Path, text: str) -> sample.Sample:
    path = folder / "data.csv"
    path.write_bytes(text.encode())
    return sample.read(path)


@pytest.mark.parametrize(
    ("values", "kind", "value"),
    [
        (["1", "2"], "int", 1),
        (["1", "2.5"], "float", 1.0),
        (["1e3", "NaN"], "float", 1000.0),
        (["007", "12"], "float", 7.0),
        (["true", "FALSE"], "bool", True),
        (["2024-01-01", "2024-01-02"], "category", "2024-01-01"),
        (["a long note here", "and another one here"], "text", "a long note here"),
        (["99999999999999999999", "1"], "float", 1e20),
        (["inf", "1"], "category", "inf"),
    ],
)
def test_types_are_the_narrowest_that_hold_all_values(
    tmp_path: Path, values: list[str], kind: str, value: object
) -> None:
    """Empty ones aside."""
    found = read(tmp_path, "x,y\n" + "".join(f"{one},1\n" for one in values))
    assert (found.types["x"], found.row["x"]) == (kind, value)


def test_quotes_lines_and_other_delimiters(tmp_path: Path) -> None:
    """As spreadsheets write them, with a byte order mark and Windows' line ends."""
    found = read(tmp_path, '\ufeffa;b\r\n"x; y\nz";3\r\n')
    assert found.row == {"a": "x; y\nz", "b": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no row below its header"),
        ("a,b\n", "no row below its header"),
        ("a,a\n1,2\n", "empty or equal names"),
        ("a,b\n1\n", "no row has as many values"),
    ],
)
def test_what_is_no_sample_says_why(tmp_path: Path, text: str, words: str) -> None:
    """RP-043, with what to do."""
    with pytest.raises(RedpollError) as caught:
        read(tmp_path, text)
    assert caught.value.code == "RP-043"
    assert words in caught.value.message


@given(st.text(max_size=40))
def test_any_header_becomes_a_name_that_inputs_take(words: str) -> None:
    """``[a-z][a-z0-9_]*``."""
    name = sample.as_name(words)
    assert sample.FIELD_NAME.match(name)
