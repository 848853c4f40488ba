"""How the command speaks when it is used wrongly, and what every command has in common."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

import redpoll as package
from redpoll.cli.groups import Duration
from redpoll.cli.main import COMMANDS, cli
from redpoll.errors import CATALOG
from tests.cli.conftest import Run


def _all_commands() -> list[list[str]]:
    found: list[list[str]] = []

    def walk(command: click.Command, words: list[str]) -> None:
        if not isinstance(command, click.Group):
            found.append(words)
            return
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            walk(child, [*words, name])

    walk(cli, [])
    return found


EVERY = _all_commands()


def test_there_are_the_commands_that_the_reference_names() -> None:
    """Nothing is missing of what interfaces name for what exists."""
    names = {" ".join(words) for words in EVERY}
    assert names >= {
        "serve", "apply", "status", "explain", "demo", "predict", "outcome send", "rollback",
        "version add", "version list", "log tail", "log query", "rollout start", "rollout plan",
        "rollout show", "rollout watch", "rollout pause", "rollout resume", "rollout promote",
        "rollout abort", "rollout retry", "rollout history", "rollout verify",
    }  # fmt: skip


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_has_help_json_and_a_server_option(words: list[str], redpoll: Run) -> None:
    """The common options, and a sentence on what it does."""
    done = redpoll(*words, "--help")
    assert done.code == 0
    for option in ("--json", "--server", "--config", "--data-dir"):
        assert option in done.out
    assert len(done.out.splitlines()[2].strip()) > 10


def test_version_is_said(redpoll: Run) -> None:
    """On stdout, alone."""
    done = redpoll("--version")
    assert (done.code, done.out) == (0, f"redpoll {package.__version__}\n")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["statsu"], "'status'"),
        (["rollout", "puase", "churn"], "'pause'"),
        (["rollout", "start", "m", "v", "--strategy", "canry"], "'canary'"),
        (["log", "tail", "--fact", "answr"], "'answer'"),
        (["rollback", "churn", "--resaon", "x"], "--reason"),
        (["demo", "--act", "latancy"], "'latency'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_typo_is_told_what_was_probably_meant(words: list[str], meant: str, redpoll: Run) -> None:
    """Usage errors end with 2, on stderr."""
    done = redpoll(*words)
    assert done.code == 2
    assert meant in done.err
    assert done.out == ""


def test_a_usage_error_with_json_is_a_document_too(redpoll: Run) -> None:
    """Programs read stdout only."""
    done = redpoll("predict", "m", "{broken", "--json")
    assert done.code == 2
    assert done.json()["code"] == "usage"
    assert "no JSON" in done.json()["error"]


def test_without_a_server_a_changing_command_says_how_to_start_one(redpoll: Run) -> None:
    """RP-603, one line, no traceback."""
    done = redpoll("rollout", "pause", "churn", "--reason", "because")
    assert done.code == 1
    assert "RP-603" in done.err and "redpoll serve" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_server_that_does_not_answer_is_one_line(redpoll: Run) -> None:
    """RP-601 names the address."""
    done = redpoll("status", "--server", "http://127.0.0.1:9", "--json")
    assert done.code == 1
    assert done.json()["code"] == "RP-601"
    assert "127.0.0.1:9" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_change_wants_a_reason(redpoll: Run) -> None:
    """Asked for on a terminal; elsewhere a usage error that says so."""
    done = redpoll("rollout", "abort", "churn-17")
    assert done.code == 2
    assert "--reason" in done.err


@pytest.mark.parametrize("code", sorted(CATALOG))
def test_every_error_code_is_explained(code: str, redpoll: Run) -> None:
    """Small letters and a missing dash are forgiven."""
    done = redpoll("explain", code.lower().replace("-", ""))
    assert done.code == 0
    assert CATALOG[code].explain in done.out
    assert redpoll("explain", code, "--json").json()["name"] == CATALOG[code].name


def test_an_unknown_code_is_an_error(redpoll: Run) -> None:
    """With the nearest one."""
    done = redpoll("explain", "RP-40")
    assert done.code == 1
    assert "RP-40" in done.err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("10m", 600.0), ("1.5h", 5400.0), ("2d", 172800.0), ("45", 45.0),
     ("250ms", 0.25)],
)  # fmt: skip
def test_durations_are_written_as_in_the_file(text: str, seconds: float) -> None:
    """The same units as in redpoll.toml."""
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "ten", "5 parsecs", "-3s", "1e99h", "nan", "1sm"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(click.BadParameter, match="write it like 30s"):
        Duration().convert(text, None, None)


def test_a_mistake_of_redpolls_own_is_one_line_with_a_way_to_see_more(
    redpoll: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RP-600; REDPOLL_DEBUG=1 shows the traceback."""
    import redpoll.cli.explain as module

    monkeypatch.setattr(module, "_code", lambda *_: 1 / 0)
    done = redpoll("explain", "RP-001")
    assert done.code == 1
    assert "RP-600" in done.err and "Traceback" not in done.err
    monkeypatch.setenv("REDPOLL_DEBUG", "1")
    assert "Traceback" in redpoll("explain", "RP-001").err


def test_a_light_command_imports_nothing_heavy() -> None:
    """`redpoll explain` must not wait for DuckDB, Arrow or Starlette."""
    code = (
        "import sys; from redpoll.cli.main import run; run(['explain', 'RP-001']); "
        "heavy = {'duckdb', 'pyarrow', 'numpy', 'starlette', 'uvicorn', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)


def test_python_dash_m_redpoll_is_the_same_command() -> None:
    """And a pipe that closes early is no error."""
    done = subprocess.run(
        [sys.executable, "-m", "redpoll", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    piped = subprocess.run(
        f"{sys.executable} -m redpoll explain RP-001 | true", shell=True, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert piped.stderr == ""
