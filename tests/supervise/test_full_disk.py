"""A whole ``redpoll serve`` that is started while the disk has no room."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from redpoll.host import reserve
from redpoll.host.paths import DataDir
from redpoll.journal.files import FileJournal
from redpoll.testing.fake_oip import FakeOip
from tests.chaos.server import free_port
from tests.journal.disks import WAYS, small_disk

START_S = 60.0
SMALL_BYTES = 64 << 10  # what a start must write is less, file by file
CONFIG = """
data_dir = "data"
[server]
data = "127.0.0.1:{data}"
control = "127.0.0.1:{control}"
on_journal_failure = "serve"
[models.m]
inputs = {{x = "float", note = "text"}}
[models.m.versions]
v1 = "{url}"
"""


class Serving:
    """``redpoll serve``, killed at the end. Its log comes through a pipe: no disk can refuse it."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "redpoll", "serve", "-c", str(folder / "redpoll.toml")]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.log = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as pipe:
            for line in pipe:
                self.log += line

    def until(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + START_S
        while not what():
            assert time.monotonic() < end, self.log.decode()[-3000:]
            time.sleep(0.05)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *of: object) -> None:
        self.process.kill()
        self.process.wait(START_S)
        self._reader.join(START_S)


def ask(port: int, path: str, body: Any = None) -> tuple[int, str]:
    """Status and body; 0 where nobody answers."""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        content = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, content), timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def predicts(port: int) -> bool:
    return ask(port, "/predict/m", {"x": 1.0, "note": "-"})[0] == 200


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, int]]:
    """A folder whose server ran once, ended, and has a reserve; its two ports."""
    folder = tmp_path_factory.mktemp("known")
    data, control = free_port(), free_port()
    with FakeOip() as backend:
        config = CONFIG.format(data=data, control=control, url=f"{backend.url}/v2/models/m")
        (folder / "redpoll.toml").write_text(config)
        with Serving(folder) as server:
            server.until(lambda: predicts(data))
            server.until(DataDir(folder / "data").reserve.exists)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(START_S) == 0
        yield folder, data, control


def processes(pid: int) -> list[int]:
    """A server and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]
    return []


@pytest.mark.parametrize("how", WAYS)
def test_serve_starts_on_a_full_disk_and_goes_on_when_there_is_room(
    how: str, known: tuple[Path, int, int], tmp_path: Path
) -> None:
    """Gateway and console answer; what is asked meanwhile is journalled when there is room."""
    source, port, control = known
    with small_disk(how, tmp_path, "24m") as disk:
        shutil.copytree(source, tmp_path, dirs_exist_ok=True)
        journal = FileJournal(tmp_path / "data")
        disk.fill(most=SMALL_BYTES)
        with Serving(tmp_path) as server:
            disk.spare_us()
            server.until(lambda: predicts(port))
            server.until(lambda: ask(control, "/healthz")[0] == 200)
            assert DataDir(tmp_path / "data").reserve.exists() == (how == "limit")
            pids = processes(server.process.pid)
            for pid in pids:
                disk.fill(pid, SMALL_BYTES)
            before = len(requests(journal))
            note = "x" * 2 * SMALL_BYTES
            assert ask(port, "/predict/m", {"x": 1.0, "note": note})[0] == 200
            server.until(lambda: b"requests are answered all the same" in server.log)
            assert predicts(port) and len(requests(journal)) == before
            for pid in {*pids, *processes(server.process.pid)}:
                with contextlib.suppress(ProcessLookupError):
                    disk.free(pid)
            server.until(lambda: len(requests(journal)) == before + 2)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(START_S) == 0


def requests(journal: FileJournal) -> list[Any]:
    return list(journal.read(kinds=["request"], raw=False))


def test_the_reserve_is_kept_with_room_and_let_go_without(tmp_path: Path, monkeypatch) -> None:
    """Taken whole: a hole would be no room."""
    data = DataDir(tmp_path).make()
    monkeypatch.setattr(reserve, "_free", lambda data: reserve.AMPLE_BYTES - 1)
    reserve.keep(data)
    assert not data.reserve.exists()
    monkeypatch.setattr(reserve, "_free", lambda data: reserve.AMPLE_BYTES)
    reserve.keep(data)
    assert data.reserve.stat().st_blocks * 512 >= reserve.RESERVE_BYTES
    reserve.release_if_full(data)
    assert data.reserve.exists()
    monkeypatch.setattr(reserve, "_free", lambda data: reserve.TIGHT_BYTES - 1)
    reserve.release_if_full(data)
    assert not data.reserve.exists()
