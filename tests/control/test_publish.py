"""The route table is a picture of catalog and Decisions."""

from __future__ import annotations

import os

from redpoll import routes
from tests.control.rig import Rig


def test_the_table_names_the_decision_that_it_comes_from(tmp_path):
    """Stream and sequence of the newest Decision, and a generation that grew by one with each."""
    rig = Rig(tmp_path)
    rig.live()
    before = routes.decode(rig.data.routes.read_bytes())
    rig.start()
    after = routes.decode(rig.data.routes.read_bytes())
    assert after.generation == before.generation + 1
    assert (after.stream, after.sequence) == (rig.engine.writer.stream, 2)
    assert (before.watching, after.watching) == (False, True)


def test_a_pending_candidate_runs_and_takes_nothing(tmp_path):
    """Its workers are wanted, its weight is 0."""
    rig = Rig(tmp_path)
    rig.live()
    rig.ready("v1")
    rig.start()
    rig.run(1)
    route = rig.route()
    assert (route.candidate, route.weight, route.rollout_id) == ("v2", 0.0, "churn-1")
    assert {name: target.run for name, target in route.targets.items()} == {
        "v1": True,
        "v2": True,
        "v3": False,
    }


def test_a_version_that_lost_its_traffic_lingers_and_then_stops(tmp_path):
    """Ten seconds for what it was asked; the generation stays, nothing was decided."""
    rig = Rig(tmp_path)
    rig.live()
    rig.start()
    rig.run(1)
    rig.tell("abort")
    generation = rig.route().generation
    assert rig.route().targets["v2"].run and rig.route().candidate is None
    rig.run(11)
    assert not rig.route().targets["v2"].run and rig.route().generation == generation


def test_after_promotion_the_former_version_is_kept_warm_for_as_long_as_the_plan_says(tmp_path):
    """keep_warm of the plan: an hour by default."""
    rig = Rig(tmp_path)
    rig.live()
    rig.start()
    rig.run(1)
    rig.tell("promote", full=True)
    rig.quiet(3590, tick_s=59.0)
    assert rig.route().live == "v2" and rig.route().targets["v1"].run
    rig.quiet(60, tick_s=20.0)
    assert not rig.route().targets["v1"].run


def test_a_table_that_says_nothing_new_is_not_written_again(tmp_path):
    """Readers watch its modification time."""
    rig = Rig(tmp_path)
    rig.live()
    os.utime(rig.data.routes, ns=(1, 1))
    rig.run(2)
    assert rig.data.routes.stat().st_mtime_ns == 1
    rig.start()
    assert rig.data.routes.stat().st_mtime_ns != 1


def test_a_lost_table_is_the_same_when_it_is_written_again(tmp_path):
    """Deleted with the controller down: same generation, same routes."""
    rig = Rig(tmp_path)
    rig.live()
    rig.start()
    rig.run(1)
    before = routes.decode(rig.data.routes.read_bytes())
    rig.data.routes.unlink()
    rig.reboot()
    after = routes.decode(rig.data.routes.read_bytes())
    assert (after.generation, after.stream, after.sequence, after.routes) == (
        before.generation,
        before.stream,
        before.sequence,
        before.routes,
    )


def test_a_gateways_table_generation_is_translated_into_the_models_own(tmp_path):
    """What a page compares with the model's generation."""
    rig = Rig(tmp_path)
    rig.live()
    first = rig.engine.publisher.current.generation
    rig.start()
    now = rig.engine.publisher.current.generation
    publisher = rig.engine.publisher
    assert publisher.model_generation(first, "churn") == 1
    assert publisher.model_generation(now, "churn") == rig.state.generation == 2
    assert publisher.model_generation(99, "churn") is None
