"""What runs redpoll for real: unit, container file, alert rules, and the page about them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from redpoll import config
from redpoll.catalog import Server
from redpoll.errors import CATALOG
from redpoll.host.metrics import METRICS
from redpoll.supervise.main import STOP_S
from redpoll.testing.reference import commands

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
PAGE = (TOP / "docs" / "operating.md").read_text()


def tool(name: str) -> str:
    """A program of Debian's; under CI it must be there."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        assert os.environ.get("CI") != "true", f"{name} is not installed (scripts/system-packages)"
        pytest.skip(f"{name} is not installed: scripts/system-packages {name}")
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there."""
    text = (DEPLOY / "redpoll.service").read_text()
    path = tmp_path / "redpoll.service"
    real = Path(sys.executable).parent / "redpoll"
    path.write_text(text.replace("/opt/redpoll/bin/redpoll", str(real)))
    return path


def directives(text: str) -> dict[str, str]:
    """``Key=value`` of a unit."""
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    return dict(line.split("=", 1) for line in lines)


def test_the_unit_is_one_that_systemd_takes(unit: Path) -> None:
    """Without a word; and it leaves little open."""
    analyze = tool("systemd-analyze")
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    secure = [analyze, "security", "--offline=true", "--threshold=30", str(unit)]
    done = subprocess.run(secure, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-600:]
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KilMode=mixed"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert "KilMode" in done.stderr, "a typing error would be noticed"


def test_the_unit_gives_the_server_the_time_and_the_files_that_it_wants() -> None:
    """To drain and end in order; one worker that runs out of memory does not end the rest."""
    said = directives((DEPLOY / "redpoll.service").read_text())
    default = Server()
    assert int(said["TimeoutStopSec"]) >= default.drain_s + 2 * STOP_S + 10
    assert int(said["LimitNOFILE"]) >= 2 * default.limits.connections
    assert (said["OOMPolicy"], said["KillMode"]) == ("continue", "mixed")
    assert "-HUP" in said["ExecReload"]


def instructions(text: str) -> list[tuple[str, str]]:
    """A container file's instructions, lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.M))
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(words[0], words[1]) for words in found]


def test_the_container_file_keeps_the_rules() -> None:
    """What hadolint would say, and that what it copies is there and is sent."""
    lines = instructions((DEPLOY / "Containerfile").read_text())
    words = [word for word, _ in lines]
    known = {
        "ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "VOLUME", "EXPOSE", "USER", "STOPSIGNAL",
        "HEALTHCHECK", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    assert set(words) <= known
    assert words.count("CMD") == words.count("ENTRYPOINT") == words.count("HEALTHCHECK") == 1
    base = {value.partition("=")[2] for word, value in lines if word == "ARG" and "PYTHON" in value}
    assert all(re.fullmatch(r"3\.\d+-slim-\w+", one) for one in base), "a tag, never `latest`"
    for word, value in lines:
        if word == "FROM":
            assert value.startswith("docker.io/library/python:${PYTHON}"), "a whole name"
        elif word == "RUN":
            assert "sudo" not in value and "curl" not in value
            if "apt-get install" in value:
                assert value.index("apt-get update") < value.index("apt-get install")
                assert "--no-install-recommends" in value and "rm -rf /var/lib/apt/lists" in value
            if "pip install" in value:
                assert "--no-cache-dir" in value and "-c constraints.txt" in value
        elif word == "WORKDIR":
            assert value.startswith("/")
        elif word in ("ENTRYPOINT", "VOLUME", "CMD"):
            assert json.loads(value), "the form that starts no shell, and passes signals on"
    user = max(at for at, word in enumerate(words) if word == "USER")
    assert lines[user][1] == "10001" and "RUN" not in words[user:], "not root, to the end"
    ports = {one.rpartition(":")[2] for one in (Server().data, Server().control)}
    assert set(dict(lines)["EXPOSE"].split()) == ports


def test_what_the_container_build_copies_is_there_and_is_sent() -> None:
    """Each source exists, and the ignore file lets it through and nothing else."""
    allowed = (TOP / ".containerignore").read_text()
    assert (TOP / ".dockerignore").read_text() == allowed
    let = {line[1:] for line in allowed.splitlines() if line.startswith("!")}
    for word, value in instructions((DEPLOY / "Containerfile").read_text()):
        if word == "COPY" and not value.startswith("--from"):
            for source in value.split()[:-1]:
                name = source.removeprefix("./")
                assert (TOP / name).exists(), name
                assert name in let, f"{name} is not sent to the build"


def test_the_configuration_beside_them_is_read_without_an_error(tmp_path: Path) -> None:
    """Where its files are; beyond loopback, so with tokens."""
    text = (DEPLOY / "redpoll.toml").read_text()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "churn-v1.pkl").write_bytes(b"")
    (tmp_path / "tokens").write_text("")
    path = tmp_path / "redpoll.toml"
    path.write_text(text.replace("/var/lib/redpoll/tokens", str(tmp_path / "tokens")))
    found = config.load(path)
    assert found.data_dir == "/var/lib/redpoll"
    assert found.server.tokens_file and found.server.data == "0.0.0.0:8080"


def test_the_alert_rules_fire_in_trouble_and_are_quiet_without(tmp_path: Path) -> None:
    """Each on its own numbers (promtool test rules); only metrics that there are."""
    promtool = tool("promtool")
    rules = DEPLOY / "alerts.yml"
    done = subprocess.run(
        [promtool, "check", "rules", str(rules)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    tests = (Path(__file__).parent / "alerts.test.yml").read_text()
    path = tmp_path / "alerts.test.yml"
    path.write_text(tests.replace("RULES", str(rules)))
    done = subprocess.run(
        [promtool, "test", "rules", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = re.findall(r"- alert: (\w+)", rules.read_text())
    assert len(alerts) == len(set(alerts)) >= 10
    for alert in alerts:
        assert tests.count(alert) >= 2, f"{alert} is tested quiet and firing"


def test_the_page_names_only_what_there_is_and_every_alert() -> None:
    """Metrics, error codes, commands, settings' files: a page that lies is worse than none."""
    rules = (DEPLOY / "alerts.yml").read_text()
    for text in (PAGE, rules):
        for name in re.findall(r"\bredpoll_[a-z_]+", text):
            assert name in METRICS, name
    for code in re.findall(r"RP-\d{3}", PAGE):
        assert code in CATALOG, code
    for alert in re.findall(r"- alert: (\w+)", rules):
        assert f"| `{alert}` |" in PAGE, alert
    known = {name.removeprefix("redpoll ") for name, _ in commands()}
    said = re.findall(r"`redpoll ([a-z][^`]*)`", PAGE) + re.findall(r"bin/redpoll ([a-z].*)", PAGE)
    assert len(said) > 20
    for line in said:
        words = line.split()
        assert {words[0], " ".join(words[:2])} & known, line
