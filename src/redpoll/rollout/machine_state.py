"""What the rollout machine knows: records that are folded from Decisions, and nothing else.

Times are µs since the epoch, weights fractions in [0, 1]. Nothing here is ever stored: after any
crash :func:`redpoll.rollout.machine_fold.fold` makes the same records from the same Decisions.
"""

from __future__ import annotations

from typing import Any

import msgspec

from redpoll.catalog import Plan, Record
from redpoll.facts import Decision
from redpoll.stats.latency import LatencyReference

ACTIVE = ("pending", "running", "paused")
ENDED = ("promoted", "rolled_back", "aborted", "superseded")
STATES = ACTIVE + ENDED

# Why a rollout is paused. Only PERSON, STEP, RESTARTS and LOST leave the gates on watch as they are:
# after SPLIT and CHANGED the evidence is not worth acting on. LOST ends by itself.
PERSON, STEP, GATE, SPLIT, CHANGED, RESTARTS, LOST = (
    "person",
    "step",
    "gate",
    "split",
    "changed",
    "restarts",
    "lost",
)

LINGER_US = 10_000_000  # a version that lost its traffic finishes what it was asked before it stops
ENDED_KEPT = 200  # ended rollouts a model remembers beside the newest


class RolloutState(Record, frozen=True, kw_only=True):
    """One rollout, as its Decisions left it."""

    id: str
    model: str
    version: str
    stable: str
    plan: Plan
    spec_digest: str
    unit: str = "request"
    plan_from: str = "catalog"  # catalog | given (an own plan came with the start)
    length: float = 0.0  # requests of both arms that the plan asks for, frozen at the start
    latency_reference: LatencyReference | None = None  # the stable's latencies before the start
    cursors: dict[str, int] = msgspec.field(default_factory=dict)  # its evidence's start
    actor: str = "redpoll"
    reason: str | None = None

    state: str = "pending"
    cause: str | None = None  # why it is paused
    begun: bool = False  # the candidate was ready once and got its first weight
    step: int = 0
    weight: float = 0.0  # in force
    top_weight: float = 0.0  # the largest of this epoch
    salt: str = ""
    epoch: int = 0
    waived: tuple[str, ...] = ()  # failed gates that a person has accepted

    started_us: int = 0
    load_from_us: int = 0  # from when the candidate's load time counts
    since_us: int = 0  # of the present state
    step_since_us: int = 0  # of the present weight
    running_since_us: int = 0  # from when the candidate's restarts count
    ended_us: int | None = None
    step_generation: int = 0  # the route's generation with which it began
    step_base: int = 0  # candidate requests at this weight before this step began
    evidence_set: int = 0  # how often the evidence was set aside
    evidence_since_us: int = 0
    evidence_generation: int = 0  # requests routed by an older table are not counted
    sentence: str = ""
    last: dict[str, Any] = msgspec.field(default_factory=dict)  # the newest Decision's evidence

    @property
    def active(self) -> bool:
        """Whether it still holds the candidate's place."""
        return self.state in ACTIVE


class ModelState(Record, frozen=True, kw_only=True):
    """A model's route and rollouts. ``rollout`` is the newest one, running or ended."""

    name: str
    live: str | None = None
    generation: int = 0  # grows by one with every Decision about this model
    since_us: int = 0  # since when ``live`` is live
    rollouts: int = 0  # ever started
    rollout: RolloutState | None = None
    ended: tuple[RolloutState, ...] = ()  # older ones, oldest first
    was_live: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # version -> when it stopped being live
    warm: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # version -> until when its workers stay

    @property
    def active(self) -> RolloutState | None:
        """The rollout that is pending, running or paused."""
        return self.rollout if self.rollout is not None and self.rollout.active else None

    def find(self, rollout_id: str) -> RolloutState | None:
        """A rollout by its id, among those remembered."""
        if self.rollout is not None and self.rollout.id == rollout_id:
            return self.rollout
        return next((one for one in self.ended if one.id == rollout_id), None)


class Health(Record, frozen=True, kw_only=True):
    """What is known about the two versions besides their answers."""

    ready: bool = False  # the candidate answers
    detail: str = ""  # why it is not ready
    load_s: float = 60.0  # the candidate's time to become ready
    since_us: int = 0  # since when we have been asking: a wait that nobody watched does not count
    crashes: int = 0  # of the candidate since ``running_since_us``
    changed: str | None = None  # the version whose fingerprint changed since ``evidence_since_us``
    lost: int = 0  # facts that the journal lacks since ``running_since_us``
    lost_us: int = 0  # when the newest of these losses was told


class Decide(Record, frozen=True, kw_only=True):
    """Append this Decision (its id and cursors are the shell's to fill in), then act on it."""

    model: str
    decision: Decision


Action = Decide
