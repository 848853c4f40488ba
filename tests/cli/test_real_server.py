"""The commands against a real ``redpoll serve``, and then against the files it left."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from redpoll.cli.main import run
from redpoll.client import Client
from redpoll.host.lifeline import die_with_parent
from tests.cli.conftest import Done, Run
from tests.cli.served import START_S, environment, wait_ready

CONFIG = """
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
[models.echo]
live = "v1"
unit = "user"
unit_from = "header:redpoll-unit"
inputs = {x = "int"}
output = {name = "y", type = "float"}
[models.echo.versions]
v1 = "python:echo:load"
v2 = "python:echo:load"
[models.echo.outcomes.seen]
window = "1h"
[models.echo.rollout]
steps = [{weight = "50%", pause = "0s"}]
min_requests = 20
"""
MODEL = """
def load():
    return lambda columns: {"y": columns["x"] * 1.0}
"""

Command = Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, a model, and no data yet."""
    path = tmp_path_factory.mktemp("cli")
    (path / "redpoll.toml").write_text(CONFIG)
    (path / "echo.py").write_text(MODEL)
    return path


@pytest.fixture(scope="module")
def command(folder: Path) -> Command:
    """Run a command on that folder, in this process: a start costs more than most commands."""

    def call(*arguments: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*arguments, "-c", str(folder / "redpoll.toml")])
        return Done(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="module")
def story(folder: Path, command: Command) -> Iterator[dict[str, Done]]:
    """One run from an empty folder to a promoted version, then the files without a server."""
    told = {"planned": command("apply", "--dry-run"), "applied": command("apply")}
    told["before"] = command("status")
    log = (folder / "serve.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "redpoll", "serve"], cwd=folder, env=environment(),
        stderr=log, start_new_session=True, preexec_fn=die_with_parent,
    )  # fmt: skip
    try:
        url = wait_ready(folder)
        told["second"] = _in_a_shell(folder, "serve")
        told["predicted"] = _in_a_shell(
            folder, "predict", "echo", '{"x": 3}', "--unit", "u-1", "--json"
        )
        told["refused"] = command("predict", "ecko", '{"x": 3}')
        told["started"] = command("rollout", "start", "echo", "v2", "--reason", "same again")
        with Client(url) as client:
            end = time.monotonic() + START_S
            outcomes = folder / "outcomes.ndjson"
            number = 0
            while command_state(command) != "promoted" and time.monotonic() < end:
                with outcomes.open("a") as lines:
                    for _ in range(60):
                        answer = client.predict("echo", {"x": number}, unit=f"u-{number}")
                        said = {"name": "seen", "prediction_id": answer.id, "value": True}
                        lines.write(json.dumps(said) + "\n")
                        number += 1
        told["watched"] = command("rollout", "watch", "echo", "--until", "done", "--timeout", "30s")
        told["sent"] = command("outcome", "send", str(outcomes), "--json")
        told["piped"] = _in_a_shell(
            folder, "outcome", "send", "-", "--json", stdin=outcomes.read_text().splitlines()[0]
        )
        told["added"] = _in_a_shell(
            folder, "version", "add", "echo", "v3", "python:echo:load", "workers=2"
        )
        told["undone"] = command("rollback", "echo", "--reason", "only a test")
        told["status"] = command("status")
        told["verified"] = command("log", "verify", "--json")
        told["backed up"] = command("log", "backup", str(folder / "kept"), "--json")
        told["exported"] = command("log", "export", str(folder / "out"), "--json")
        told["counted"] = command("log", "query", "SELECT count(*) AS n FROM answer", "--json")
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
        log.close()
    assert code == 0
    yield told


def command_state(command: Command) -> str:
    """The newest rollout's state."""
    return str(json.loads(command("rollout", "show", "echo", "--json").out)["state"])


def _in_a_shell(folder: Path, *arguments: str, stdin: str | None = None) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "redpoll", *arguments],
        cwd=folder,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_journal_is_kept_while_a_server_runs_and_after(
    story, command: Command, folder: Path
) -> None:
    """It is whole, its copy gives the same back, and every answer is exported; stopped, too."""
    verified, made = json.loads(story["verified"].out), json.loads(story["backed up"].out)
    assert verified["ok"] and verified["problems"] == [] and verified["facts"] > 60
    assert made["damaged"] == [] and made["files"] > 3, story["backed up"].err
    (count,) = json.loads(story["counted"].out)
    exported = {one["fact"]: one["rows"] for one in json.loads(story["exported"].out)["files"]}
    assert exported["answer"] == count["n"] > 20
    restored = ("--data-dir", str(folder / "restored"))
    assert command("log", "restore", str(folder / "kept"), *restored).code == 0
    assert json.loads(command("log", "verify", "--json", *restored).out)["ok"]
    sql = ("log", "query", "SELECT count(*) AS n FROM answer", "--json")
    assert json.loads(command(*sql, *restored).out) == [count]
    assert json.loads(command("log", "verify", "--json").out)["ok"], "of the server that has ended"
    again = json.loads(command("log", "backup", str(folder / "kept"), "--json").out)
    assert again["damaged"] == [] and 0 < again["copied_files"] < again["files"]


def test_a_file_is_applied_without_a_server(story, folder: Path) -> None:
    """A dry run says the same and leaves no catalog entry; the next command is `serve`."""
    assert story["planned"].code == 0, story["planned"].err
    assert story["planned"].out == story["applied"].out
    assert "v1 goes live" in story["applied"].out
    assert "next: redpoll serve" in story["applied"].err
    assert story["before"].out.splitlines()[1].split()[:2] == ["echo", "v1"]


def test_a_second_server_on_the_folder_is_refused(story) -> None:
    """RP-301, and who has it."""
    assert story["second"].code == 1
    assert "RP-301" in story["second"].err


def test_a_prediction_is_asked_by_hand(story) -> None:
    """The server's address is found by the folder."""
    said = json.loads(story["predicted"].out)
    assert (said["rows"], said["version"], said["decided_by"]) == ([{"y": 3.0}], "v1", "model")
    assert story["refused"].code == 1
    assert "Did you mean 'echo'?" in story["refused"].err


def test_a_rollout_is_started_watched_and_undone(story) -> None:
    """0 for promoted; afterwards v1 is live again."""
    assert story["started"].code == 0, story["started"].err
    assert re.search(
        r"next: \S*redpoll rollout watch echo-1 .* -c \S+redpoll.toml", story["started"].err
    )
    assert story["watched"].code == 0, story["watched"].err
    assert "promote by redpoll" in story["watched"].out
    assert story["undone"].code == 0, story["undone"].err
    assert "v1 is live" in story["undone"].out
    assert story["status"].out.splitlines()[1].split()[:2] == ["echo", "v1"]


def test_outcomes_of_a_file_arrive(story, command: Command, folder: Path) -> None:
    """Every line, once it is asked of the log."""
    lines = len((folder / "outcomes.ndjson").read_text().splitlines())
    assert json.loads(story["sent"].out)["accepted"] == lines
    assert json.loads(story["piped"].out)["accepted"] == 1, "a line of the same file once more"
    sql = "SELECT count(DISTINCT outcome_id) AS n FROM outcome WHERE value = 1"
    found = command("log", "query", sql, "--json")
    assert json.loads(found.out) == [{"n": lines}]


def test_the_log_is_read_from_the_files(story, command: Command) -> None:
    """One array of row objects; tables and CSV for people; the tail as JSON lines."""
    sql = "SELECT version, count(*) AS n FROM answer WHERE status = 'ok' GROUP BY 1 ORDER BY 1"
    rows = json.loads(command("log", "query", sql, "--json").out)
    assert [row["version"] for row in rows] == ["v1", "v2"]
    assert command("log", "query", sql, "--csv").out.splitlines()[0] == "version,n"
    assert command("log", "query", sql).out.splitlines()[0].split() == ["version", "n"]
    refused = command("log", "query", "DELETE FROM answer")
    assert (refused.code, "RP-302" in refused.err) == (1, True)
    tail = command("log", "tail", "-n", "3", "--fact", "decision", "--json").out.splitlines()
    assert [json.loads(line)["action"] for line in tail][-1] == "rollback"
    assert "rollback" in command("log", "tail", "--fact", "decision").out
    assert "echo" in command("log", "tail", "-n", "5", "--model", "echo").out


def test_without_a_server_the_files_tell_the_same(story, command: Command) -> None:
    """Status, rollout, history, versions and explain, after the server ended."""
    status = command("status")
    assert "rolled back" in status.out and "next: redpoll serve" in status.err
    shown = json.loads(command("rollout", "show", "echo", "--json").out)
    assert (shown["id"], shown["state"]) == ("echo-1", "rolled_back")
    assert shown["arms"][1]["requests"] >= 20
    history = command("rollout", "history", "echo-1").out
    assert "start by" in history and "promote by redpoll" in history
    versions = json.loads(command("version", "list", "echo", "--json").out)["versions"]
    assert [one["name"] for one in versions] == ["v1", "v2", "v3"]
    assert "echo-1" in command("explain", "echo-1").out


def test_reading_commands_write_nothing(story, command: Command, folder: Path) -> None:
    """Looking must not become a Decision, a stream or a route table."""

    def state() -> dict[str, int]:
        found = (path for path in (folder / "data").rglob("*") if path.is_file())
        # SQLite keeps -wal and -shm beside a catalog that anybody reads, and folds them in later.
        kept = (path for path in found if not path.name.startswith("catalog.sqlite"))
        return {str(path): path.stat().st_mtime_ns for path in kept}

    before = state()
    command("status")
    command("rollout", "show", "echo")
    command("log", "query", "SELECT 1")
    assert state() == before


def test_the_journal_gives_the_same_decisions_again(story, command: Command) -> None:
    """``rollout verify``."""
    done = command("rollout", "verify", "echo-1", "--json")
    assert done.code == 0, done.out + done.err
    checked = json.loads(done.out)["checked"]
    promoted = next(one for one in checked if one["action"] == "promote")
    assert promoted["by_evidence"] and promoted["agrees"]


@pytest.mark.parametrize(
    "words",
    [
        ("rollout", "history", "ecko"),
        ("rollout", "show", "ecko"),
        ("rollout", "plan", "ecko"),
        ("rollout", "verify", "ecko"),
        ("version", "list", "ecko"),
        ("explain", "ecko"),
        ("log", "tail", "--model", "ecko"),
        ("log", "tail", "--follow", "--model", "echo", "--model", "ecko"),
    ],
)
def test_a_model_that_there_is_not_is_an_error_without_a_server_too(
    words: tuple[str, ...], story, command: Command
) -> None:
    """Every reading command: no empty answer that looks like peace, and what was probably meant."""
    done = command(*words)
    assert (done.code, done.out) == (1, "")
    assert "ecko" in done.err and "Did you mean 'echo" in done.err


def test_a_changing_command_without_a_server_says_so(story, command: Command) -> None:
    """A rollout cannot be steered where none is served."""
    done = command("rollout", "pause", "echo", "--reason", "nobody is there")
    assert (done.code, "RP-603" in done.err) == (1, True)


def test_nothing_is_left_running(story, folder: Path) -> None:
    """No address in the folder, and a new server could start."""
    assert not (folder / "data/run/server.json").exists()
