"""What control hands to pages, API and CLI: plain records, already decided, ready to be shown.

Times are µs since the epoch, rates fractions in [0, 1], latencies ms, throughput requests/s.
``as_of_us`` is how far the journal was folded; ``age_s`` how long ago that was.
"""

from __future__ import annotations

from typing import Any

from redpoll.catalog import Record


class ArmView(Record, frozen=True, kw_only=True):
    """What one arm did since the rollout began (or one version lately)."""

    version: str
    requests: int = 0
    bad: int = 0
    by_status: dict[str, int] = {}
    p50_ms: float | None = None
    p95_ms: float | None = None
    requests_per_second: float = 0.0  # over the last minute


class GateView(Record, frozen=True, kw_only=True):
    """A gate's answer now. ``evidence`` is the e-value, ``limit`` what it must reach to fail."""

    metric: str
    kind: str
    answer: str  # pass | fail | undecided
    evidence: float
    limit: float
    sentence: str
    slice: str = "all"
    pass_evidence: float | None = None  # where the gate has a margin > 0
    pass_limit: float | None = None


class EvidencePoint(Record, frozen=True, kw_only=True):
    """One point of a gate's curve over time."""

    time_us: int
    metric: str
    evidence: float


class DecisionView(Record, frozen=True, kw_only=True):
    """One Decision, as a line of a timeline."""

    decision_id: str
    time_us: int
    model: str
    subject_kind: str
    subject_id: str
    action: str
    from_state: str | None
    to_state: str | None
    actor: str
    reason: str | None
    sentence: str
    evidence: dict[str, Any]
    cursors: dict[str, int]
    spec_digest: str | None = None


class FailureView(Record, frozen=True, kw_only=True):
    """A failed request of the candidate, beside what the stable answered to the same input."""

    prediction_id: str
    time_us: int
    inputs: str | None  # JSON, columns x rows
    status: str
    error_code: str | None
    latency_ms: float
    candidate_answer: str | None  # JSON, or the error's text
    stable_version: str | None = None
    stable_answer: str | None = None  # JSON
    stable_latency_ms: float | None = None


class StepView(Record, frozen=True, kw_only=True):
    """One step of the plan and how far it got."""

    weight: float
    pause_s: float | None
    state: str  # done | now | next
    since_us: int | None = None
    requests: int = 0  # of the candidate, in this step


class RolloutView(Record, frozen=True, kw_only=True):
    """A rollout, whole."""

    id: str
    model: str
    version: str
    stable: str
    strategy: str
    state: str  # pending running paused promoted rolled_back aborted superseded
    step: int
    weight: float
    sentence: str  # what is and why, one sentence
    next_sentence: str  # what happens next and when
    gates: tuple[GateView, ...] = ()
    steps: tuple[StepView, ...] = ()
    arms: tuple[ArmView, ...] = ()  # stable first, candidate second
    started_us: int = 0
    since_us: int = 0  # when the present state began
    as_of_us: int = 0
    age_s: float = 0.0  # of the evidence
    generation: int = 0  # of the model's route
    salt_epoch: int = 0
    plan: dict[str, Any] = {}
    spec_digest: str = ""
    false_alarm: str = ""  # the bound, in words
    actions: tuple[str, ...] = ()  # which of pause resume promote abort retry rollback are possible
    shared_causes: tuple[str, ...] = ()  # sentences
    observed_share: float | None = None  # candidate's share of the requests since the last change
    observed_requests: int = 0
    gateways: dict[str, int] = {}  # process -> route generation it works with


class Left(Record, frozen=True, kw_only=True):
    """A version that was live within ``rollback_window``, and until when."""

    version: str
    until_us: int


class ModelView(Record, frozen=True, kw_only=True):
    """A model's row on *Now* and in ``redpoll status``."""

    name: str
    live: str | None
    candidate: str | None
    weight: float
    generation: int
    unit: str
    requests_per_second: float = 0.0
    error_rate: float | None = None
    p95_ms: float | None = None
    unit_share: float | None = None  # of recent requests that carried the unit
    sentence: str = ""
    needs: str = ""  # what a person must do; empty: nothing
    rollout: RolloutView | None = None  # running, or the newest ended one
    arms: tuple[ArmView, ...] = ()
    versions: tuple[
        dict[str, Any], ...
    ] = ()  # name, backend, state, fingerprint, workers, restarts
    back: tuple[Left, ...] = ()  # what a rollback can switch to at once, the latest first


class Overview(Record, frozen=True, kw_only=True):
    """All models, and whether redpoll itself is well."""

    models: tuple[ModelView, ...]
    sentence: str
    as_of_us: int
    age_s: float
    facts_lost: int = 0
    alerts: tuple[str, ...] = ()
    decisions: tuple[DecisionView, ...] = ()  # the newest, of all models


class CountView(Record, frozen=True, kw_only=True):
    """How often something happened: facts lost, requests refused, and why."""

    name: str  # a fact, a model, or ``_`` where none was known
    reason: str
    count: int


class ProcessView(Record, frozen=True, kw_only=True):
    """One process of redpoll, or the workers of one version."""

    name: str
    kind: str  # gateway | control | sealer | supervisor | worker
    state: str  # in words: serving, does not run, …
    well: str  # pass | wait | warn | fail
    processes: int = 1
    detail: str = ""
    up_s: float | None = None
    restarts: int | None = None
    generation: int | None = None  # of the route table that it works with
    memory_bytes: int | None = None
    cpu_ratio: float | None = None  # of one core, over the last seconds
    behind_s: float | None = None


class BoundView(Record, frozen=True, kw_only=True):
    """Something that may only grow so far: what it is now, and what it may be."""

    name: str
    key: str  # of the configuration
    now: int
    most: int  # within the last hour
    limit: int
    unit: str = ""  # "" | bytes


class LineView(Record, frozen=True, kw_only=True):
    """A number over the last hour, oldest first, and where it usually is (its middle 80 %)."""

    name: str
    unit: str  # /s | s | bytes
    now: float
    values: tuple[float, ...]
    usual: tuple[float, float] | None
    start_us: int
    end_us: int


class SystemView(Record, frozen=True, kw_only=True):
    """Whether redpoll loses anything, and how its parts are."""

    sentence: str
    severity: str  # calm | warn | back
    as_of_us: int
    age_s: float
    notes: tuple[str, ...] = ()  # further sentences
    version: str = ""
    facts_written: int = 0  # since the data folder began
    facts_lost: int = 0
    losses: tuple[CountView, ...] = ()
    requests: int = 0
    refused: tuple[CountView, ...] = ()
    closed_as_lost: int = 0  # requests whose gateway died before it could answer
    outcomes_rejected: int = 0
    units_missing: int = 0
    left_out: tuple[CountView, ...] = ()  # bodies that were captured in part or not at all
    removed: tuple[
        CountView, ...
    ] = ()  # sealed facts that were older than is kept, or past a bound
    behind_s: dict[str, float] = {}  # by reader
    free_bytes: int | None = None
    bytes_a_day: float | None = None  # by which free space shrinks
    live_bytes: int = 0  # of write-ahead files
    live_files: int = 0
    processes: tuple[ProcessView, ...] = ()
    bounds: tuple[BoundView, ...] = ()
    lines: tuple[LineView, ...] = ()


class AnswerView(Record, frozen=True, kw_only=True):
    """One backend's answer to a request."""

    version: str
    role: str  # live | shadow | noise | human
    status: str
    error_code: str | None
    latency_ms: float
    queue_ms: float
    attempts: int
    decided_by: str
    outputs: str | None  # JSON, columns x rows; of an error {"error": text}
    reported: dict[str, Any]
    time_us: int
    stream: str
    sequence: int


class OutcomeView(Record, frozen=True, kw_only=True):
    """Something that happened after a prediction."""

    outcome_id: str
    name: str
    row: int
    value: float | None
    value_text: str | None
    happened_us: int
    arrived_us: int
    retracts: str | None
    retracted: bool
    source: str


class WindowView(Record, frozen=True, kw_only=True):
    """A declared outcome that has not come. ``absent``: what silence means once it is closed."""

    name: str
    ends_us: int
    open: bool
    absent: str | None


class RequestView(Record, frozen=True, kw_only=True):
    """Everything about one prediction."""

    prediction_id: str
    request_id: str
    model: str
    time_us: int
    stream: str
    sequence: int
    rows: int
    unit: str | None
    unit_kind: str  # user | session | request
    subject: str | None
    groups: dict[str, str]
    arm: str
    arm_probability: float
    rollout_id: str | None
    route_generation: int
    version_requested: str | None
    draws: list[dict[str, Any]]
    inputs: str | None  # JSON, columns x rows
    body: str | None  # of a model without declared inputs, as text
    encoding: str | None
    capture: str
    capture_probability: float
    redacted: tuple[str, ...]  # never journalled
    trace_id: str | None
    answers: tuple[AnswerView, ...]  # in order of time
    outcomes: tuple[OutcomeView, ...]
    windows: tuple[WindowView, ...]
    decisions: tuple[DecisionView, ...]  # the last before it, the first behind it
    sentence: str
    notes: tuple[str, ...] = ()


class RequestLine(Record, frozen=True, kw_only=True):
    """A request with its live answer, as a line of a list. None: no answer is known."""

    prediction_id: str
    request_id: str
    model: str
    time_us: int
    unit: str | None
    rows: int
    arm: str
    rollout_id: str | None
    version: str | None
    status: str | None
    error_code: str | None
    decided_by: str | None
    latency_ms: float | None


class RequestPage(Record, frozen=True, kw_only=True):
    """A page of a search, newest first.

    ``more``: the cursor of the next page; None: nothing older fits. ``cut``: the search reached its
    bound before the page was full; it goes on at ``more``.
    """

    lines: tuple[RequestLine, ...]
    more: tuple[int, str, int] | None
    looked: int  # facts
    reached_us: int | None
    cut: bool
    unreadable: tuple[str, ...] = ()  # sealed files that are damaged, and were passed over


class ApplyLine(Record, frozen=True, kw_only=True):
    """One line of what ``apply`` does, or would do. ``waits``: a person must act first (exit 3)."""

    sentence: str
    model: str = ""
    action: str = "none"  # see redpoll.control.apply
    waits: bool = False


def amount(evidence: float) -> str:
    """An e-value or a limit in few digits, never a logarithm: ``1.4``, ``8``, ``12,000``.

    >>> amount(1.43), amount(8.0), amount(12345.6), amount(3.2e14)
    ('1.4', '8', '12,346', '3e+14')
    """
    if evidence >= 1e9:
        return f"{evidence:.0e}"
    return f"{evidence:,.0f}" if evidence >= 10 else f"{evidence:.2g}"
