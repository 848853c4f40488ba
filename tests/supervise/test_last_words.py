"""What a worker wrote last, where that says why it died."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from redpoll.supervise import stderr
from redpoll.supervise.stderr import BoundedFile, Pump
from tests.supervise.rig import Rig, run

WARNS = """
    import os
    def load():
        def predict(columns):
            print("a warning of a call", flush=True)
            if columns["x"][0] == 2.0:
                os._exit(7)
            return {"y": columns["x"]}
        return predict
"""


def test_an_old_line_is_not_why_a_process_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what came just before the end is quoted."""

    async def go() -> None:
        ours, theirs = os.pipe()
        file = BoundedFile(tmp_path / "stderr")
        loop = asyncio.get_running_loop()
        pump = Pump(loop, ours, file)
        assert pump.last_line == ""
        os.write(theirs, b"a warning of an hour ago\n")
        await asyncio.sleep(0.01)
        assert pump.last_line == "a warning of an hour ago"
        monkeypatch.setattr(stderr, "LAST_WORDS_S", 0.02)
        await asyncio.sleep(0.04)
        assert pump.last_line == ""
        os.write(theirs, b"last words")
        os.close(theirs)
        pump.close()
        assert pump.last_line == "last words"
        file.close()

    asyncio.run(go())


def test_a_process_that_was_killed_is_not_said_to_have_died_of_what_it_wrote(
    tmp_path: Path,
) -> None:
    """SIGKILL comes from outside (the kernel, short of memory); an end of its own is explained."""

    async def scenario(rig: Rig) -> None:
        rig.write(WARNS)
        rig.want(rig.version())
        state = await rig.ready()
        await rig.ask()
        os.kill(state["pid"], signal.SIGKILL)
        await rig.until(lambda: rig.state()["restarts"] == 1)
        assert rig.state()["last_exit"] == "killed by SIGKILL"
        await rig.ready()
        with pytest.raises((OSError, IndexError)):
            await rig.ask(value=2.0)
        await rig.until(lambda: rig.state()["restarts"] == 2)
        assert rig.state()["last_exit"] == "exit status 7: a warning of a call"

    run(tmp_path, scenario)


def test_what_could_not_be_started_at_all_is_the_last_exit(tmp_path: Path) -> None:
    """Not the exit before it: the interpreter was taken away while the worker ran."""

    async def scenario(rig: Rig) -> None:
        rig.write(WARNS)
        python = tmp_path / "python"
        python.symlink_to(sys.executable)
        rig.want(rig.version(python="./python"))
        state = await rig.ready()
        python.unlink()
        os.kill(state["pid"], signal.SIGKILL)
        await rig.until(lambda: rig.state()["restarts"] >= 2)
        assert "python could not be started" in rig.state()["last_exit"]
        assert "No such file" in rig.state()["last_exit"]

    run(tmp_path, scenario)
