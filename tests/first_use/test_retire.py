"""A version is retired: nothing offers it any more, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec.structs import replace

from redpoll.catalog import Config, Plan, Step
from redpoll.control.service import Control
from redpoll.errors import RedpollError
from tests.cli.conftest import Run
from tests.control.rig import Rig
from tests.control.test_service import refused, served
from tests.web_control.conftest import Client, client, control

__all__ = ["client", "control"]

HOLD = Plan(steps=(Step(weight=0.2, pause_s=None),), min_requests=10_000)
WHY = {"reason": "superseded", "actor": "anna"}


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path, plan=HOLD)
    made.live()
    return made


def names(control: Control) -> dict[str, str]:
    return {row["name"]: row["part"] for row in control.versions("churn")}


def routed(control: Control) -> set[str]:
    return set(control.route("churn").targets)


def test_what_is_needed_cannot_be_retired(rig):
    """Live, in a rollout, or what a rollback would go back to; each says what to do."""

    async def life():
        async with served(rig) as control:
            error = await refused(control.retire_version("churn", "v1", **WHY))
            assert (error.code, "it is live" in error.message) == ("RP-402", True)
            await control.start_rollout("churn", "v2", reason="try it")
            rig.run(2)
            for version in ("v1", "v2"):
                error = await refused(control.retire_version("churn", version, now=True, **WHY))
                assert "churn-1 (running) needs it" in error.message
            await control.act("churn-1", "promote", reason="fine", full=True)
            error = await refused(control.retire_version("churn", "v1", **WHY))
            assert "a rollback may go back to it" in error.message and "--now" in error.message
            error = await refused(control.retire_version("churn", "v9", **WHY))
            assert error.code == "RP-103"
            error = await refused(control.retire_version("churn", "v1", reason=" x "))
            assert error.code == "RP-403"
            assert names(control) == {"v1": "warm", "v2": "live", "v3": "idle"}, "nothing happened"
            assert "retire" not in str([d.action for d in control.decisions("churn")])

    asyncio.run(life())


def test_a_retired_version_is_offered_nowhere_and_comes_back_when_added_again(rig):
    """Route, rollouts, a new controller; the Decision says who and why; the name stays taken."""

    async def life():
        async with served(rig) as control:
            (line,) = await control.retire_version("churn", "v2", **WHY)
            assert "v2 is retired" in line.sentence
            assert routed(control) == {"v1", "v3"}
            decision = control.decisions("churn", 1)[0]
            assert (decision.action, decision.actor, decision.reason) == (
                "retire_version", "anna", "superseded",
            )  # fmt: skip
            error = await refused(control.start_rollout("churn", "v2", reason="again"))
            assert "retired by anna: superseded" in error.message
            error = await refused(control.retire_version("churn", "v2", **WHY))
            assert "retired already" in error.message
        async with served(rig) as control:
            assert names(control) == {"v1": "live", "v2": "retired", "v3": "idle"}
            assert routed(control) == {"v1", "v3"}
            stored = rig.store.read().models["churn"]
            (old,) = [one for one in stored.model.versions if one.name == "v2"]
            other = replace(old, backend=f"{old.backend}/else")
            error = await refused(control.add_version("churn", other))
            assert error.code == "RP-002", "the name stays taken"
            (line,) = await control.add_version("churn", old)
            assert "v2 is back" in line.sentence
            assert routed(control) == {"v1", "v2", "v3"}
            assert (await control.start_rollout("churn", "v2", reason="again")).state == "pending"

    asyncio.run(life())


def test_a_file_does_not_bring_a_retired_version_back_by_itself(rig):
    """A restart applies the file: it says that the version stays retired; as `live` it is refused."""

    async def life():
        async with served(rig) as control:
            await control.retire_version("churn", "v2", **WHY)
            model = rig.store.read().models["churn"].model
            assert {one.name for one in model.versions} == {"v1", "v2", "v3"}
            file = Config(path="redpoll.toml", data_dir=str(rig.data.root), models=(model,))
            lines = await control.apply(file)
            assert any("retired by anna" in line.sentence for line in lines)
            assert routed(control) == {"v1", "v3"}
            error = await refused(control.apply(replace(file, models=(replace(model, live="v2"),))))
            assert error.code == "RP-002" and "retired by anna" in error.message

    asyncio.run(life())


def test_the_window_of_a_rollback_can_be_given_up(rig):
    """With ``now`` the version goes, and the way back with it."""

    async def life():
        async with served(rig) as control:
            await control.start_rollout("churn", "v2", reason="try it")
            rig.run(2)
            await control.act("churn-1", "promote", reason="fine", full=True)
            await control.retire_version("churn", "v1", now=True, **WHY)
            assert routed(control) == {"v2", "v3"}
            with pytest.raises(RedpollError) as error:
                await control.rollback("churn", reason="back please")
            assert error.value.code in ("RP-103", "RP-402")
            assert control.route("churn").live == "v2"
            assert control.model("churn").back == (), "no page offers a way back that is gone"

    asyncio.run(life())


def test_over_http(client: Client):
    """The reason is kept, a stale generation is refused, unknown keys too."""
    path = "/api/v1/models/churn/versions/v1/retire"
    answer = client.ask("POST", path, body=json.dumps({"reason": "old", "now": True}).encode())
    assert answer.status == 200, answer.text
    assert client.control.asked[-1][1]["now"] is True
    assert client.ask("POST", path, body=b'{"reason": "old", "now": 1}').status == 400
    assert client.ask("POST", path, body=b'{"reason": "old", "nwo": true}').status == 400
    stale = client.ask("POST", path, body=b'{"reason": "old"}', headers={"if-match": '"1"'})
    assert stale.status == 409


def test_by_the_command_without_a_server(redpoll: Run, tmp_path):
    """The files are changed under the server's lock, and list and status say it."""
    (tmp_path / "redpoll.toml").write_text(
        '[models.m]\nlive = "v1"\n[models.m.versions]\n'
        'v1 = "http://127.0.0.1:1/v2/models/m"\nv2 = "http://127.0.0.1:2/v2/models/m"\n'
    )
    assert redpoll("apply").code == 0
    done = redpoll("version", "retire", "m", "v2", "--reason", "never used")
    assert done.code == 0, done.err
    rows = redpoll("version", "list", "m", "--json").json()["versions"]
    assert {row["name"]: row["state"] for row in rows}["v2"] == "retired"
    told = redpoll("explain", "m")
    assert told.code == 0, "a model without a rollout is explained, too"
    assert "retired by" in told.out and "never used" in told.out
    assert redpoll("explain", "mm").code == 1
    done = redpoll("version", "retire", "m", "v1", "--reason", "never used")
    assert (done.code, "it is live" in done.err) == (1, True)
    assert redpoll("version", "retire", "m", "v2").code == 2, "a reason is wanted"
