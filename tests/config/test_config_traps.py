"""The traps of TOML: versions that look like numbers, dots, quotes, keys given twice."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from redpoll.config import ConfigError, Problem, parse
from redpoll.config.scan import scan
from redpoll.config.syntax import read_toml
from redpoll.errors import RedpollError

from .test_load_config import EVERYTHING

MODEL = '[models.churn.versions.v1]\nbackend = "sklearn:m"\n'


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "redpoll.toml")
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("written", "says"),
    [("1.10", 'write live = "1.10"'), ("3", 'write live = "3"'), ("1_000", 'live = "1_000"'),
     ("2026-11-24", 'live = "2026-11-24"'), ("true", 'live = "true"')],
)  # fmt: skip
def test_a_version_that_looks_like_a_number_must_be_quoted(written: str, says: str) -> None:
    """``1.10`` is 1.1 to TOML: what was written is quoted back, not what TOML made of it."""
    text = f"[models.churn]\nlive = {written}\n{MODEL}"
    (problem,) = problems(text)
    assert says in problem.message
    assert (problem.line, problem.key) == (2, "models.churn.live")


def test_one_point_ten_is_said_to_be_one_point_one() -> None:
    """The trap is explained, not only refused."""
    (problem,) = problems(f"[models.churn]\nlive = 1.10 # now\n{MODEL}")
    assert "1.10 is 1.1 to TOML" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        '[models.churn.versions.1.10]\nbackend = "sklearn:m"\n',
        '[models.churn.versions]\n1.10 = "sklearn:m"\n',
        '[models.churn]\nversions.1.10 = "sklearn:m"\n',
        '[models.churn]\nversions.1.10.backend = "sklearn:m"\n',
        '[models.churn.versions.1]\n10 = "sklearn:m"\n',
    ],
)
def test_an_unquoted_dot_in_a_version_is_explained(text: str) -> None:
    """``[models.churn.versions.1.10]`` is a table 10 within version 1."""
    found = problems(text)
    assert len(found) == 1, found
    assert '[models.churn.versions."1.10"]' in found[0].message


def test_a_version_that_could_not_be_read_is_not_also_missing_as_live() -> None:
    """One mistake, one error."""
    (problem,) = problems(
        '[models.churn]\nlive = "1.10"\n[models.churn.versions.1.10]\nbackend = "sklearn:m"\n'
    )
    assert problem.line == 3


def test_longer_versions_with_dots_are_put_together_again() -> None:
    """``v1.2.3`` was meant, whatever tables TOML made of it."""
    (problem,) = problems('[models.churn.versions.v1.2.3]\nbackend = "sklearn:m"\n')
    assert '[models.churn.versions."v1.2.3"]' in problem.message
    assert problem.line == 1


@pytest.mark.parametrize("name", ['"1.10"', "'1.10'", "3", "v2", "2026-11-24", '"v1.2.3-rc_1"'])
def test_quoted_versions_and_plain_digits_are_fine(name: str) -> None:
    """A version is never in a path: ``3`` and ``1.10`` are names."""
    config = parse(f'[models.churn.versions.{name}]\nbackend = "sklearn:m"\n', "f")
    assert config.models[0].live == name.strip("\"'")


def test_several_versions_need_a_live_one() -> None:
    """Which one serves is never guessed."""
    (problem,) = problems('[models.c.versions]\nv1 = "sklearn:a"\nv2 = "sklearn:b"\n')
    assert 'write live = "v1"' in problem.message


def test_a_live_version_that_is_misspelt_gets_a_suggestion() -> None:
    """With the versions there are."""
    text = (
        '[models.c]\nlive = "blu"\n[models.c.versions]\nblue = "sklearn:a"\ngreen = "sklearn:b"\n'
    )
    (problem,) = problems(text)
    assert "Did you mean 'blue'?" in problem.message
    assert '"green"' in problem.message


SYNTAX = [
    ("live = v1", 'write live = "v1"'),
    ("live = 1.2.3", 'write live = "1.2.3"'),
    ("live = ", "live has no value"),
    ('live = "v1', "not closed"),
    ("keep = 10m", 'write keep = "10m"'),
    ("weight = 10%", 'write weight = "10%"'),
    ("resend = True", "write true"),
    ("resend = no", "write false"),
    ("path = C:\\x", 'write path = "C:\\x"'),
    ("live v1", "no TOML: live v1"),
    ("[models.churn", "no TOML"),
    ("a = 1\na = 2", "given twice"),
    ("a = 99999999999999999999999999999999999999999999999999999999999999", ""),
]


SYNTAX += [
    ("live: v1", 'write live = "v1"'),
    ('live = "v1" v2', "follows the string of live: v2"),
    ("live = \u201cv1\u201d", 'write straight ones: live = "v1"'),
    ("share = .5", "digits on both sides of a point"),
    ("day = 2026-13-45", 'a string: day = "2026-13-45"'),
    ("steps = [{weight = 10%}]", 'write weight = "10%"'),
    ('path = "C:\\q"', "two backslashes for one"),
    ("\x0c", "\\x0c"),
    ("n = " + "9" * 5000, "5000 digits is too large"),
    ("a = " + "[" * 900, "nested too deeply"),
]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("steps = [\n1,\n\n", 1, "the array of steps is not closed; end it with ]"),
        ("pool = {idle = 1,\n", 1, "table of pool is not closed; end it with }"),
        ('\nnote = """\nwords\nmore\n', 2, 'the string of note is not closed; end it with """'),
        ("\nfiles = [\n'a'\n'b'\n]\n", 4, "the array of files, begun in line 2, is not closed"),
        ("files = [\n'a',\n[models.c]\n", 3, "end it with ]"),
    ],
)
def test_what_is_left_open_is_named_with_the_line_where_it_began(text, line, says) -> None:
    """Not the end of the file, where it is noticed and where nothing can be seen."""
    found = problems(text)[0]
    assert says in found.message and found.line == line, found


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_slip_in_a_file_names_its_line_and_what_to_write(data) -> None:
    """A piece of a good file lost, or some signs put in: never an empty reason, never no place."""
    text = f'{MODEL}live = "v1"\n[models.c.rollout]\nsteps = [\n  {{weight = "1%"}},\n]\n'
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 6)))
    signs = data.draw(st.text(st.sampled_from("[]{}=\"',.:#%\\\n\x00 a1é\u201c"), max_size=4))
    broken = text[:start] + signs + text[end:]
    try:
        tomllib.loads(broken)
    except ValueError:
        found = [one for one in problems(broken) if not one.key]
        assert found
        for one in found:
            assert one.file and 1 <= one.line <= broken.count("\n") + 1
            assert re.search(
                r"write |end it with .|keep one of them|leave the key out", one.message
            )
            assert not re.search(r"no TOML: *;", one.message)


@pytest.mark.parametrize(("line", "says"), SYNTAX, ids=[line[:40] for line, _ in SYNTAX])
def test_a_line_that_is_no_toml_says_what_to_write(line: str, says: str) -> None:
    """Its number, and the words as they should be."""
    found = problems(f"{MODEL}\n{line}\n")
    last = 4 + line.count("\n")
    assert any(says in problem.message and problem.line == last for problem in found), found


def test_several_lines_that_are_no_toml_are_told_with_all_other_errors() -> None:
    """One slip does not hide the others, and a set-aside line causes no errors of its own."""
    found = problems(
        "[models.churn]\nunit = user\nunit_from = header\nunti = 3\n"
        '[models.churn.versions.v1]\nbackend = sklearn:m\nworkers = "2"\n'
    )
    assert [problem.line for problem in found] == [2, 3, 4, 6, 7]


def test_a_key_given_twice_names_both_lines() -> None:
    """Also across a dotted key and its table."""
    (problem,) = problems(f"{MODEL}workers = 1\nworkers = 2\n")
    assert problem.line == 4
    assert "workers is given twice; it stands in line 3 already" in problem.message


def test_a_table_given_twice_names_both_lines() -> None:
    """``[models.churn.versions.v1]`` can stand once."""
    (problem,) = problems(MODEL + MODEL)
    assert problem.line == 3
    assert "it stands in line 1 already" in problem.message


def test_nesting_without_end_is_an_error_not_a_crash() -> None:
    """The parser's own depth has an end; so has ours."""
    for text in ("a = " + "[" * 30_000, "a = " + "{b=" * 9_000, "[" + ".".join("a" * 5000) + "]"):
        assert problems(text)


def test_a_line_without_end_is_an_error_before_anything_reads_it() -> None:
    """``tomllib`` takes minutes for a key of a million dots; nobody writes such a line."""
    (problem,) = problems(f"{MODEL}{'a.' * 500_000}b = 1\n")
    assert problem.line == 3
    assert "32768 at most" in problem.message


def test_many_broken_lines_are_told_up_to_a_bound() -> None:
    """Each costs a reading from the start."""
    found = problems("".join(f"k{number} = v\n" for number in range(2000)))
    assert len(found) == 50


def test_lines_are_found_through_every_way_to_write_a_key() -> None:
    """Headers, dotted keys, inline tables, arrays over lines, strings that look like TOML."""
    spots = scan(
        '# [no.header]\n"a b".c = """\n[no]\nx = 1\n"""\n[t."d.e"]\nk = {x = 1, y = {z = [1,\n 2]}}\n'
        "[[list]]\nn = 1\n[[list]]\nn = 2\n[list.sub]\nm = '''\n'''\nq = 'a # b' # c\n"
        "when = 2026-11-24 03:04:05Z\n"
    )
    lines = {path: spot.line for path, spot in spots.by_path.items()}
    assert lines["a b", "c"] == 2
    assert lines["t", "d.e", "k", "x"] == 7
    assert lines["t", "d.e", "k", "y", "z", 1] == 8
    assert lines["list", 0, "n"] == 10
    assert lines["list", 1, "n"] == 12
    assert lines["list", 1, "sub", "m"] == 14
    assert lines["list", 1, "sub", "q"] == 16
    assert spots.raw(("list", 1, "sub", "when")) == "2026-11-24 03:04:05Z"
    assert ("no",) not in lines
    assert spots.line(("list", 1, "sub", "unknown", "deep")) == 13


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A whole configuration with some of its text cut, doubled, swapped or replaced."""
    text = EVERYTHING
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        insert = draw(
            st.sampled_from(
                ["", "\n", "=", "[", "]", "{", "}", '"', "'''", ".", "1.10", "nan", "#", ",",
                 "[models.churn.versions.1.10]\n", "= 1\n", "[[", "\t", "é", "\x00", "'"]
            )
            | st.text(max_size=10)
            | st.just(text[start:end] * 2)
        )  # fmt: skip
        text = text[:start] + insert + text[end:]
    return text


@settings(max_examples=400, deadline=None)
@given(mutated() | st.text(max_size=200))
@example("a = 1e99999\n")
@example("[models.a.versions.v]\nbackend = 'http://[::1/v2/models/x'\n")
@example("[models.a.versions]\nv='sklearn:m'\n[models.a.rollout]\nalpha=1" + "0" * 400)
@example("models = []\n")
@example("x = 99999-99-99\n")
@example("a.b=1\na=2\n")
@example("[models.a.versions.v]\nbackend='sklearn:m'\ntimeout_ms=" + "9" * 5000)
def test_whatever_stands_in_the_file_only_config_errors_come_of_it(text: str) -> None:
    """Each names a line of the file."""
    try:
        parse(text, "redpoll.toml")
    except RedpollError as error:
        assert isinstance(error, ConfigError)
        assert error.problems
        lines = text.count("\n") + 1
        assert all(0 <= problem.line <= lines for problem in error.problems)
        assert all(problem.message for problem in error.problems)


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_the_scanner_finds_every_key_that_tomllib_finds(text: str) -> None:
    """Where a text is TOML, each of its keys has a place."""
    try:
        table, report = read_toml(text, "f")
    except ConfigError:
        return
    if report.problems:
        return

    def walk(value: object, path: tuple[str | int, ...]) -> None:
        items: list[tuple[str | int, object]] = []
        if isinstance(value, dict):
            items = list(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        for key, inner in items:
            assert (*path, key) in report.spots.by_path
            walk(inner, (*path, key))

    walk(table, ())
