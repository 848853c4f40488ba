"""``/metrics`` of a busy server: what interfaces promise, in a form that Prometheus' own tool takes."""

from __future__ import annotations

import re
import subprocess

from redpoll.host.metrics import METRICS
from tests.pages.shop import Shop, until

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
OWN = ("gateway", "control", "sealer", "supervise")


def busy(shop: Shop) -> str:
    """The text after some traffic of each kind."""
    for plan in ("pro", "boom", "basic"):
        shop.predict(plan)
    shop.ask("data", "POST", "/predict/price", {"age": "x"})
    shop.ask("data", "POST", "/v2/models/none/infer", {})
    shop.ask("data", "POST", "/v1/outcomes", {"name": "no"})
    until(lambda: 'redpoll_answers_total{model="price",version="v1",role="live"' in shop.metrics())
    until(lambda: 'process="worker:price/v1/1"' in shop.metrics())
    return shop.metrics()


def test_promtool_finds_nothing_to_complain_about(shop, tool):
    """Types, help, names, units, order, histograms."""
    text = busy(shop)
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=text.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_sample_is_of_a_metric_with_just_its_labels(shop):
    """Nothing is exported that is not documented, and no label holds an id or a unit."""
    seen = set()
    for line in busy(shop).splitlines():
        if line.startswith("#"):
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name = re.sub(r"_(bucket|sum|count)$", "", found[1])
        name = name if name in METRICS else found[1]
        labels = tuple(re.findall(r'([a-z]+)="', found[2] or ""))
        assert tuple(one for one in labels if one != "le") == METRICS[name].labels, line
        assert float(found[3]) >= 0 and "u-1" not in (found[2] or "")
        seen.add(name)
    assert len(seen) > 18


def test_a_listener_of_its_own_serves_the_same_and_nothing_else(shop):
    """``server.metrics``: for who scrapes; no token, no other page. A gateway's last second may lack."""
    busy(shop)
    status, headers, _ = shop.ask("metrics", "GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")

    def names() -> set[str]:
        raw = shop.ask("metrics", "GET", "/metrics")[2]
        return {line.split()[2] for line in raw.decode().splitlines() if line.startswith("# TYPE")}

    until(lambda: names() >= {"redpoll_requests_total", "redpoll_process_cpu_seconds_total"})
    assert shop.ask("metrics", "GET", "/v2/health/live")[0] == 404
    assert shop.ask("metrics", "POST", "/metrics", {})[0] == 405


def test_decisions_and_deploys_are_among_the_facts_written(shop):
    """What control and the supervisor write counts, too."""
    until(lambda: shop.metric('redpoll_journal_facts_total{fact="decision"}') >= 1)
    until(lambda: shop.metric('redpoll_journal_facts_total{fact="deploy"}') >= 4)


def test_memory_and_cpu_of_every_process_and_worker(shop):
    """Base units, by one name each."""
    text = busy(shop)
    for process in (*OWN, "worker:price/v1/0", "worker:price/v1/1"):
        for name in (
            "redpoll_process_resident_memory_bytes",
            "redpoll_process_cpu_seconds_total",
        ):
            found = re.search(rf'{name}{{process="{process}"}} (\S+)', text)
            assert found and float(found[1]) > 0, (name, process)
    cores = [float(v) for v in re.findall(r"redpoll_process_cpu_seconds_total\S+ (\S+)", text)]
    assert max(cores) < 600, "seconds, not ticks"


def test_failures_are_told_by_model_version_arm_and_status(shop):
    """An exception counts for the version that raised it; what never reached one for none."""
    before = busy(shop)
    failed = 'redpoll_requests_total{model="price",version="v1",arm="none",status="error"}'
    refused = 'redpoll_requests_total{model="price",version="_",arm="none",status="refused"}'
    assert failed in before and refused in before
    count = shop.metric(failed)
    shop.predict("boom")
    until(lambda: shop.metric(failed) == count + 1)
    answers = 'redpoll_answers_total{model="price",version="v1",role="live",status="error"}'
    assert shop.metric(answers) >= 1
