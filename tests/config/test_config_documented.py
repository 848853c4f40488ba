"""``docs/configuration.md`` says everything that the reader takes, and its examples are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from redpoll.catalog import (
    Gate,
    Limits,
    Model,
    ModelLimits,
    Plan,
    Pool,
    Record,
    Server,
    Version,
)
from redpoll.config import parse
from redpoll.config.keys import LATER, SECTIONS, settings
from redpoll.config.values import duration, size

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "configuration.md").read_text()
EXAMPLES = [
    (path.name, number, block)
    for path in [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md"]
    for number, block in enumerate(
        re.findall(r"^```toml\n(.*?)^```", path.read_text(), re.M | re.S)
    )
]


def test_there_are_examples() -> None:
    """So that the test of examples cannot pass on nothing."""
    assert sum(name == "configuration.md" for name, _, _ in EXAMPLES) >= 5


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=[f"{name}-{number}" for name, number, _ in EXAMPLES]
)
def test_every_documented_example_parses(example: tuple[str, int, str]) -> None:
    """A reader can paste it."""
    assert parse(example[2], "redpoll.toml").models


@pytest.mark.parametrize("name", settings())
def test_every_setting_is_documented_with_type_default_restart_and_meaning(name: str) -> None:
    """Its row stands in the docs as the table of settings has it."""
    setting = settings()[name]
    key = name.rpartition(".")[2]
    restart = "yes" if setting.restart else ""
    row = f"| `{key}` | {setting.type} | {setting.default} | {restart} | {setting.meaning} |"
    assert row in TEXT


def test_no_setting_is_also_one_of_those_to_come() -> None:
    """A name is taken, or kept for later."""
    for section, keys in LATER.items():
        assert not set(keys) & set(SECTIONS[section])


DEFAULTS: list[tuple[str, Record, dict[str, str]]] = [
    ("server", Server(), {"drain": "drain_s"}),
    ("server.log", Server(), {"level": "log_level", "format": "log_format"}),
    ("server.limits", Limits(), {k: f"{k}_s" for k in ("idle", "header_wait", "body_wait")}),
    ("models.*", Model(name="m"), {}),
    ("models.*.limits", ModelLimits(), {}),
    ("models.*.versions.*", Version(name="v", backend="b"),
     {"load": "load_s", "kill_after": "kill_after_s"}),
    ("models.*.versions.*.pool", Pool(), {"idle": "idle_s"}),
    ("models.*.rollout", Plan(), {"keep_warm": "keep_warm_s",
                                  "rollback_window": "rollback_window_s"}),
    ("models.*.rollout.gates[]", Gate(metric="latency"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("section", "record", "fields"), DEFAULTS, ids=[d[0] for d in DEFAULTS])
def test_the_documented_defaults_are_the_records_defaults(section, record, fields) -> None:
    """Strings, numbers, durations and sizes; what is none of them has its own test."""
    compared = 0
    for key, setting in SECTIONS[section].items():
        written = setting.default
        value = getattr(record, fields.get(key, key), None)
        if setting.type == "duration" and written.startswith('"'):
            assert duration(written.strip('"')) == value, key
        elif setting.type == "size" and written:
            assert size(0, 1 << 40)(written.strip('"')) == value, key
        elif written in ("true", "false"):
            assert (written == "true") is value, key
        elif re.fullmatch(r"[\d.]+", written):
            assert float(written) == value, key
        elif re.fullmatch(r'"[^"%]+"', written):
            assert written.strip('"') == value, key
        else:
            continue
        compared += 1
    assert compared
