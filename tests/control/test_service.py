"""Control as pages, API and CLI call it: asynchronous, with its loop running."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from msgspec.structs import replace

from redpoll.catalog import Plan, Step
from redpoll.control.service import Control
from redpoll.errors import RedpollError
from redpoll.store.port import StoredModel
from tests.control.rig import QUICK, Rig

HOLD = Plan(steps=(Step(weight=0.2, pause_s=None),), min_requests=10_000)


@contextlib.asynccontextmanager
async def served(rig: Rig):
    """The rig's controller gives way to a whole Control on the same folder."""
    rig.die()
    control = Control(rig.data, rig.journal, rig.store, clock=rig.clock)
    await control.start()
    rig.engine = control.engine
    try:
        yield control
    finally:
        await control.stop()


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path, plan=HOLD)
    made.live()
    return made


async def refused(asking) -> RedpollError:
    with pytest.raises(RedpollError) as error:
        await asking
    return error.value


def test_a_whole_life_by_its_faces(rig):
    """Start, pause, resume, promote, roll back: each returns what pages show."""

    async def life():
        async with served(rig) as control:
            view = await control.start_rollout("churn", "v2", reason="try it", actor="anna")
            assert (view.id, view.state, view.stable) == ("churn-1", "pending", "v1")
            rig.run(3)
            view = control.rollout("churn-1")
            assert view.state == "running" and view.weight == 0.2
            assert view.arms[1].requests > 5 and view.arms[0].version == "v1"
            assert {gate.metric for gate in view.gates} == {"error_rate", "latency"}
            assert view.observed_share == pytest.approx(0.2, abs=0.15)
            assert "1 rollout of 20" in view.false_alarm
            paused = await control.act("churn-1", "pause", reason="lunch", actor="anna")
            assert paused.state == "paused" and "lunch" in paused.sentence
            assert control.model("churn").back == (), "while it runs, going back is its abort"
            assert control.overview().models[0].needs, "a paused rollout needs somebody"
            await control.act("churn-1", "resume", reason="back again", actor="anna")
            done = await control.act("churn-1", "promote", reason="fine", actor="anna", full=True)
            assert done.state == "promoted" and control.route("churn").live == "v2"
            left = control.model("churn").back
            assert [one.version for one in left] == ["v1"] and left[0].until_us == done.since_us
            back = await control.rollback("churn", reason="not so fine", actor="anna")
            assert back.state == "rolled_back" and control.model("churn").live == "v1"
            assert control.model("churn").back == (), "v2 has to earn its place again"
            actions = [d.action for d in control.decisions("churn", 50)]
            assert actions[:3] == ["rollback", "promote", "resume"], "the newest first"
            assert [d.action for d in control.decisions("churn-1", 2)] == ["promote", "resume"]

    asyncio.run(life())


def test_decisions_of_a_name_that_is_none_and_a_rollback_to_none_are_told_so(rig):
    """A typo is no silence, and is not spoken of as a rollout that must be aborted first."""

    async def ask():
        async with served(rig) as control:
            for name, near in (("chrun", "churn"), ("churn-9", "churn")):
                with pytest.raises(RedpollError, match=f"Did you mean '{near}'") as none:
                    control.decisions(name)
                assert none.value.code == "RP-400"
            await control.start_rollout("churn", "v2", reason="try it")
            assert [d.action for d in control.decisions("churn-1")] == ["start"]
            error = await refused(control.rollback("churn", to="v22", reason="go back"))
            assert error.code == "RP-103"
            assert "it has v1, v2, v3" in error.message and "abort" not in error.message

    asyncio.run(ask())


def test_a_stale_page_changes_nothing(rig):
    """RP-401 with what happened meanwhile; the right generation is taken."""

    async def life():
        async with served(rig) as control:
            seen = control.route("churn").generation
            await control.start_rollout("churn", "v2", generation=seen)
            error = await refused(
                control.act("churn-1", "abort", reason="late click", generation=seen)
            )
            assert error.code == "RP-401" and "v2 starts beside v1" in error.message
            assert control.rollout("churn-1").state in ("pending", "running")
            now = control.route("churn").generation
            await control.act("churn-1", "abort", reason="late click", generation=now)

    asyncio.run(life())


def test_names_that_are_not_there_get_a_suggestion(rig):
    """Models RP-102, versions RP-103, rollouts RP-400, commands RP-402."""

    async def life():
        async with served(rig) as control:
            error = await refused(control.start_rollout("chrun", "v2"))
            assert error.code == "RP-102" and "'churn'" in error.message
            assert (await refused(control.start_rollout("churn", "v7"))).code == "RP-103"
            assert (await refused(control.act("churn-8", "pause", reason="why"))).code == "RP-400"
            await control.start_rollout("churn", "v2")
            error = await refused(control.act("churn-1", "pasue", reason="why not"))
            assert error.code == "RP-402" and "'pause'" in error.message
            assert (await refused(control.act("churn-1", "pause", reason=""))).code == "RP-403"
            with pytest.raises(RedpollError, match="chrun-1"):
                control.rollout("chrun-1")

    asyncio.run(life())


def test_only_the_newest_rollout_takes_commands(rig):
    """An older one says which came after."""

    async def life():
        async with served(rig) as control:
            await control.start_rollout("churn", "v2")
            await control.start_rollout("churn", "v3")
            error = await refused(control.act("churn-1", "retry", reason="once more"))
            assert error.code == "RP-402" and "superseded" in error.message
            assert [one.id for one in control.rollouts("churn")] == ["churn-2", "churn-1"]

    asyncio.run(life())


def test_retry_takes_the_plan_of_today_unless_an_own_one_was_given(rig):
    """A plan from the catalog is read again; one that came with the start is kept."""

    async def life():
        async with served(rig) as control:
            await control.start_rollout("churn", "v2")
            await control.act("churn-1", "abort", reason="wrong plan")
            catalog = rig.store.read()
            stored = catalog.models["churn"]
            model = replace(stored.model, rollout=QUICK)
            models = {"churn": StoredModel(number=7, model=model)}
            rig.store.write(
                replace(catalog, models=models),
                catalog.revision,
                actor="t",
                what="plan",
                time_us=rig.clock.now_us(),
            )
            control.engine.catalog = rig.store.read()
            again = await control.act("churn-1", "retry", reason="right plan")
            assert again.id == "churn-2" and again.plan["min_requests"] == QUICK.min_requests
            await control.start_rollout("churn", "v3", plan=HOLD)
            await control.act("churn-3", "abort", reason="once more")
            assert (await control.act("churn-3", "retry", reason="same")).plan["min_requests"] == (
                HOLD.min_requests
            )

    asyncio.run(life())


def test_a_rollout_by_user_is_refused_where_requests_carry_no_user(tmp_path):
    """Fewer than 90 % of recent requests: nobody could be judged."""
    rig = Rig(tmp_path, unit="user")
    rig.live()
    rig.unit = "request"
    rig.run(10)

    async def life():
        async with served(rig) as control:
            error = await refused(control.start_rollout("churn", "v2"))
            assert error.code == "RP-402" and "90%" in error.message

    asyncio.run(life())


def test_events_bring_every_decision_as_it_takes_effect(rig):
    """From the moment of listening on, in order, and they end with the controller."""

    async def life():
        heard: list[str] = []
        async with served(rig) as control:

            async def listen():
                heard.extend([decision.action async for decision in control.events()])

            listener = asyncio.create_task(listen())
            await asyncio.sleep(0)
            await control.start_rollout("churn", "v2")
            await control.act("churn-1", "abort", reason="enough")
            await asyncio.sleep(0)
        await asyncio.wait_for(listener, 2)
        assert heard[0] == "start" and heard[-1] == "abort"

    asyncio.run(life())


def test_there_is_one_controller_on_a_folder(rig):
    """The second is refused, RP-301, and works once the first is gone."""

    async def life():
        async with served(rig):
            second = Control(rig.data, rig.journal, rig.store, clock=rig.clock)
            with pytest.raises(RedpollError) as error:
                await second.start()
            assert error.value.code == "RP-301"
        async with served(rig) as third:
            assert third.model("churn").live == "v1"

    asyncio.run(life())


def test_an_ended_rollout_keeps_its_curve_and_arms_over_restarts(tmp_path):
    """Also when a newer one took its place."""
    rig = Rig(tmp_path)
    rig.rates["v2"] = 0.3
    rig.live()
    rig.start()
    assert rig.finish() == "rolled_back"

    async def look():
        async with served(rig) as control:
            points = control.curve("churn-1")
            assert points and max(point.evidence for point in points) > 40
            assert control.rollout("churn-1").arms[1].bad >= 3
            await control.start_rollout("churn", "v3")
        async with served(rig) as control:
            assert control.curve("churn-1") == points
            assert control.rollout("churn-1").gates[0].answer == "fail"

    asyncio.run(look())


def test_the_loop_follows_by_itself(rig):
    """Nobody calls it: requests are counted within a fraction of a second."""

    async def life():
        async with served(rig) as control:
            await control.start_rollout("churn", "v2")
            for _ in range(100):
                rig.request()
                rig.clock.advance(20_000)
                rig.gateway.beat()
                rig.gateway.flush()
                await asyncio.sleep(0.01)
            for _ in range(100):
                if control.rollout("churn-1").arms[0].requests > 20:
                    return
                await asyncio.sleep(0.02)
            raise AssertionError("nothing was counted")

    asyncio.run(life())


def test_workers_stderr_is_read_from_its_end(rig):
    """The last lines of all workers of the version; nothing where nothing was written."""
    rig.data.stderr("churn", "v2", 0).write_text("\n".join(f"line {i}" for i in range(100)))

    async def life():
        async with served(rig) as control:
            assert control.worker_stderr("churn", "v2", 2).splitlines() == ["line 98", "line 99"]
            assert control.worker_stderr("churn", "v1") == ""

    asyncio.run(life())


def test_the_route_is_the_published_one_while_a_new_declaration_waits(rig):
    """Who asks is told where requests go now, not where they will go once workers have loaded."""
    published = rig.route()
    socket = published.targets["v1"].addresses[0].removeprefix("unix:")
    worker = {"model": "churn", "version": "v1", "state": "ready", "socket": socket}
    rig.data.workers.write_text(json.dumps({"old": worker}))

    async def ask():
        async with served(rig) as control:
            engine = control.engine
            before = engine.store.read()
            stored = before.models["churn"]
            changed = replace(stored, model=replace(stored.model, inputs={"age": "int"}))
            after = replace(before, models={"churn": changed})
            engine.store.write(after, before.revision, actor="t", what="t", time_us=1)
            engine.catalog = engine.store.read()
            engine.publish()
            assert rig.route().coming is not None
            assert control.route("churn") == rig.route()
            assert control.route("churn").targets == published.targets

    asyncio.run(ask())
