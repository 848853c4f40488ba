"""Every setting that ``redpoll.toml`` takes, and every one whose place is kept for later.

One table for the reader, for suggestions and for ``docs/configuration.md`` (a test compares).
Sections are written as in the file; ``*`` is a name that people choose, ``[]`` an array's element.
"""

from __future__ import annotations

from typing import NamedTuple


class Setting(NamedTuple):
    """A setting: its type and default as a person would write them, and what it means."""

    type: str
    default: str
    meaning: str
    restart: bool = False  # takes effect when the server is started again


SECTIONS: dict[str, dict[str, Setting]] = {
    "": {
        "data_dir": Setting(
            "path", '"redpoll-data"', "Folder of catalog, journal, artifacts and run files.", True
        ),
        "server": Setting("table", "", "Where redpoll listens and what it bounds."),
        "models": Setting("table", "", "One table a model: `[models.<name>]`."),
    },
    "server": {
        "data": Setting(
            "address", '"127.0.0.1:8080"', "Data plane: predictions. Port 0 takes a free one.", True
        ),
        "control": Setting("address", '"127.0.0.1:8081"', "Control plane: API and console.", True),
        "log": Setting("table", "", "How redpoll logs, on stderr."),
        "limits": Setting("table", "", "Bounds of the data plane."),
        "tokens_file": Setting(
            "path", "none", "Hashes of the tokens; needed to listen beyond loopback.", True
        ),
        "metrics": Setting(
            "address",
            "none",
            "A listener for `GET /metrics` alone, which needs no token; beyond loopback it needs "
            "`tokens_file` as the others do.",
            True,
        ),
        "tls": Setting("table", "none", "Certificate and key: both listeners speak TLS."),
        "origins": Setting(
            "array of origins",
            "all",
            'Whose pages may send outcomes from a browser: `["https://shop.example"]`.',
            True,
        ),
        "drain": Setting(
            "duration", '"10s"', "How long SIGTERM waits for requests under way.", True
        ),
        "on_journal_failure": Setting(
            "refuse, serve",
            '"refuse"',
            "While the journal cannot be written (a full disk): 503, or answer and count what is "
            "lost; rollouts pause then.",
            True,
        ),
    },
    "server.log": {
        "level": Setting("debug, info, warning, error", '"info"', "The least that is said.", True),
        "format": Setting(
            "text, json", '"text"', "A line a message, or a JSON object a line.", True
        ),
    },
    "server.tls": {
        "cert": Setting("path", "required", "The certificate, with its chain, in PEM.", True),
        "key": Setting("path", "required", "Its key in PEM, without a password.", True),
    },
    "server.limits": {
        "connections": Setting("integer", "4096", "Clients connected at once.", True),
        "header_bytes": Setting("size", '"32KiB"', "Request line and headers; past it 413.", True),
        "body_bytes": Setting("size", '"16MiB"', "A body, inflated; past it 413.", True),
        "reading_bytes": Setting(
            "size",
            '"256MiB"',
            "What all connections together may hold of requests that have not come whole; past "
            "it 503. At least `body_bytes`.",
            True,
        ),
        "in_flight": Setting(
            "integer", "1024", "Requests being answered at once, all models.", True
        ),
        "queue": Setting("integer", "1024", "Requests that wait for a place; past it 503.", True),
        "idle": Setting("duration", '"75s"', "A silent connection is closed after that.", True),
        "header_wait": Setting(
            "duration",
            '"10s"',
            "From a request's first byte to its last header; past it 408.",
            True,
        ),
        "body_wait": Setting("duration", '"30s"', "For a body to arrive whole; past it 408.", True),
    },
    "models.*": {
        "live": Setting(
            "version",
            "the only version",
            "The version that should be live. A changed value starts the rollout (see below).",
        ),
        "unit": Setting(
            "user, session, request", '"request"', "What is routed as one, and tested as one."
        ),
        "unit_from": Setting(
            '"header:<name>" or "input:<column>"',
            "none",
            "Where a request says its unit. Needed unless `unit` is `request`.",
        ),
        "unit_missing": Setting(
            "stable, reject",
            '"stable"',
            "A request without its unit: the stable answers and it is no evidence, or 400.",
        ),
        "inputs": Setting(
            "table of column = type",
            "none",
            "The model's columns: int, float, bool, category, text, time, image, audio, embedding.",
        ),
        "output": Setting("table", "none", "What the model answers."),
        "tensor": Setting("table", "none", "A matrix that clients send in place of columns."),
        "groups": Setting(
            'table of attribute = "header" or "input:<column>"',
            "none",
            "Attributes kept for analysis and never sent to a model.",
        ),
        "redact": Setting("array of columns", "[]", "Columns that never reach the journal."),
        "capture": Setting("table", "", "What the journal keeps of bodies, and for how long."),
        "limits": Setting("table", "", "Bounds of this model."),
        "versions": Setting("table", "", "One entry a version; a string is its backend."),
        "outcomes": Setting(
            "table", "", "One table an outcome: `[models.<name>.outcomes.<name>]`."
        ),
        "rollout": Setting("table", "", "How a new version takes over."),
    },
    "models.*.limits": {
        "in_flight": Setting("integer", "256", "Requests being answered at once."),
        "queue": Setting("integer", "256", "Requests that wait for a place; past it 503."),
    },
    "models.*.capture": {
        "share": Setting(
            "share",
            "1.0",
            "Of the requests whose bodies are kept, with those of their answers; every request is "
            "a fact all the same.",
        ),
        "max_body_bytes": Setting(
            "size", "none", "A longer body of a request is cut, of an answer left out."
        ),
        "max_disk_bytes": Setting(
            "size",
            "none",
            "Of the model's sealed requests, answers and outcomes: past it the oldest hours go.",
        ),
        "keep": Setting(
            "duration", '"90d"', "Older sealed requests, answers and outcomes are removed."
        ),
    },
    "models.*.output": {
        "name": Setting("name", "required", "The output's column."),
        "type": Setting("binary, category, float, text, json", "required", "What it holds."),
        "score": Setting("name", "none", "The probability's column (binary, category)."),
        "positive": Setting("string, number or boolean", "none", "The positive class (binary)."),
    },
    "models.*.tensor": {
        "name": Setting("name", "required", "The tensor's name in the request."),
        "columns": Setting("array of columns", "required", "What its columns are, in order."),
    },
    "models.*.versions.*": {
        "backend": Setting(
            "backend",
            "required",
            "`sklearn:<file>`, `onnx:<file>`, `mlflow:<folder>`, `python:<module>:<callable>`, "
            "`in-process:<module>:<callable>`, "
            "`http(s)://…` of an OIP model, `json+http(s)://…` of anything that takes plain rows, "
            "or an array of such URLs: replicas.",
        ),
        "python": Setting(
            "path",
            "redpoll's own",
            "The Python that workers run in: the model's own environment. redpoll is not needed there.",
        ),
        "method": Setting(
            "method",
            "class and probability",
            "Which method of a scikit-learn estimator answers: `predict_proba`, `transform`, …",
        ),
        "providers": Setting(
            "array of names",
            '["CPUExecutionProvider"]',
            "Execution providers of ONNX Runtime, in order (onnx). One that is not there is an error.",
        ),
        "batch": Setting(
            "table", "", "Answer requests that come together in one call of the model (workers)."
        ),
        "workers": Setting("integer", "1", "Worker processes (all but URLs)."),
        "memory": Setting(
            "size", "", 'What one worker may use ("2GiB"); past it the worker is replaced.'
        ),
        "warm_up": Setting(
            "path", "", "JSON file of rows or requests that each worker answers before it is ready."
        ),
        "threads": Setting("integer", "1", "BLAS and OpenMP threads of a worker."),
        "load": Setting("duration", '"60s"', "How long a worker may take to become ready."),
        "kill_after": Setting(
            "duration", '"30s"', "A call stuck that long past its time-out: the worker is replaced."
        ),
        "timeout_ms": Setting("integer", "5000", "How long an answer may take; past it 504."),
        "host": Setting(
            "host", "the URL's own", "The `Host` header that a remote backend is asked with."
        ),
        "headers_env": Setting(
            "table of header = variable",
            "none",
            "Headers for a remote backend, with the environment variables that hold their values.",
        ),
        "ca_file": Setting(
            "path", "the system's", "Certificates (PEM) that an `https` backend is checked against."
        ),
        "pool": Setting("table", "", "Persistent connections to the backend."),
        "resend": Setting(
            "boolean",
            "true",
            "Send once more where a reused connection closed before any byte of an answer.",
        ),
        "files": Setting(
            "array of paths",
            "[]",
            "Side files and folders, copied and fingerprinted with the model (sklearn, python).",
        ),
    },
    "models.*.versions.*.batch": {
        "rows": Setting("integer", "required", "Rows of one call at most."),
        "wait": Setting(
            "duration",
            '"2ms"',
            "How long the first one waits for those who asked along with the last ones; at most 50ms.",
        ),
    },
    "models.*.versions.*.pool": {
        "idle": Setting(
            "duration", '"4s"', "Connections are given up after that; less than the other side's."
        ),
        "connections": Setting("integer", "64", "Open connections at once."),
    },
    "models.*.outcomes.*": {
        "window": Setting("duration", "none", "From the request to `happened`."),
        "grace": Setting("duration", '"0s"', "How much later an arrival still is in time."),
        "bad": Setting("boolean", "false", "That it happened speaks against the prediction."),
        "label": Setting("boolean", "false", "Its value is the true answer."),
        "absent": Setting(
            "negative, missing", "by its values", "What silence means once the window is closed."
        ),
    },
    "models.*.rollout": {
        "strategy": Setting("canary", '"canary"', "How a version is tried."),
        "alpha": Setting(
            "fraction", "0.05", "Chance of a false rollback, over all gates, for ever."
        ),
        "steps": Setting(
            "array of tables", "1%, 10%, 50%, 10 minutes each", "Weights, growing; then promotion."
        ),
        "advance_on": Setting(
            "not_fail, pass",
            '"not_fail"',
            "Go on unless a gate fails, or only when all gates pass (they need a margin).",
        ),
        "min_requests": Setting("integer", "200", "Candidate requests that each step needs."),
        "max_weight": Setting("weight", '"100%"', "No step goes beyond it."),
        "on_fail": Setting(
            "rollback, pause", '"rollback"', "What a failed gate does; a pause keeps the weight."
        ),
        "keep_warm": Setting(
            "duration", '"1h"', "How long the loser's workers stay after the end."
        ),
        "rollback_window": Setting(
            "duration", '"7d"', "A version live within that is switched back to at once."
        ),
        "gates": Setting(
            "array of tables", "error_rate and latency", "Replaces the default gates."
        ),
    },
    "models.*.rollout.steps[]": {
        "weight": Setting("weight", "required", "The candidate's share of the requests."),
        "pause": Setting(
            'duration or "manual"',
            '"0s"',
            "How long the step lasts at least; manual: until promoted.",
        ),
    },
    "models.*.rollout.gates[]": {
        "metric": Setting("error_rate, latency", "required", "What is compared."),
        "kind": Setting("guardrail", '"guardrail"', "Not worse by more than the margin."),
        "margin": Setting(
            "fraction", "0.0 (error_rate)", "Absolute: 0.002 allows .2 points more errors."
        ),
        "margin_ratio": Setting(
            "ratio", "1.2 (latency)", "Relative: 1.2 allows 20 % more errors, or 20 % slower."
        ),
        "alpha_share": Setting("fraction", "equal shares", "The gate's part of `alpha`."),
    },
}

# Settings that later releases bring. Their names are kept, so that no other meaning takes them.
LATER: dict[str, tuple[str, ...]] = {
    "": ("include", "alerts"),
    "server": ("gateways",),
    "models.*": ("request_id_from", "automation"),
    "models.*.rollout": ("match", "ask_timeout", "deadline", "on_deadline"),
    "models.*.rollout.gates[]": ("slices",),
}

# Values of interfaces that later releases bring, by what they are values of.
LATER_BACKENDS: tuple[str, ...] = ()
LATER_STRATEGIES = ("shadow", "blue_green")
LATER_METRICS = ("null_rate", "disagreement", "outcome:", "reported:")
LATER_KINDS = ("objective",)
LATER_ON_FAIL = ("ask",)


def home_of(key: str) -> str:
    """`` It belongs in [models.<name>.rollout].`` where a key is known elsewhere, or nothing."""
    homes = [section for section, keys in SECTIONS.items() if key in keys and section]
    homes += [section for section, keys in LATER.items() if key in keys and section]
    if len(homes) != 1:
        return ""
    return f" It belongs in {homes[0].replace('*', '<name>')}."


def settings() -> dict[str, Setting]:
    """Every setting by its whole name: ``models.*.rollout.steps[].weight``."""
    return {
        f"{section}.{key}" if section else key: setting
        for section, keys in SECTIONS.items()
        for key, setting in keys.items()
    }
