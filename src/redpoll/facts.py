"""The eight kinds of facts, as frozen typed records, and the columns that they are sealed with.

A record holds what the fact says. Where it stands (stream, sequence), when it was written (time),
its schema version and its model belong to the :class:`Entry` around it. The names and types of the
columns are public: ``tests/golden/*.schema.json`` holds them fast.
"""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMA = 1
NO_MODEL = "_"
# Names of Samples that say how many facts the log lacks: by fact and reason; removed: and by hour.
LOST, REMOVED = "facts_lost", "facts_removed"


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of the eight kinds. On disk a fact is an array: fields are only ever added at the end.

    Facts hold no cycles, so the garbage collector need not look at them: a fold reads millions.
    """


class Request(Fact, frozen=True, array_like=True):
    """Written before any backend is asked. ``inputs`` is JSON, columns × rows."""

    prediction_id: str
    request_id: str
    rows: int
    unit: str | None = None
    subject: str | None = None
    groups: dict[str, str] = {}
    arm: str = "none"  # stable | candidate | baseline | none
    arm_probability: float = 0.0  # of the candidate, in [0, 1]
    rollout_id: str | None = None
    route_generation: int = 0
    version_requested: str | None = None
    draws: str = "[]"  # JSON: list of {purpose, choice, probability}
    inputs: str | None = None  # JSON
    body: bytes | None = None
    encoding: str | None = None
    capture: str = "full"  # full | cut | none
    capture_probability: float = 1.0
    trace_id: str | None = None


class Answer(Fact, frozen=True, array_like=True):
    """One for each backend asked; time-outs, refusals and crashes too."""

    prediction_id: str
    version: str
    role: str = "live"  # live | shadow | noise | human
    status: str = "ok"  # ok | error | timeout | refused | invalid | abandoned | lost
    error_code: str | None = None
    latency_us: int = 0  # from the request's arrival to the answer, as the client feels it
    queue_us: int = 0
    attempts: int = 1
    decided_by: str = "model"  # model | human | fallback
    outputs: str | None = None  # JSON
    reported: str = "{}"  # JSON
    transform_hash: bytes | None = None


class Outcome(Fact, frozen=True, array_like=True):
    """Something that happened after a prediction."""

    outcome_id: str
    prediction_id: str | None
    request_id: str | None
    row: int
    name: str
    value: float | None = None
    value_text: str | None = None
    happened: int = 0  # µs since the epoch, UTC
    retracts: str | None = None
    source: str = ""


class Review(Fact, frozen=True, array_like=True):
    """A person's decision on a row."""

    review_id: str
    prediction_id: str
    row: int
    reviewer: str
    answer: str  # JSON
    suggestion: str | None = None  # JSON
    suggestion_shown: bool = False
    suggestion_probability: float = 0.0
    started: int = 0  # µs since the epoch, UTC
    submitted: int = 0
    guideline: str = ""
    comment: str | None = None


class Decision(Fact, frozen=True, array_like=True):
    """A change of intention or state, by whomever."""

    decision_id: str
    subject_kind: str  # rollout | route | automation | catalog | alert | access | run
    subject_id: str
    action: str
    from_state: str | None = None
    to_state: str | None = None
    actor: str = "redpoll"
    reason: str | None = None
    sentence: str = ""
    evidence: str = "{}"  # JSON
    cursors: str = "{}"  # JSON: stream -> sequence
    spec_digest: str | None = None


class Deploy(Fact, frozen=True, array_like=True):
    """A version's start, readiness, stop or crash."""

    version: str
    event: str  # start | ready | stop | crash | changed
    fingerprint: str = ""
    environment: str = "{}"  # JSON
    detail: str | None = None


class Sample(Fact, frozen=True, array_like=True):
    """A named number with labels, taken on a timer."""

    name: str
    labels: dict[str, str] = {}
    value: float = 0.0


class Erase(Fact, frozen=True, array_like=True):
    """A person was erased."""

    subject_hash: str
    receipt: str
    counts: str = "{}"  # JSON


KINDS: tuple[type[Fact], ...] = (Request, Answer, Outcome, Review, Decision, Deploy, Sample, Erase)
NAMES: tuple[str, ...] = tuple(kind.__name__.lower() for kind in KINDS)
CODES: dict[type[Fact], int] = {kind: code for code, kind in enumerate(KINDS)}
BEAT = 255  # an empty frame: "this stream is complete up to here"; never sealed

STATUSES = ("ok", "error", "timeout", "refused", "invalid", "abandoned", "lost")
ARMS = ("stable", "candidate", "baseline", "none")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A fact and where it stands. ``raw`` is a body as it came; ``raw_format`` says how to read it.

    ``raw_format`` is one of :mod:`redpoll.capture`'s numbers; 0 means there is no raw body.
    """

    stream: str
    sequence: int
    time_us: int
    schema: int
    model: str
    fact: Fact
    raw: bytes = b""
    raw_format: int = 0


# Column types of the sealed log, by kind. "?" marks a column that may be null.
COMMON: dict[str, str] = {
    "stream": "string",
    "sequence": "int64",
    "time": "timestamp[us, UTC]",
    "schema": "int16",
}
COLUMNS: dict[str, dict[str, str]] = {
    "request": {
        "prediction_id": "string",
        "request_id": "string",
        "rows": "int32",
        "unit": "string?",
        "subject": "string?",
        "groups": "map<string,string>",
        "arm": "string",
        "arm_probability": "float64",
        "rollout_id": "string?",
        "route_generation": "int64",
        "version_requested": "string?",
        "draws": "json",
        "inputs": "json?",
        "body": "binary?",
        "encoding": "string?",
        "capture": "string",
        "capture_probability": "float64",
        "trace_id": "string?",
    },
    "answer": {
        "prediction_id": "string",
        "version": "string",
        "role": "string",
        "status": "string",
        "error_code": "string?",
        "latency_us": "int64",
        "queue_us": "int64",
        "attempts": "int16",
        "decided_by": "string",
        "outputs": "json?",
        "reported": "json",
        "transform_hash": "binary?",
    },
    "outcome": {
        "outcome_id": "string",
        "prediction_id": "string?",
        "request_id": "string?",
        "row": "int32",
        "name": "string",
        "value": "float64?",
        "value_text": "string?",
        "happened": "timestamp[us, UTC]",
        "retracts": "string?",
        "source": "string",
    },
    "review": {
        "review_id": "string",
        "prediction_id": "string",
        "row": "int32",
        "reviewer": "string",
        "answer": "json",
        "suggestion": "json?",
        "suggestion_shown": "bool",
        "suggestion_probability": "float64",
        "started": "timestamp[us, UTC]",
        "submitted": "timestamp[us, UTC]",
        "guideline": "string",
        "comment": "string?",
    },
    "decision": {
        "decision_id": "string",
        "subject_kind": "string",
        "subject_id": "string",
        "action": "string",
        "from_state": "string?",
        "to_state": "string?",
        "actor": "string",
        "reason": "string?",
        "sentence": "string",
        "evidence": "json",
        "cursors": "json",
        "spec_digest": "string?",
    },
    "deploy": {
        "version": "string",
        "event": "string",
        "fingerprint": "string",
        "environment": "json",
        "detail": "string?",
    },
    "sample": {"name": "string", "labels": "map<string,string>", "value": "float64"},
    "erase": {"subject_hash": "string", "receipt": "string", "counts": "json"},
}


def row(entry: Entry) -> dict[str, Any]:
    """A fact with its common columns, in the order in which it is sealed (``raw`` left out)."""
    common = {
        "stream": entry.stream,
        "sequence": entry.sequence,
        "time": entry.time_us,
        "schema": entry.schema,
    }
    return common | msgspec.structs.asdict(entry.fact)
