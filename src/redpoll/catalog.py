"""Catalog records: what people want. Frozen; what is being done about it is in Decisions.

Durations are seconds, weights fractions in [0, 1], sizes bytes. ``config`` makes these records from
a ``redpoll.toml``; a store keeps them, versioned.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")

INPUT_TYPES = ("int", "float", "bool", "category", "text", "time", "image", "audio", "embedding")
WORKER_KINDS = (
    "sklearn",
    "onnx",
    "mlflow",
    "python",
    "in-process",
)  # of backends that run in processes of their own
FILE_KINDS = ("sklearn", "onnx", "mlflow")  # of backends that are a file or folder
OUTPUT_TYPES = ("binary", "category", "float", "text", "json")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable, compared by value, JSON on disk."""


class Limits(Record, frozen=True, kw_only=True):
    """Bounds of the data plane (``server.limits``)."""

    connections: int = 4096
    header_bytes: int = 32 * 1024
    body_bytes: int = 16 * 1024 * 1024
    reading_bytes: int = 256 * 1024 * 1024
    in_flight: int = 1024
    queue: int = 1024
    idle_s: float = 75.0
    header_wait_s: float = 10.0
    body_wait_s: float = 30.0


class Server(Record, frozen=True, kw_only=True):
    """``[server]``: where redpoll listens and what it bounds. Restart to change."""

    data: str = "127.0.0.1:8080"
    control: str = "127.0.0.1:8081"
    log_level: str = "info"
    log_format: str = "text"
    limits: Limits = Limits()
    tokens_file: str | None = None  # absolute path
    drain_s: float = 10.0
    on_journal_failure: str = "refuse"  # refuse | serve
    tls_cert: str | None = None  # absolute path; with it both listeners speak TLS
    tls_key: str | None = None
    origins: tuple[str, ...] = ()  # of pages that may send outcomes; none: all
    metrics: str | None = None  # a listener of its own for /metrics

    @property
    def scheme(self) -> str:
        """``https`` where the listeners speak TLS."""
        return "http" if self.tls_cert is None else "https"


class Pool(Record, frozen=True, kw_only=True):
    """Persistent connections to a backend."""

    idle_s: float = 4.0
    connections: int = 64


class Batch(Record, frozen=True, kw_only=True):
    """Requests that a worker answers in one call of the model: rows at most, and how long to wait."""

    rows: int
    wait_s: float = 0.002


class Version(Record, frozen=True, kw_only=True):
    """One immutable way to answer for a model. ``backend`` is as written, e.g. ``sklearn:m.pkl``.

    ``folder`` is the directory of the file that declared it: workers run there, and paths are
    relative to it. ``artifact`` and ``file_digests`` are sha256 of what was copied when added.
    """

    name: str
    backend: str
    folder: str = ""
    workers: int = 1
    threads: int = 1
    load_s: float = 60.0
    kill_after_s: float = 30.0
    timeout_ms: int = 5000
    pool: Pool = Pool()
    resend: bool = True
    files: tuple[str, ...] = ()
    artifact: str | None = None
    file_digests: dict[str, str] = {}
    python: str | None = None  # the model's own interpreter, relative to ``folder``; None: ours
    method: str | None = None  # of a scikit-learn estimator: which one answers
    providers: tuple[str, ...] = ()  # of ONNX Runtime, in order; none: the CPU's
    batch: Batch | None = None  # None: every request is a call of its own
    replicas: tuple[str, ...] = ()  # further URLs, each of a server that answers the same
    host: str | None = None  # of the Host header
    headers_env: dict[str, str] = {}  # header -> environment variable with its value
    ca_file: str | None = None  # relative to ``folder``
    memory_bytes: int | None = None  # of one worker; None: no limit
    warm_up: str | None = None  # JSON file of calls before it is ready, relative to ``folder``

    @property
    def kind(self) -> str:
        """``sklearn``, ``python`` (worker processes) or ``http`` (any other server)."""
        scheme = self.backend.split(":", 1)[0].removeprefix("json+")
        return "http" if scheme in ("http", "https") else scheme

    @property
    def plain(self) -> bool:
        """Whether it speaks plain JSON rows rather than the Open Inference Protocol."""
        return self.backend.startswith("json+")

    @property
    def urls(self) -> tuple[str, ...]:
        """Where a remote one answers, without what the scheme says of its language."""
        return tuple(url.removeprefix("json+") for url in (self.backend, *self.replicas))

    @property
    def worker(self) -> bool:
        """Whether it runs in worker processes."""
        return self.kind in WORKER_KINDS

    @property
    def file(self) -> bool:
        """Whether its backend names a model file (or folder)."""
        return self.kind in FILE_KINDS


class Tensor(Record, frozen=True, kw_only=True):
    """One matrix that stands for several columns."""

    name: str
    columns: tuple[str, ...]


class Output(Record, frozen=True, kw_only=True):
    """What a model answers. ``score`` names the probability's column."""

    name: str
    type: str
    score: str | None = None
    positive: str | int | float | bool | None = None


class OutcomeSpec(Record, frozen=True, kw_only=True):
    """A user event that is joined to predictions (taken in and journalled only, for now)."""

    name: str
    window_s: float | None = None
    grace_s: float = 0.0
    bad: bool = False
    label: bool = False
    absent: str | None = None


class Gate(Record, frozen=True, kw_only=True):
    """A question asked of evidence. ``margin`` is absolute, ``margin_ratio`` relative (1.2: +20 %)."""

    metric: str  # error_rate | latency
    kind: str = "guardrail"
    margin: float | None = None
    margin_ratio: float | None = None
    alpha_share: float | None = None  # None: an equal share of what the others leave

    @property
    def name(self) -> str:
        """How the gate is called on pages and in metrics."""
        return self.metric


class Step(Record, frozen=True, kw_only=True):
    """One weight of the plan. ``pause_s`` is None for ``pause = "manual"``."""

    weight: float
    pause_s: float | None = 0.0


DEFAULT_GATES = (
    Gate(metric="error_rate", margin=0.0, alpha_share=0.5),
    Gate(metric="latency", margin_ratio=1.2, alpha_share=0.5),
)
DEFAULT_STEPS = (
    Step(weight=0.01, pause_s=600.0),
    Step(weight=0.10, pause_s=600.0),
    Step(weight=0.50, pause_s=600.0),
)


class Plan(Record, frozen=True, kw_only=True):
    """How a model moves to a new version. Frozen and hashed in the Decision that starts a rollout."""

    strategy: str = "canary"
    alpha: float = 0.05
    steps: tuple[Step, ...] = DEFAULT_STEPS
    advance_on: str = "not_fail"
    min_requests: int = 200
    max_weight: float = 1.0
    on_fail: str = "rollback"
    keep_warm_s: float = 3600.0
    rollback_window_s: float = 7 * 86400.0
    gates: tuple[Gate, ...] = DEFAULT_GATES

    def digest(self) -> str:
        """sha256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class ModelLimits(Record, frozen=True, kw_only=True):
    """Bounds of one model (``models.<m>.limits``)."""

    in_flight: int = 256
    queue: int = 256


class Capture(Record, frozen=True, kw_only=True):
    """What the journal keeps of a model's bodies, and for how long (``models.<m>.capture``)."""

    share: float = 1.0  # of the requests whose bodies, and those of their answers, are kept
    max_body_bytes: int | None = None  # longer ones are cut; None: the data plane's own bound
    max_disk_bytes: int | None = None  # of the model's sealed facts; None: no bound
    keep_s: float = 90 * 86400.0  # sealed requests, answers and outcomes


class Model(Record, frozen=True, kw_only=True):
    """A named prediction task. ``live`` is what the file wants, not what is live."""

    name: str
    live: str | None = None
    unit: str = "request"
    unit_from: str | None = None  # "header:<name>" | "input:<column>"
    unit_missing: str = "stable"
    inputs: dict[str, str] = {}
    output: Output | None = None
    tensor: Tensor | None = None
    groups: dict[str, str] = {}  # attribute -> "header" | "input:<column>"
    redact: tuple[str, ...] = ()
    limits: ModelLimits = ModelLimits()
    versions: tuple[Version, ...] = ()
    outcomes: tuple[OutcomeSpec, ...] = ()
    rollout: Plan = Plan()
    capture: Capture = Capture()

    def declaration(self) -> str:
        """A digest, 8 hexadecimal digits, of what requests and answers look like to a worker."""
        told = msgspec.json.encode((self.inputs, self.tensor, self.output))
        return hashlib.sha256(told).hexdigest()[:8]

    def speaking(self, before: Model) -> Model:
        """The model as it is now, still read and answered as ``before`` declared it."""
        return msgspec.structs.replace(
            self,
            inputs=before.inputs,
            tensor=before.tensor,
            output=before.output,
            groups=before.groups,
            unit=before.unit,
            unit_from=before.unit_from,
            unit_missing=before.unit_missing,
        )


class Config(Record, frozen=True, kw_only=True):
    """A whole ``redpoll.toml``."""

    path: str
    data_dir: str
    server: Server = Server()
    models: tuple[Model, ...] = ()
