"""Workers under supervision: whatever happens to one, the version answers again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from redpoll.host.process import alive
from redpoll.supervise import pool
from tests.supervise.rig import DECLARATION, Rig, run

ANSWERS = """
    def load():
        return lambda columns: {"y": columns["x"] + 1}
"""
# What the value asks of the model; for tests that need one worker that can do anything.
OBEYS = """
    import os, re, subprocess, sys, time
    def load():
        def predict(columns):
            value = columns["x"][0]
            if value == 2.0:
                os._exit(7)
            if value == 3.0:
                print("last words", flush=True)
                os.abort()
            if value == 4.0:
                stuck_in_c()
            if value == 5.0:
                time.sleep(0.5)
            if value == 6.0:
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
                return {"y": [float(child.pid)]}
            return {"y": columns["x"]}
        return predict
    def stuck_in_c():
        re.match("(a+)+b", "a" * 60)
"""


def first(answer: Any) -> Any:
    return answer["outputs"][0]["data"][0]


def test_a_wanted_version_is_started_and_an_unwanted_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start and readiness are facts, with fingerprint and environment; so is the end."""
    monkeypatch.setattr(pool, "LINGER_S", 0.1)

    async def scenario(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version(workers=2))
        state = await rig.ready()
        await rig.ready(index=1)
        assert alive(state["pid"])
        assert first((await rig.ask())[1]) == 2.0
        deploy = [entry.fact for entry in rig.journal.read()][-1]
        assert len(deploy.fingerprint) == 64
        assert '"numpy"' in deploy.environment
        rig.want(rig.version(workers=2), stopped=["v1"])
        await rig.until(lambda: not rig.state())
        await rig.until(lambda: not alive(state["pid"]))
        await rig.until(lambda: rig.deploys().count("v1 stop") == 2)
        assert not rig.listens()

    run(tmp_path, scenario)


def test_a_version_that_is_wanted_again_in_time_is_not_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway may still send by the table before: a worker lingers, and may be kept."""
    monkeypatch.setattr(pool, "LINGER_S", 0.4)

    async def scenario(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version())
        before = await rig.ready()
        rig.want(rig.version(), stopped=["v1"])
        await asyncio.sleep(0.2)
        assert (await rig.ask())[0] == 200
        rig.want(rig.version())
        await asyncio.sleep(0.5)
        assert rig.state()["pid"] == before["pid"]
        assert rig.deploys() == ["v1 start", "v1 ready"]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("value", "words"),
    [(2.0, "exit status 7"), (3.0, "SIGABRT"), (0.0, "SIGKILL")],
    ids=["exit", "abort", "kill"],
)
def test_a_worker_that_dies_is_started_again(tmp_path: Path, value: float, words: str) -> None:
    """However it died; how is kept, counted, and a fact; its last words are in its stderr."""

    async def scenario(rig: Rig) -> None:
        rig.write(OBEYS)
        rig.want(rig.version())
        before = await rig.ready()
        if value:
            with pytest.raises((ConnectionError, IndexError)):
                await rig.ask(value=value)
        else:
            os.kill(before["pid"], signal.SIGKILL)
        await rig.until(lambda: rig.state()["pid"] not in (None, before["pid"]))
        after = await rig.ready()
        assert words in after["last_exit"]
        assert after["restarts"] == 1
        assert (await rig.ask())[0] == 200
        assert rig.deploys() == ["v1 start", "v1 ready", "v1 crash", "v1 start", "v1 ready"]
        assert words in rig.stderr()
        if value == 3.0:
            assert "last words" in rig.stderr()
        restarts = rig.counters.cell("redpoll_worker_restarts_total", ("m", "v1"))
        assert restarts.value == 1.0

    run(tmp_path, scenario)


def test_a_worker_that_is_stuck_is_replaced_and_shows_where(tmp_path: Path) -> None:
    """Even in C code that never lets go of the interpreter."""

    async def scenario(rig: Rig) -> None:
        rig.write(OBEYS)
        rig.want(rig.version(timeout_ms=200, kill_after_s=0.2))
        before = await rig.ready()
        assert (await rig.ask(value=1.0))[0] == 200
        with pytest.raises((ConnectionError, IndexError)):
            await rig.ask(value=4.0)
        await rig.until(lambda: rig.state()["pid"] not in (None, before["pid"]))
        await rig.ready()
        assert "stuck_in_c" in rig.stderr()
        assert "stuck in one call" in rig.stderr()
        assert "v1 crash" in rig.deploys()

    run(tmp_path, scenario)


def test_a_slow_call_within_its_bound_is_left_alone(tmp_path: Path) -> None:
    """``kill_after`` counts from the end of the time-out."""

    async def scenario(rig: Rig) -> None:
        rig.write(OBEYS)
        rig.want(rig.version(timeout_ms=200, kill_after_s=5.0))
        before = await rig.ready()
        assert (await rig.ask(value=5.0))[0] == 200
        assert rig.state()["pid"] == before["pid"]

    run(tmp_path, scenario)


def test_a_model_that_cannot_be_loaded_says_why_and_waits_longer_each_time(tmp_path: Path) -> None:
    """And is mended without a restart of the server."""

    async def scenario(rig: Rig) -> None:
        rig.write("def load():\n    raise ValueError('weights are missing')")
        rig.want(rig.version())
        await rig.until(lambda: rig.state().get("restarts", 0) >= 3)
        state = rig.state()
        assert "weights are missing" in state["detail"] + str(state["last_exit"])
        assert "Traceback" in rig.stderr()
        rig.write(ANSWERS)
        await rig.ready()
        assert rig.state()["detail"] == ""

    run(tmp_path, scenario)


def test_a_model_that_loads_too_slowly_is_ended_and_shows_where(tmp_path: Path) -> None:
    """``load`` bounds it."""

    async def scenario(rig: Rig) -> None:
        rig.write("import time\ndef load():\n    time.sleep(60)")
        rig.want(rig.version(load_s=3.0))
        await rig.until(lambda: "did not become ready" in rig.state().get("detail", ""))
        assert "in load" in rig.stderr()

    run(tmp_path, scenario)


def test_an_interpreter_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """With its path; the others run."""

    async def scenario(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version("v1", python=".venv/bin/python"), rig.version("v2"))
        await rig.ready("v2")
        await rig.until(lambda: rig.state().get("restarts", 0) >= 2)
        assert f"{tmp_path}/.venv/bin/python" in rig.state()["detail"]

    run(tmp_path, scenario)


def test_a_changed_configuration_is_taken_over_without_a_gap(tmp_path: Path) -> None:
    """The successor takes the socket's name when it is ready; until then the old one answers."""

    async def scenario(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version())
        before = await rig.ready()
        rig.want(rig.version(threads=2))
        statuses = []
        while alive(before["pid"]):
            statuses.append((await rig.ask())[0])
        after = await rig.ready()
        assert set(statuses) == {200}
        assert after["pid"] != before["pid"]
        assert (await rig.ask())[0] == 200
        await rig.until(lambda: rig.deploys()[-1] == "v1 stop")

    run(tmp_path, scenario)


def test_a_successor_that_cannot_load_leaves_the_old_one_serving(tmp_path: Path) -> None:
    """A mistake in a file must not end what runs."""

    async def scenario(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version())
        before = await rig.ready()
        rig.write("raise RuntimeError('broken')")
        rig.want(rig.version(threads=2))
        await rig.until(lambda: "broken" in rig.stderr())
        await asyncio.sleep(0.3)
        assert rig.state()["state"] == "ready"
        assert rig.state()["pid"] == before["pid"]
        assert (await rig.ask())[0] == 200
        rig.write(ANSWERS)
        await rig.until(lambda: rig.state()["pid"] != before["pid"])
        await rig.ready()
        await rig.until(lambda: not alive(before["pid"]))
        assert (await rig.ask())[0] == 200

    run(tmp_path, scenario)


def test_other_code_under_the_same_version_is_a_fact(tmp_path: Path) -> None:
    """Seen when a worker starts, also after a restart of the server."""

    async def serve(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version())
        state = await rig.ready()
        assert "v1 changed" not in rig.deploys()
        rig.write(ANSWERS + "# edited\n")
        os.kill(state["pid"], signal.SIGKILL)
        await rig.until(lambda: "v1 changed" in rig.deploys())
        await rig.until(lambda: rig.state()["fingerprint"] != state["fingerprint"])

    async def serve_again(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version())
        await rig.ready()
        assert rig.deploys()[0] == "v1 changed"

    run(tmp_path, serve)
    run(tmp_path, serve_again)


def test_what_a_worker_started_ends_with_it(tmp_path: Path) -> None:
    """Its whole process group."""

    async def scenario(rig: Rig) -> None:
        rig.write(OBEYS)
        rig.want(rig.version())
        before = await rig.ready()
        child = int(first((await rig.ask(value=6.0))[1]))
        assert alive(child)
        os.kill(before["pid"], signal.SIGKILL)
        await rig.until(lambda: not alive(child))
        await rig.ready()

    run(tmp_path, scenario)


def test_megabytes_on_stderr_stay_bounded(tmp_path: Path) -> None:
    """The newest half megabyte is kept, and the calls are answered."""

    async def scenario(rig: Rig) -> None:
        rig.write(
            """
            def load():
                def predict(columns):
                    for number in range(40):
                        print("x" * 100_000)
                    print("the end")
                    return {"y": columns["x"]}
                return predict
            """
        )
        rig.want(rig.version())
        await rig.ready()
        assert (await rig.ask())[0] == 200
        await rig.until(lambda: rig.stderr().endswith("the end\n"))
        assert len(rig.stderr()) <= 1 << 20

    run(tmp_path, scenario)


def test_a_route_table_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    """What runs goes on; the next good table counts."""

    async def scenario(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version())
        before = await rig.ready()
        rig.data.routes.write_text("{")
        await asyncio.sleep(0.2)
        assert rig.state()["pid"] == before["pid"]
        rig.want(rig.version(), rig.version("v2"))
        await rig.ready("v2")

    run(tmp_path, scenario)


def test_a_data_folder_that_is_too_deep_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    """In a folder that only we may enter, and that goes when the server ends."""
    deep = tmp_path / ("deep-" * 20)
    deep.mkdir()
    made: list[Path] = []

    async def scenario(rig: Rig) -> None:
        rig.write(ANSWERS)
        rig.want(rig.version())
        await rig.ready()
        assert (await rig.ask())[0] == 200
        made.append(Path(rig.data.socket(1, "v1", 0, DECLARATION)).parent)
        assert rig.folder not in made[0].parents
        assert rig.listens()

    run(deep, scenario)
    assert not made[0].exists()
