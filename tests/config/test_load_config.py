"""``redpoll.toml``: what is taken, and what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from redpoll.catalog import (
    DEFAULT_GATES,
    DEFAULT_STEPS,
    Capture,
    Gate,
    Limits,
    ModelLimits,
    OutcomeSpec,
    Output,
    Plan,
    Pool,
    Server,
    Step,
    Tensor,
)
from redpoll.config import ConfigError, load, parse, plan_from, version_from

FIRST_USE = '[models.churn.versions.v1]\nbackend = "sklearn:model.pkl"\n'

EVERYTHING = """
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "[::1]:8081"
log = {level = "debug", format = "json"}
limits = {connections = 9, header_bytes = "8KiB", body_bytes = 2048, reading_bytes = "4KiB", in_flight = 8, queue = 0, idle = "1.5s", header_wait = "250ms", body_wait = "1m"}
tokens_file = "tokens"
drain = "0s"
[models.churn]
live = "v1"
unit = "user"
unit_from = "header:Redpoll-Unit"
unit_missing = "reject"
groups = {sex = "header", age_band = "input:age"}
inputs = {age = "int", plan = "category", note = "text"}
tensor = {name = "input-0", columns = ["age", "plan"]}
output = {name = "churn", type = "binary", score = "probability", positive = 1}
redact = ["note", "probability"]
capture = {share = 0.25, max_body_bytes = "64KiB", max_disk_bytes = "20GiB", keep = "30d"}
limits = {in_flight = 3, queue = 0}
[models.churn.versions]
v0 = "http://127.0.0.1:9000/v2/models/churn"
"1.10" = "http://gateway.example/v2/models/churn/versions/1"
[models.churn.versions.v1]
backend = "python:churn_model:load_v1"
workers = 2
threads = 3
load = "90s"
kill_after = "20s"
timeout_ms = 500
pool = {idle = "4.5s", connections = 6}
resend = false
files = ["labels.json", "lookup"]
[models.churn.outcomes.redo]
window = "30m"
bad = true
[models.churn.outcomes.cancelled]
window = "14d"
grace = "1h"
absent = "missing"
label = true
[models.churn.rollout]
strategy = "canary"
alpha = 0.01
steps = [{weight = "1%", pause = "10m"}, {weight = 0.1, pause = "manual"}, {weight = "50%"}]
advance_on = "pass"
min_requests = 50
max_weight = "50%"
on_fail = "pause"
keep_warm = "2h"
rollback_window = "2w"
[[models.churn.rollout.gates]]
metric = "error_rate"
kind = "guardrail"
margin = 0.002
alpha_share = 0.25
[[models.churn.rollout.gates]]
metric = "latency"
margin_ratio = 1.5
"""


def test_three_lines_are_a_configuration_with_every_default() -> None:
    """The first use: the only version is live, on loopback, under the default plan."""
    config = parse(FIRST_USE, "/somewhere/redpoll.toml")
    assert config.path == "/somewhere/redpoll.toml"
    assert config.data_dir == "/somewhere/redpoll-data"
    assert config.server == Server()
    (model,) = config.models
    assert (model.name, model.live, model.unit, model.unit_missing) == (
        "churn", "v1", "request", "stable",
    )  # fmt: skip
    assert model.rollout == Plan()
    assert model.rollout.gates == DEFAULT_GATES
    assert model.rollout.steps == DEFAULT_STEPS
    assert model.rollout.max_weight == 1.0
    (version,) = model.versions
    assert version.folder == "/somewhere"
    assert (version.backend, version.kind) == ("sklearn:model.pkl", "sklearn")
    assert (version.timeout_ms, version.workers, version.threads) == (5000, 1, 1)


def test_every_accepted_setting_reaches_its_record() -> None:
    """One text with all of them; each value differs from its default."""
    config = parse(EVERYTHING, "/x/redpoll.toml")
    assert config.data_dir == "/x/data"
    assert config.server == Server(
        data="127.0.0.1:0",
        control="[::1]:8081",
        log_level="debug",
        log_format="json",
        limits=Limits(
            connections=9, header_bytes=8192, body_bytes=2048, reading_bytes=4096, in_flight=8, queue=0,
            idle_s=1.5, header_wait_s=0.25, body_wait_s=60.0,
        ),
        tokens_file="/x/tokens",
        drain_s=0.0,
    )  # fmt: skip
    (model,) = config.models
    assert model.unit_from == "header:redpoll-unit"
    assert (model.unit, model.unit_missing) == ("user", "reject")
    assert model.groups == {"sex": "header", "age_band": "input:age"}
    assert model.inputs == {"age": "int", "plan": "category", "note": "text"}
    assert model.tensor == Tensor(name="input-0", columns=("age", "plan"))
    assert model.output == Output(name="churn", type="binary", score="probability", positive=1)
    assert model.redact == ("note", "probability")
    assert model.limits == ModelLimits(in_flight=3, queue=0)
    assert model.capture == Capture(
        share=0.25, max_body_bytes=65536, max_disk_bytes=20 * 2**30, keep_s=30 * 86400.0
    )
    assert [version.name for version in model.versions] == ["v0", "1.10", "v1"]
    assert [version.kind for version in model.versions] == ["http", "http", "python"]
    v1 = model.versions[2]
    assert (v1.workers, v1.threads, v1.load_s, v1.kill_after_s) == (2, 3, 90.0, 20.0)
    assert (v1.timeout_ms, v1.pool, v1.resend) == (500, Pool(idle_s=4.5, connections=6), False)
    assert v1.files == ("labels.json", "lookup")
    assert model.outcomes == (
        OutcomeSpec(name="redo", window_s=1800.0, bad=True),
        OutcomeSpec(
            name="cancelled", window_s=14 * 86400.0, grace_s=3600.0, absent="missing", label=True
        ),
    )
    assert model.rollout == Plan(
        alpha=0.01,
        steps=(
            Step(weight=0.01, pause_s=600.0),
            Step(weight=0.1, pause_s=None),
            Step(weight=0.5, pause_s=0.0),
        ),
        advance_on="pass",
        min_requests=50,
        max_weight=0.5,
        on_fail="pause",
        keep_warm_s=7200.0,
        rollback_window_s=14 * 86400.0,
        gates=(
            Gate(metric="error_rate", margin=0.002, alpha_share=0.25),
            Gate(metric="latency", margin_ratio=1.5, alpha_share=0.75),
        ),
    )


def test_a_larger_body_finds_room_to_be_read_in() -> None:
    """Nobody who raises one bound must know of the other."""
    raised = parse(f'[server]\nlimits = {{body_bytes = "1GiB"}}\n{FIRST_USE}', "f").server.limits
    assert raised.reading_bytes == raised.body_bytes == 1 << 30
    lowered = parse(f'[server]\nlimits = {{body_bytes = "1KiB"}}\n{FIRST_USE}', "f").server.limits
    assert lowered.reading_bytes == Limits().reading_bytes


def test_a_file_or_its_folder_can_be_named(tmp_path: Path, monkeypatch) -> None:
    """``redpoll apply DIR`` takes the ``redpoll.toml`` in it; relative paths work."""
    (tmp_path / "model.pkl").write_bytes(b"m")
    (tmp_path / "redpoll.toml").write_text(FIRST_USE)
    assert load(tmp_path) == load(tmp_path / "redpoll.toml")
    monkeypatch.chdir(tmp_path)
    assert load("redpoll.toml") == load(tmp_path)
    assert load("redpoll.toml").models[0].versions[0].folder == str(tmp_path)


def test_windows_line_ends_and_a_byte_order_mark_are_taken(tmp_path: Path) -> None:
    """Editors leave them behind."""
    (tmp_path / "model.pkl").write_bytes(b"m")
    text = FIRST_USE.replace("\n", "\r\n")
    (tmp_path / "redpoll.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(tmp_path).models[0].live == "v1"


@pytest.mark.parametrize(
    ("most", "weights"),
    [("100%", [0.01, 0.1, 0.5]), ("50%", [0.01, 0.1, 0.5]), ("20%", [0.01, 0.1, 0.2]),
     ("10%", [0.01, 0.1]), ("0.5%", [0.005])],
)  # fmt: skip
def test_the_default_steps_keep_under_max_weight(most: str, weights: list[float]) -> None:
    """A cap alone is a whole answer; the steps need not be written out."""
    text = FIRST_USE + f'[models.churn.rollout]\nmax_weight = "{most}"\n'
    steps = parse(text, "f").models[0].rollout.steps
    assert [step.weight for step in steps] == weights


def test_a_start_may_override_parts_of_the_plan() -> None:
    """What is left out stays as the model has it; the same rules hold."""
    base = parse(EVERYTHING, "f").models[0].rollout
    plan = plan_from({"steps": [{"weight": "5%", "pause": "1m"}], "on_fail": "rollback"}, base)
    assert plan.steps == (Step(weight=0.05, pause_s=60.0),)
    assert plan.on_fail == "rollback"
    assert plan.gates == base.gates
    assert plan.min_requests == 50
    with pytest.raises(ConfigError) as caught:
        plan_from({"steps": [{"weight": 10}], "strategy": "shadow", "stepz": 1}, base)
    keys = [problem.key for problem in caught.value.problems]
    assert sorted(keys) == ["steps[0].weight", "stepz", "strategy"]
    assert "steps[0].weight: 10 may mean" in str(caught.value)


def test_files_that_are_stored_already_may_be_gone(tmp_path: Path) -> None:
    """The artifacts hold them: a server starts again without the original."""
    (tmp_path / "redpoll.toml").write_text(FIRST_USE)
    with pytest.raises(ConfigError, match=r"model\.pkl does not exist"):
        load(tmp_path)
    assert load(tmp_path, stored={("churn", "v1")}).models[0].live == "v1"


def test_a_version_can_be_described_on_a_command_line(tmp_path: Path) -> None:
    """``KEY=VALUE`` as in the file, under the same rules."""
    (tmp_path / "m.pkl").write_bytes(b"m")
    table = {"backend": "sklearn:m.pkl", "workers": "2", "load": '"90s"', "resend": "false"}
    version = version_from("churn", "1.10", table, str(tmp_path))
    assert (version.name, version.workers, version.load_s, version.resend) == (
        "1.10", 2, 90.0, False,
    )  # fmt: skip
    assert version.folder == str(tmp_path)
    assert version_from("churn", "v2", {"backend": "sklearn:m.pkl", "load": "9s"}, str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        version_from("churn", "v2", {"backend": "sklearn:x.pkl", "wrkers": "2"}, str(tmp_path))
    assert [problem.key for problem in caught.value.problems] == [
        "models.churn.versions.v2.wrkers",
        "models.churn.versions.v2",
    ]
    with pytest.raises(ConfigError, match="no version name"):
        version_from("churn", "-", {"backend": "sklearn:m.pkl"}, str(tmp_path))
    with pytest.raises(ConfigError, match="needs a backend"):
        version_from("churn", "v2", {}, str(tmp_path))


def test_a_group_may_be_a_column_that_the_model_does_not_take() -> None:
    """It is kept for analysis; only what all but is an input's name is taken for a slip."""
    text = (
        FIRST_USE + '[models.churn]\ninputs = {age = "int"}\ngroups = {band = "input:age_band"}\n'
    )
    assert parse(text, "f").models[0].groups == {"band": "input:age_band"}
