"""The supervisor's small parts: back-off, wanted workers, bounded files, sockets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.backends.start import environment, interpreter
from redpoll.catalog import Model, Tensor, Version
from redpoll.errors import RedpollError
from redpoll.host.paths import DataDir
from redpoll.host.process import private_folder
from redpoll.host.tokens import check_reach
from redpoll.routes import Route, Table, Target
from redpoll.supervise import sockets
from redpoll.supervise.backoff import Backoff
from redpoll.supervise.child import how
from redpoll.supervise.stderr import BoundedFile, Pump
from redpoll.supervise.wanted import wanted


def test_the_waits_double_from_a_tenth_of_a_second_to_five_for_ever() -> None:
    """.1, .2, .4 … 5, 5, 5; ten healthy seconds begin anew, nine do not."""
    backoff = Backoff()
    waits = [backoff.died(0.0) for _ in range(9)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    assert backoff.died(9.9) == 5.0
    assert backoff.died(10.0) == pytest.approx(0.1)
    assert backoff.died(0.0) == pytest.approx(0.2)


def table(**versions: tuple[Version, bool]) -> Table:
    model = Model(
        name="churn",
        inputs={"age": "int"},
        tensor=Tensor(name="t", columns=("age",)),
        redact=("note",),
        versions=tuple(version for version, _ in versions.values()),
    )
    targets = {
        version.name: Target(
            version=version,
            addresses=tuple(f"unix:/run/{version.name}-{i}.sock" for i in range(version.workers)),
            run=run,
        )
        for version, run in versions.values()
    }
    return Table(routes={"churn": Route(model=model, number=3, generation=1, targets=targets)})


def test_workers_are_wanted_for_every_version_that_runs_in_one(tmp_path: Path) -> None:
    """``workers`` of them each; not for stopped versions, not for URLs."""
    data = DataDir(tmp_path)
    found = wanted(
        table(
            a=(Version(name="v1", backend="sklearn:m.pkl", artifact="abc", workers=2), True),
            b=(Version(name="v2", backend="python:m:load", folder="/f"), False),
            c=(Version(name="v3", backend="http://127.0.0.1:9/v2/models/x"), True),
        ),
        data,
    )
    first, want = sorted(found.values(), key=lambda one: one.index)
    assert [one.key.rpartition("/")[0] for one in (first, want)] == ["churn/v1/0", "churn/v1/1"]
    assert (want.socket, want.index) == ("/run/v1-1.sock", 1)
    spec = json.loads(want.spec)
    assert spec["artifact"] == str(data.artifacts / "abc")
    assert spec["model"]["tensor"] == {"name": "t", "columns": ["age"]}
    assert spec["model"]["redact"] == ["note"]
    assert want.stuck_s == 35.0


def test_a_worker_gets_its_threads_and_none_of_our_secrets() -> None:
    """OpenMP and BLAS take as many threads as there are cores unless they are told."""
    found = environment(
        Version(name="v1", backend="python:m:load", threads=3),
        {"HOME": "/h", "REDPOLL_TOKEN": "s", "PYTHONHOME": "/p", "OMP_NUM_THREADS": "64"},
    )
    assert found["OMP_NUM_THREADS"] == found["OPENBLAS_NUM_THREADS"] == "3"
    assert found["HOME"] == "/h"
    assert "REDPOLL_TOKEN" not in found
    assert "PYTHONHOME" not in found


@pytest.mark.parametrize(
    ("python", "found"),
    [
        (None, sys.executable),
        (".venv/bin/python", "/folder/.venv/bin/python"),
        ("/opt/py/bin/python3", "/opt/py/bin/python3"),
        ("python3.11", "python3.11"),
    ],
)
def test_the_interpreter_is_the_models_own(python: str | None, found: str) -> None:
    """Relative to the folder of the file; links are kept, for a venv's Python is one."""
    version = Version(name="v", backend="python:m:l", folder="/folder", python=python)
    assert interpreter(version) == found


def test_a_bounded_file_keeps_its_newest_part(tmp_path: Path) -> None:
    """Whole lines of it, and says that there was more; what was there before a start stays."""
    path = tmp_path / "stderr.log"
    path.write_text("from before\n")
    file = BoundedFile(path, most=1000, kept=300)
    file.write(b"first\n")
    assert path.read_text() == "from before\nfirst\n"
    for number in range(500):
        file.write(b"line %d\n" % number)
        assert path.stat().st_size <= 1000 + 10
    file.close()
    file.close()
    lines = path.read_text().splitlines()
    assert "gone" in lines[0]
    assert lines[-1] == "line 499"
    assert all(line.startswith("line ") for line in lines[1:])


@given(st.lists(st.binary(max_size=400), max_size=30))
def test_whatever_is_written_the_end_is_kept_and_the_bound_holds(
    tmp_path_factory: Any, blocks: list[bytes]
) -> None:
    """The newest line is always whole, the file never much larger than its bound."""
    path = tmp_path_factory.mktemp("bounded") / "f"
    file = BoundedFile(path, most=600, kept=200)
    for block in blocks:
        file.write(block)
        assert path.stat().st_size <= 600
    file.write(b"\nend")
    assert path.read_bytes().endswith(b"\nend")
    file.close()


def test_a_pump_moves_everything_and_remembers_the_last_line(tmp_path: Path) -> None:
    """Also what is still in the pipe when the writer has ended."""

    async def scenario() -> None:
        ours, theirs = os.pipe()
        file = BoundedFile(tmp_path / "f")
        pump = Pump(asyncio.get_running_loop(), ours, file)
        os.write(theirs, b"one\ntwo\n")
        await asyncio.sleep(0.05)
        assert (tmp_path / "f").read_bytes() == b"one\ntwo\n"
        os.write(theirs, b"  | ValueError: bad\n\n")
        os.close(theirs)
        pump.close()
        pump.close()
        file.close()
        assert pump.last_line == "ValueError: bad"

    asyncio.run(scenario())
    assert (tmp_path / "f").read_bytes().endswith(b"bad\n\n")


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    """RP-607, the setting, and port 0 as the way out; an address that is not ours likewise."""
    with sockets.listen("127.0.0.1:0", "data") as taken:
        address = sockets.name(taken)
        with pytest.raises(RedpollError, match=r"server\.data") as caught:
            sockets.listen(address, "data")
        assert caught.value.code == "RP-607"
        assert address in str(caught.value)
    with sockets.listen(address, "data", patience_s=1.0) as free:
        assert sockets.name(free) == address
    with pytest.raises(RedpollError, match="no such address"):
        sockets.listen("192.0.2.1:0", "control")


@pytest.mark.parametrize("address", ["0.0.0.0:80", "10.1.2.3:80", "[::]:80", "example.org:80"])
def test_nothing_is_heard_beyond_loopback_without_tokens(address: str) -> None:
    """Whichever of the two addresses it is."""
    for addresses in (
        {"server.data": address, "server.control": "[::1]:81"},
        {"server.data": "localhost:80", "server.control": address},
    ):
        with pytest.raises(RedpollError, match="tokens"):
            check_reach(addresses, None)
    check_reach({"server.data": "localhost:80", "server.control": "[::1]:81"}, None)


def test_ipv6_addresses_are_written_in_brackets() -> None:
    """As in URLs, in both directions."""
    assert sockets.split("[::1]:8080") == ("::1", 8080)
    if socket.has_ipv6:
        try:
            sock = sockets.listen("[::1]:0", "data")
        except RedpollError:
            pytest.skip("this machine has no IPv6 loopback")
        with sock:
            assert sockets.name(sock).startswith("[::1]:")


def test_how_a_process_ended_is_said_in_words() -> None:
    """Signals by their names."""
    assert [how(0), how(3), how(-9), how(-99)] == [
        "exit status 0",
        "exit status 3",
        "killed by SIGKILL",
        "killed by signal 99",
    ]


def test_a_folder_for_sockets_is_ours_alone(tmp_path: Path) -> None:
    """One that is open to others, or a link to elsewhere, is refused."""
    made = private_folder(tmp_path / "sockets")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private_folder(made) == made
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(made)
    for wrong in (open_to_all, link):
        with pytest.raises(RedpollError, match="only this user"):
            private_folder(wrong)
