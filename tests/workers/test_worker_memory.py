"""What a worker may use of memory, and several workers of one version of which one goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from redpoll.client import ClientError
from redpoll.supervise import worker as supervised
from tests.supervise.rig import Rig, run
from tests.workers.serving import serving

# Keeps 16 MiB more with every call of a value above 0; below 0 it takes all that it can get.
GROWS = """
    import numpy as np
    def load():
        kept = []
        def predict(columns):
            value = columns["x"][0]
            if value > 0:
                kept.append(np.ones(2 << 20))
            while value < 0:
                kept.append(np.ones(2 << 20))
            return {"y": columns["x"]}
        return predict
"""
MIB = 1 << 20


def test_a_worker_that_grows_beyond_its_memory_finishes_its_call_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request is answered by one or the other; why is its last exit, and in its stderr."""
    monkeypatch.setattr(supervised, "LOOK_S", 0.02)

    async def scenario(rig: Rig) -> None:
        rig.write(GROWS)
        rig.want(rig.version(memory_bytes=160 * MIB))
        before = await rig.ready()
        for _ in range(20):
            try:
                status, _ = await rig.ask()
            except (OSError, IndexError):
                break  # it is being replaced
            assert status == 200
            await asyncio.sleep(0.05)
        await rig.until(lambda: rig.state()["pid"] not in (None, before["pid"]))
        after = await rig.ready()
        assert "more than its `memory` of 160 MiB" in after["last_exit"]
        assert "exit status 0" in after["last_exit"]
        assert after["restarts"] == 1
        assert "more than its `memory`" in rig.stderr()
        assert (await rig.ask(value=0.0))[0] == 200

    run(tmp_path, scenario)


def test_a_call_that_takes_all_it_can_get_is_not_waited_for(tmp_path: Path) -> None:
    """It is killed long before the machine is short of memory."""

    async def scenario(rig: Rig) -> None:
        rig.write(GROWS)
        rig.want(rig.version(memory_bytes=160 * MIB))
        await rig.ready()
        with pytest.raises((OSError, IndexError)):
            await rig.ask(value=-1.0)
        await rig.until(lambda: rig.state()["restarts"] == 1)
        after = await rig.ready()
        assert "killed by SIGKILL" in after["last_exit"]
        assert "more than its `memory`" in after["last_exit"]

    run(tmp_path, scenario)


def test_within_its_memory_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is looked at."""
    monkeypatch.setattr(supervised, "LOOK_S", 0.0)

    async def scenario(rig: Rig) -> None:
        rig.write(GROWS)
        rig.want(rig.version(memory_bytes=1024 * MIB))
        before = await rig.ready()
        for _ in range(5):
            await rig.ask()
        await asyncio.sleep(0.3)
        assert rig.state()["pid"] == before["pid"]

    run(tmp_path, scenario)


SHARED = """
import os, time
def load():
    def predict(columns):
        time.sleep(0.01)
        return {"y": columns["x"], "pid": [os.getpid()] * len(columns["x"])}
    return predict
"""


def test_several_workers_of_a_version_share_its_requests_and_one_that_dies_is_not_missed(
    tmp_path: Path,
) -> None:
    """Both answer; while one is started again the other does, and requests at the dead one alone fail."""
    (tmp_path / "shared.py").write_text(SHARED)
    config = """
[models.m]
inputs = {x = "float"}
[models.m.versions.v1]
backend = "python:shared:load"
workers = 2
"""
    with serving(tmp_path, config, "m") as server:

        def ask(number: int) -> Any:
            try:
                return server.client.predict("m", {"x": float(number)}).rows[0]["pid"]
            except ClientError as error:
                return error.status

        def both() -> bool:
            return len(set(pool.map(ask, range(8)))) == 2

        with ThreadPoolExecutor(4) as pool:
            server.until(both)
            pids = set(pool.map(ask, range(40)))
            assert len(pids) == 2
            dead = min(pids)
            os.kill(dead, signal.SIGKILL)
            found = list(pool.map(ask, range(100)))
            failed = [one for one in found if one in (502, 503, 504)]
            assert len(failed) <= 4, failed  # what lay with the dead one
            server.until(lambda: both() and dead not in set(pool.map(ask, range(8))))
