"""Counters: one file a process, one sum, and they never fall."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from redpoll.host.counters import Counters, render
from redpoll.host.metrics import BOUNDS, METRICS

REQUESTS, LABELS = "redpoll_requests_total", ("m", "v1", "none", "ok")
LATENCY = "redpoll_request_duration_seconds"


def value(text: bytes, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text.decode(), re.MULTILINE)
    assert found, f"{series} is missing"
    return float(found.group(1))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_counters_of_all_processes_are_summed(tmp_path: Path) -> None:
    """By labels; histograms bucket by bucket."""
    one, two = Counters("gateway", tmp_path), Counters("control", tmp_path)
    for counters, seconds in ((one, 0.003), (two, 0.3)):
        counters.inc(REQUESTS, LABELS, 2)
        counters.observe(LATENCY, ("m", "none"), seconds)
        counters.save()
    text = render(tmp_path)
    assert value(text, 'redpoll_requests_total{model="m",version="v1",arm="none",status="ok"}') == 4
    bucket = 'redpoll_request_duration_seconds_bucket{model="m",arm="none",le="%s"}'
    assert [value(text, bucket % le) for le in ("0.0025", "0.005", "0.25", "0.5", "+Inf")] == [
        0,
        1,
        1,
        2,
        2,
    ]
    assert value(text, 'redpoll_request_duration_seconds_count{model="m",arm="none"}') == 2
    assert value(
        text, 'redpoll_request_duration_seconds_sum{model="m",arm="none"}'
    ) == pytest.approx(0.303)


def test_a_process_that_starts_again_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Counters and histograms are carried on, gauges are not."""
    for times in (1, 2, 3):
        counters = Counters("gateway", tmp_path)
        counters.inc(REQUESTS, LABELS)
        counters.observe(LATENCY, ("m", "none"), 0.01)
        if times == 1:
            counters.set("redpoll_route_generation", ("gateway",), 7)
        counters.save()
    text = render(tmp_path)
    assert value(text, 'redpoll_requests_total{model="m",version="v1",arm="none",status="ok"}') == 3
    assert value(text, 'redpoll_request_duration_seconds_count{model="m",arm="none"}') == 3
    assert b"route_generation" not in text
    assert value(text, 'redpoll_process_cpu_seconds_total{process="gateway"}') > 0


def test_a_dead_process_keeps_its_counters_and_loses_its_gauges(tmp_path: Path) -> None:
    """What it counted happened; what it was is over."""
    counters = Counters("gateway", tmp_path)
    counters.inc(REQUESTS, LABELS, 5)
    counters.set("redpoll_requests_in_flight", ("m",), 3)
    counters.save()
    assert b"in_flight" in render(tmp_path)
    path = tmp_path / "gateway.json"
    said = json.loads(path.read_bytes())
    assert said["pid"] == os.getpid()
    path.write_text(json.dumps(said | {"pid": dead_pid()}))
    text = render(tmp_path)
    assert b"in_flight" not in text
    assert value(text, 'redpoll_requests_total{model="m",version="v1",arm="none",status="ok"}') == 5


def test_gauges_of_several_processes_are_summed_or_the_largest_counts(tmp_path: Path) -> None:
    """Requests under way add up; readiness does not."""
    for name in ("gateway-1", "gateway-2"):
        counters = Counters(name, tmp_path)
        counters.set("redpoll_requests_in_flight", ("m",), 2)
        counters.set("redpoll_backend_ready", ("m", "v1"), 1)
        counters.save()
    text = render(tmp_path)
    assert value(text, 'redpoll_requests_in_flight{model="m"}') == 4
    assert value(text, 'redpoll_backend_ready{model="m",version="v1"}') == 1


def test_a_gauge_can_be_forgotten(tmp_path: Path) -> None:
    """When a version is gone it is neither ready nor not."""
    counters = Counters("gateway", tmp_path)
    counters.set("redpoll_backend_ready", ("m", "v1"), 1)
    counters.forget("redpoll_backend_ready", ("m", "v1"))
    counters.save()
    assert b"backend_ready" not in render(tmp_path)


def test_only_registered_metrics_with_their_labels_can_be_counted(tmp_path: Path) -> None:
    """A typo is an error with a suggestion, not a new metric."""
    counters = Counters("gateway", tmp_path)
    with pytest.raises(LookupError, match="redpoll_requests_total"):
        counters.inc("redpoll_request_total", LABELS)
    with pytest.raises(LookupError, match="labels"):
        counters.inc(REQUESTS, ("m",))
    with pytest.raises(LookupError, match="histogram"):
        counters.inc(LATENCY, ("m", "none"))
    with pytest.raises(LookupError, match="counter"):
        counters.observe(REQUESTS, LABELS, 1.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"process":"x","pid":1,"series":[["nonsense",["a"],1.0]]}',
     b'{"process":"x","pid":1,"series":[["redpoll_requests_total",["a"],1.0]]}',
     b'{"process":"x","pid":1,"series":[["redpoll_request_duration_seconds",["a","b"],1.0,[1]]]}',
     b"\xff" * 50],
)  # fmt: skip
def test_a_file_of_another_version_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """It stops neither a start nor a page."""
    (tmp_path / "gateway.json").write_bytes(content)
    counters = Counters("gateway", tmp_path)
    assert b"nonsense" not in render(tmp_path)
    counters.save()
    assert b"build_info" in render(tmp_path)


def test_labels_are_escaped_and_every_metric_has_its_help_and_type(tmp_path: Path) -> None:
    """As the text format wants it."""
    counters = Counters("gateway", tmp_path)
    counters.inc("redpoll_refused_total", ('a"b\\c\nd', "x"))
    counters.save()
    text = render(tmp_path).decode()
    assert r'redpoll_refused_total{model="a\"b\\c\nd",reason="x"} 1' in text
    assert f"# HELP redpoll_refused_total {METRICS['redpoll_refused_total'].help}" in text
    assert "# TYPE redpoll_refused_total counter" in text
    for metric in METRICS.values():
        assert metric.kind in ("counter", "gauge", "histogram")
        assert metric.help.endswith(".")
        assert not {"unit", "prediction_id", "rollout_id", "subject"} & set(metric.labels)
    assert list(BOUNDS) == sorted(BOUNDS)
