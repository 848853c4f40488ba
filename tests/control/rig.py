"""A gateway of a few lines and a controller, on one clock that stands still unless told to go."""

from __future__ import annotations

import json
import random
from pathlib import Path

from redpoll import routes
from redpoll.catalog import Model, Plan, Step, Version
from redpoll.clock import SimClock
from redpoll.control import asking, render
from redpoll.control.engine import Engine
from redpoll.facts import Answer, Request
from redpoll.host.paths import DataDir
from redpoll.ids import IdMaker
from redpoll.journal.files import Journal
from redpoll.rollout import assign, commands
from redpoll.rollout.machine_state import ENDED
from redpoll.store.memory import MemoryStore
from redpoll.store.port import Catalog, StoredModel

START_US = 1_790_000_000_000_000
QUICK = Plan(steps=(Step(weight=0.2, pause_s=2.0), Step(weight=0.5, pause_s=2.0)), min_requests=40)


def seeded(seed: int):
    source = random.Random(seed)
    return source.randbytes


class Rig:
    """One data folder, one clock, one gateway stream, one controller at a time."""

    def __init__(self, root: Path, *, seed: int = 1, plan: Plan = QUICK, unit: str = "request"):
        self.clock = SimClock(START_US)
        self.data = DataDir(root).make()
        self.journal = Journal(root, self.clock)
        self.store = MemoryStore()
        self.random = random.Random(seed)
        self.seed = seed
        self.unit = unit
        self.ids = IdMaker(seeded(seed + 1))
        self.rates = {"v1": 0.01, "v2": 0.01, "v3": 0.01}
        self.latency = {"v1": 10_000, "v2": 10_000, "v3": 10_000}
        model = Model(
            name="churn",
            live="v1",
            unit=unit,
            rollout=plan,
            versions=tuple(
                Version(name=name, backend=f"python:m:{name}") for name in ("v1", "v2", "v3")
            ),
        )
        self.store.write(
            Catalog(models={"churn": StoredModel(number=7, model=model)}),
            0,
            actor="test",
            what="set up",
            time_us=START_US,
        )
        self.gateway = self.open_gateway()
        self.ready("v1", "v2", "v3")
        self.engine = self.boot()

    def open_gateway(self):
        writer = self.journal.open("gateway")
        writer.beat()
        writer.flush()
        return writer

    def boot(self) -> Engine:
        self.seed += 10
        engine = Engine(self.data, self.journal, self.store, self.clock, seeded(self.seed))
        engine.open()
        return engine

    def die(self) -> None:
        """As kill -9 does: what was not flushed is gone, locks are let go."""
        self.engine.writer.abandon()
        self.engine.follower.close()

    def reboot(self) -> None:
        self.die()
        self.engine = self.boot()

    def ready(self, *versions: str) -> None:
        found = {
            f"churn/{name}/0": {"model": "churn", "version": name, "state": "ready", "restarts": 0}
            for name in versions
        }
        self.data.workers.write_text(json.dumps(found))

    def route(self) -> routes.Route:
        return routes.decode(self.data.routes.read_bytes()).routes["churn"]

    def request(self, unit: str | None = None, *, answer: bool = True, latency: int | None = None):
        """One request through the published route; its prediction id and version."""
        route = self.route()
        prediction = self.ids.prediction_id(7, self.clock.now_us())
        place, arm, version = unit or prediction, "none", route.live
        if route.candidate and 0.0 < route.weight < 1.0:
            arm = assign.arm(route.salt, place, route.weight)
            version = route.candidate if arm == "candidate" else route.live
        self.gateway.append(
            "churn",
            Request(
                prediction,
                prediction,
                1,
                unit=unit,
                arm=arm,
                arm_probability=route.weight,
                rollout_id=route.rollout_id,
                route_generation=route.generation,
            ),
        )
        if answer:
            self.answer(prediction, version, latency)
        self.gateway.flush()
        return prediction, version

    def answer(self, prediction: str, version: str, latency: int | None = None) -> None:
        bad = self.random.random() < self.rates[version]
        spread = self.random.lognormvariate(0.0, 0.5)
        self.gateway.append(
            "churn",
            Answer(
                prediction,
                version,
                status="error" if bad else "ok",
                error_code="RP-200" if bad else None,
                latency_us=latency or int(self.latency[version] * spread),
            ),
        )

    def run(self, seconds: float, per_second: int = 50, *, tick_s: float = 0.1) -> None:
        """Traffic at a steady pace, beats between, and a tick of control every ``tick_s``."""
        for _ in range(round(seconds / tick_s)):
            for _ in range(round(per_second * tick_s)):
                unit = None if self.unit == "request" else f"u{self.random.randrange(300)}"
                self.request(unit)
            self.clock.advance(int(tick_s * 1e6))
            self.gateway.beat()
            self.gateway.flush()
            self.engine.tick()

    def quiet(self, seconds: float, tick_s: float = 0.5) -> None:
        self.run(seconds, 0, tick_s=tick_s)

    def live(self, version: str = "v1") -> None:
        """A first live version, and enough of its traffic for a latency reference."""
        asked = asking.asked(self.engine, "anna", "the first", "churn")
        self.engine.perform(commands.first_live(self.state, version, asked))
        self.run(11)

    def start(self, version: str = "v2", plan: Plan | None = None) -> None:
        _, model = asking.model(self.engine, "churn")
        spec = asking.spec(self.engine, model, version, plan)
        asked = asking.asked(self.engine, "anna", "try it", "churn")
        names = [one.name for one in model.versions]
        self.engine.perform(commands.start(self.state, spec, names, asked))

    def tell(self, name: str, full: bool = False) -> None:
        asked = asking.asked(self.engine, "anna", "because", "churn", full)
        self.engine.perform(commands.command(self.state, name, asked))

    def finish(self, most_s: int = 120) -> str:
        """Run until the rollout has ended; its state."""
        for _ in range(most_s):
            if self.rollout.state in ENDED:
                break
            self.run(1)
        return self.rollout.state

    @property
    def watch(self):
        return self.engine.watches["churn"]

    @property
    def view(self):
        return render.rollout_view(self.engine, self.state, self.rollout)

    @property
    def state(self):
        return self.engine.state("churn")

    @property
    def rollout(self):
        return self.state.rollout
