"""``redpoll doctor`` finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from redpoll.cli import examine
from redpoll.host.tokens import make
from tests.cli.conftest import Run
from tests.first_use.serving import serving, shell
from tests.web_control.serving import serving as pages

CONFIG = """
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
{more}
[models.echo]
inputs = {{x = "int"}}
[models.echo.versions]
v1 = "python:echo:load"
"""
MODEL = 'def load():\n    return lambda columns: {"y": columns["x"] * 1.0}\n'


@pytest.fixture
def folder(redpoll: Run, tmp_path: Path) -> Path:
    (tmp_path / "echo.py").write_text(MODEL)
    (tmp_path / "redpoll.toml").write_text(CONFIG.format(more=""))
    return tmp_path


def found(redpoll: Run, name: str, code: int) -> list[dict[str, Any]]:
    """The findings of that name."""
    done = redpoll("doctor", "--json")
    assert done.code == code, done.out
    return [one for one in done.json()["findings"] if one["name"] == name]


def levels(findings: list[dict[str, Any]]) -> set[str]:
    return {one["level"] for one in findings}


def test_where_all_is_well_it_says_so_and_leaves_nothing_behind(redpoll: Run, folder: Path) -> None:
    """Not even a data folder; exit code 0."""
    before = sorted(folder.iterdir())
    done = redpoll("doctor", "--json")
    assert done.code == 0, done.out
    said = done.json()
    names = {one["name"] for one in said["findings"] if one["level"] == "ok"}
    assert names >= {
        "program",
        "configuration",
        "models",
        "open files",
        "clock",
        "tokens",
        "server",
    }
    assert said["bad"] == 0
    assert sorted(folder.iterdir()) == before
    assert "redpoll-data (not there yet)" in redpoll("doctor").out


def test_a_file_with_errors_is_bad_and_the_rest_is_still_looked_at(
    redpoll: Run, folder: Path
) -> None:
    """The first error and how many there are."""
    (folder / "redpoll.toml").write_text("[models.m]\nunti = 1\nlive = 2\n")
    (one,) = found(redpoll, "configuration", 1)
    assert one["level"] == "bad" and "more)" in one["sentence"] and "--dry-run" in one["todo"]
    assert found(redpoll, "server", 1)


def test_a_model_that_its_python_cannot_load_is_named(redpoll: Run, folder: Path) -> None:
    """With what to install, before anything was applied."""
    text = (folder / "redpoll.toml").read_text()
    (folder / "redpoll.toml").write_text(
        text.replace('v1 = "python:echo:load"', "")
        + '[models.echo.versions.v1]\nbackend = "python:echo:load"\npython = "venv/bin/python"\n'
    )
    (one,) = found(redpoll, "models", 1)
    assert one["level"] == "bad"
    assert "echo v1" in one["sentence"] and "venv/bin/python" in one["sentence"]


def test_a_port_that_is_taken_is_named(redpoll: Run, folder: Path) -> None:
    """Before the server is started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = (folder / "redpoll.toml").read_text()
        (folder / "redpoll.toml").write_text(
            text.replace('control = "127.0.0.1:0"', f'control = "127.0.0.1:{port}"')
        )
        findings = found(redpoll, "server", 1)
    (bad,) = [one for one in findings if one["level"] == "bad"]
    assert f"server.control = 127.0.0.1:{port}" in bad["sentence"]


def test_tokens_are_looked_at(redpoll: Run, folder: Path) -> None:
    """None of them, or a file that others may write."""
    config = folder / "redpoll.toml"
    config.write_text(CONFIG.format(more='tokens_file = "tokens"'))
    path = folder / "tokens"
    path.write_text("")
    path.chmod(0o600)
    (one,) = found(redpoll, "tokens", 0)
    assert one["level"] == "warn" and "token create" in one["todo"]
    path.write_text(make("anna", ("admin",))[1])
    (one,) = found(redpoll, "tokens", 0)
    assert one["level"] == "ok" and "anna" in one["sentence"]
    path.chmod(0o666)
    (one,) = found(redpoll, "tokens", 1)
    assert one["level"] == "bad" and "chmod 600" in one["todo"]
    path.write_text("nonsense")
    (one,) = found(redpoll, "tokens", 1)
    assert "line 1" in one["sentence"]


def test_the_machine_is_looked_at(redpoll: Run, folder: Path, monkeypatch) -> None:
    """Space, the kind of disk, how long a sync takes, open files, a clock that went back."""
    wal = folder / "redpoll-data" / "journal" / "wal"
    wal.mkdir(parents=True)
    (wal / "gateway-x-0.wal").write_bytes(b"")
    later = examine.time.time() + 3600
    os.utime(wal / "gateway-x-0.wal", (later, later))
    (one,) = found(redpoll, "clock", 1)
    assert "in the future" in one["sentence"]
    monkeypatch.setattr(examine, "FREE_BAD_BYTES", 1 << 60)
    monkeypatch.setattr(examine, "FREE_WARN_BYTES", 1 << 60)
    monkeypatch.setattr(examine, "_syncs", lambda folder: [0.2])
    assert [one["level"] for one in found(redpoll, "disk", 1)] == ["bad", "warn"]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 1024))
    (one,) = found(redpoll, "open files", 1)
    assert one["level"] == "warn" and "LimitNOFILE=" in one["todo"]
    for kind, words in (("nfs4", "locks"), ("tmpfs", "gone after a reboot")):
        monkeypatch.setattr(examine, "_file_system", lambda path, kind=kind: kind)
        (one,) = found(redpoll, "data folder", 1)
        assert one["level"] == "warn" and words in one["sentence"]


def test_the_file_system_is_told_as_the_kernel_mounts_it() -> None:
    """/proc is what it is; the deepest mount counts."""
    assert examine._file_system(Path("/proc/self")) == "proc"
    assert examine._file_system(Path("/dev/shm")) == "tmpfs"
    assert examine._file_system(Path("/"))


@pytest.mark.slow
def test_a_server_that_runs_is_asked(redpoll: Run, folder: Path) -> None:
    """Its gateway, its control, its models; without a token it says which one is wanted."""
    config = folder / "redpoll.toml"
    config.write_text(CONFIG.format(more='tokens_file = "tokens"'))
    token = redpoll("token", "create", "--scope", "read", "--name", "doc").out.strip()
    with serving(folder):
        (control,) = found(redpoll, "control", 0)
        assert control["level"] == "warn" and "REDPOLL_TOKEN" in control["todo"]
        done = shell("redpoll doctor --json", folder, REDPOLL_TOKEN=token)
        assert done.returncode == 0, done.stdout
        for word in ('"name": "gateway", "level": "ok"', '"name": "control", "level": "ok"'):
            assert word in done.stdout
        assert "it runs: pid" in done.stdout


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ([], "/"),
        (["fraud"], "/models/fraud"),
        (["fraud-9"], "/rollouts/fraud-9"),
        (
            ["0199C000-0000-7000-8000-000000000000"],
            "/requests/0199c000-0000-7000-8000-000000000000",
        ),
    ],
)
def test_open_prints_the_page_that_was_meant(
    redpoll: Run, monkeypatch, words: list[str], path: str
) -> None:
    """A model, a rollout, a prediction; far away with the ssh line."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    with pages() as server:
        monkeypatch.setenv("REDPOLL_SERVER", server.url)
        done = redpoll("open", *words)
        assert (done.code, done.out) == (0, f"{server.url}{path}\n"), done.err
        assert opened == [f"{server.url}{path}"]
        assert redpoll("open", *words, "--json").json()["url"] == opened[0]
        monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 5022 192.0.2.7 22")
        port = server.url.rpartition(":")[2]
        assert f"ssh -L {port}:127.0.0.1:{port} 192.0.2.7" in redpoll("open", *words).err
        assert len(opened) == 1
        assert redpoll("open", "fraaud").code == 1
