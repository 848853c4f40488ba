"""What :mod:`redpoll.testing.fake_control` answers to faces that read."""

from __future__ import annotations

from typing import Any

from redpoll.catalog import Model, Version
from redpoll.errors import RedpollError, closest
from redpoll.routes import Route, Target
from redpoll.testing import fake_evidence as evidence
from redpoll.testing import fake_night as night
from redpoll.testing.fake_requests import FakeRequests
from redpoll.testing.fake_system import FakeSystem
from redpoll.views import (
    DecisionView,
    EvidencePoint,
    FailureView,
    ModelView,
    Overview,
    RolloutView,
)


class FakeReads:
    """Holds the night's records and shows them."""

    def __init__(self) -> None:
        self.now_us = night.NOW
        self.models: dict[str, ModelView] = {m.name: m for m in night.models()}
        self.by_id: dict[str, RolloutView] = {
            m.rollout.id: m.rollout for m in self.models.values() if m.rollout
        }
        self.log: list[DecisionView] = list(night.decisions())
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.system = FakeSystem()
        self.requests = FakeRequests(self.log)
        self.error: RedpollError | None = None  # raised by the next call

    # what faces read
    def overview(self) -> Overview:
        """Everything that *Now* shows."""
        self._fail()
        needs = [m for m in self.models.values() if m.needs]
        return Overview(
            models=tuple(self.models.values()),
            sentence=needs[0].needs if needs else "Nothing needs you.",
            as_of_us=self.now_us - 300_000,
            age_s=0.3,
            alerts=tuple(m.needs for m in needs),
            decisions=tuple(self.decisions(None, 8)),
        )

    def model(self, name: str) -> ModelView:
        """One model, or RP-102."""
        self._fail()
        if name not in self.models:
            near = closest(name, self.models)
            raise RedpollError("RP-102", f"There is no model {name!r}.{near}")
        return self.models[name]

    def rollouts(self, model: str) -> tuple[RolloutView, ...]:
        """The model's rollouts, newest first."""
        self.model(model)
        return tuple(r for r in reversed(self.by_id.values()) if r.model == model)

    def rollout(self, name: str) -> RolloutView:
        """By id, or the newest of a model."""
        self._fail()
        if name in self.models and (newest := self.rollouts(name)):
            return newest[0]
        if name not in self.by_id:
            near = closest(name, self.by_id)
            raise RedpollError("RP-400", f"There is no rollout {name!r}.{near}")
        return self.by_id[name]

    def decisions(self, name: str | None = None, limit: int = 50) -> tuple[DecisionView, ...]:
        """The newest Decisions of a rollout, of a model, or of all, newest first."""
        mine = [d for d in self.log if name in (None, d.model, d.subject_id)]
        if not mine and name is not None and name not in {*self.models, *self.by_id}:
            near = closest(name, [*self.models, *self.by_id])
            raise RedpollError("RP-400", f"There is no model and no rollout {name!r}.{near}")
        return tuple(reversed(mine[-limit:]))

    def curve(self, rollout_id: str) -> tuple[EvidencePoint, ...]:
        """How evidence came to where it is."""
        rollout = self.rollout(rollout_id)
        return evidence.curve(rollout.id)

    def failures(self, rollout_id: str, limit: int = 3) -> tuple[FailureView, ...]:
        """The candidate's failures."""
        return evidence.failures()[:limit] if self.rollout(rollout_id).id == "fraud-9" else ()

    def worker_stderr(self, model: str, version: str, lines: int = 40) -> str:
        """The last lines of the workers' stderr."""
        return evidence.STDERR if (model, version) == ("fraud", "7") else ""

    def route(self, model: str) -> Route:
        """The model's route."""
        view = self.model(model)
        targets = {
            v["name"]: Target(version=Version(name=v["name"], backend=v["backend"]), addresses=())
            for v in view.versions
        }
        return Route(
            model=Model(name=model, unit=view.unit, live=view.live),
            number=list(self.models).index(model),
            generation=view.generation,
            live=view.live,
            candidate=view.candidate,
            weight=view.weight,
            targets=targets,
        )

    def versions(self, model: str) -> tuple[dict[str, Any], ...]:
        """The model's versions."""
        return self.model(model).versions

    def _fail(self) -> None:
        error, self.error = self.error, None
        if error:
            raise error
