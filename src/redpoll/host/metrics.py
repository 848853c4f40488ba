"""Every metric that redpoll exports: its type, labels and help. Nothing else may be counted.

Base units (seconds, bytes, ratios). Never a rollout, unit, prediction or slice value as a label.
"""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One metric. ``kind`` is ``counter``, ``gauge`` or ``histogram``.

    ``merge`` says what becomes of one gauge that several processes set: ``sum`` or ``max``.
    """

    kind: str
    labels: tuple[str, ...]
    help: str
    merge: str = "sum"


METRICS: dict[str, Metric] = {
    "redpoll_requests_total": Metric(
        "counter",
        ("model", "version", "arm", "status"),
        "Requests to a known model, by the version and arm they were assigned to and how they ended.",
    ),
    "redpoll_request_duration_seconds": Metric(
        "histogram",
        ("model", "arm"),
        "From a request's arrival to its answer, as the client feels it.",
    ),
    "redpoll_requests_in_flight": Metric(
        "gauge", ("model",), "Requests that were taken in and are not answered yet."
    ),
    "redpoll_requests_waiting": Metric(
        "gauge", ("model",), "Of those, requests that wait for a free place at their backend."
    ),
    "redpoll_refused_total": Metric(
        "counter",
        ("model", "reason"),
        "Requests and connections refused, by reason; model `_` where none was known.",
    ),
    "redpoll_reading_bytes": Metric(
        "gauge",
        ("process",),
        "Bytes held of requests that have not come whole (bounded by `server.limits.reading_bytes`).",
    ),
    "redpoll_connections": Metric(
        "gauge", ("process",), "Clients' connections (bounded by `server.limits.connections`)."
    ),
    "redpoll_units_missing_total": Metric(
        "counter", ("model",), "Requests that carried no unit though their model routes by one."
    ),
    "redpoll_answers_total": Metric(
        "counter",
        ("model", "version", "role", "status"),
        "Answers of backends, by role (live, shadow) and status.",
    ),
    "redpoll_backend_duration_seconds": Metric(
        "histogram", ("model", "version", "role"), "From asking a backend to its answer."
    ),
    "redpoll_backend_ready": Metric(
        "gauge", ("model", "version"), "1 where the version can answer now, else 0.", "max"
    ),
    "redpoll_worker_restarts_total": Metric(
        "counter", ("model", "version"), "Workers that died and were started again."
    ),
    "redpoll_route_weight_ratio": Metric(
        "gauge", ("model", "version"), "Share of the traffic that a version is to get.", "max"
    ),
    "redpoll_rollout_state": Metric(
        "gauge", ("model", "state"), "1 for the state that the model's newest rollout is in.", "max"
    ),
    "redpoll_rollouts_total": Metric(
        "counter", ("model", "strategy", "result"), "Rollouts that ended, by result."
    ),
    "redpoll_gate_evidence_ratio": Metric(
        "gauge", ("model", "gate"), "Log evidence over log limit: at 1 the gate fails.", "max"
    ),
    "redpoll_gate_answer": Metric(
        "gauge",
        ("model", "gate", "answer"),
        "1 for the answer that a running rollout's gate gives.",
        "max",
    ),
    "redpoll_journal_facts_total": Metric("counter", ("fact",), "Facts written to the journal."),
    "redpoll_journal_lost_total": Metric(
        "counter", ("fact", "reason"), "Facts that could not be written to the journal."
    ),
    "redpoll_journal_lag_seconds": Metric(
        "gauge",
        ("reader",),
        "How far a reader is behind: `control` by its newest folded fact, `sealer` by how long the "
        "oldest finished file has waited.",
        "max",
    ),
    "redpoll_journal_unsynced_seconds": Metric(
        "gauge",
        ("process",),
        "How long the sync that runs has been running: what a power cut would cost; 0: none runs.",
        "max",
    ),
    "redpoll_clock_held_seconds": Metric(
        "gauge",
        ("process",),
        "How far a process's stream is ahead of the clock, which was set back; its time waits.",
        "max",
    ),
    "redpoll_journal_free_bytes": Metric(
        "gauge", (), "Free space on the journal's file system.", "max"
    ),
    "redpoll_capture_left_out_total": Metric(
        "counter",
        ("model", "part", "reason"),
        "Bodies that the journal does not have, or not whole: of a request or an answer, by reason "
        "(share: not drawn; size: longer than `max_body_bytes`).",
    ),
    "redpoll_journal_removed_total": Metric(
        "counter",
        ("model", "fact", "reason"),
        "Sealed facts that were removed, by reason (keep: older than `keep`; disk: past "
        "`max_disk_bytes`).",
    ),
    "redpoll_outcomes_total": Metric(
        "counter",
        ("model", "name", "state"),
        "Outcomes taken in, by state (accepted, rejected); model and name `_` where not known. "
        "Of names that are not declared, a gateway counts 100 by name, and the rest as `_`.",
    ),
    "redpoll_tapped_events_total": Metric(
        "counter",
        ("model", "event", "result"),
        "Events heard at `/v1/tap`, by kind (request, response) and result (accepted, rejected).",
    ),
    "redpoll_build_info": Metric(
        "gauge", ("version", "python"), "Always 1; the versions that run.", "max"
    ),
    "redpoll_route_generation": Metric(
        "gauge", ("process",), "Generation of the route table that a process works with.", "max"
    ),
    "redpoll_process_resident_memory_bytes": Metric(
        "gauge",
        ("process",),
        "Resident memory of a process; of a worker: `worker:<model>/<version>/<index>`.",
        "max",
    ),
    "redpoll_process_cpu_seconds_total": Metric(
        "counter", ("process",), "User and system CPU time of a process, over all its starts."
    ),
}

# Upper bounds of the histograms' buckets, seconds; the last bucket (+Inf) is implied.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
