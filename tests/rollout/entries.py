"""Entries as gateways and sealers write them, for tests of evidence."""

from __future__ import annotations

import random
from typing import NamedTuple

from redpoll.facts import Answer, Entry, Request
from redpoll.rollout.evidence import EvidenceSpec, GateSpec, LatencyReference

ROLLOUT = "churn-7"
REFERENCE = LatencyReference.from_latencies([20_000 + 97 * i for i in range(500)])
GATES = (
    GateSpec(metric="error_rate", alpha=0.025),
    GateSpec(metric="latency", margin_ratio=1.2, alpha=0.025),
)


def spec(**changes) -> EvidenceSpec:
    """Both default gates, a reference, versions 6 and 7."""
    given = {
        "rollout_id": ROLLOUT,
        "stable": "6",
        "candidate": "7",
        "gates": GATES,
        "length": 2000.0,
        "latency_reference": REFERENCE,
    }
    return EvidenceSpec(**(given | changes))


def request(name, time_us, arm="candidate", *, weight=0.1, stream="gateway-a", sequence=0, **more):
    """A Request that counts unless told otherwise."""
    given = {"rollout_id": ROLLOUT, "unit": None, "route_generation": 1} | more
    fact = Request(name, name, 1, arm=arm, arm_probability=weight, **given)
    return Entry(stream, sequence, time_us, 1, "churn", fact)


def answer(
    name, time_us, status="ok", *, latency_us=25_000, stream="gateway-a", sequence=0, **more
):
    """Its live Answer."""
    fact = Answer(name, more.pop("version", "7"), status=status, latency_us=latency_us, **more)
    return Entry(stream, sequence, time_us, 1, "churn", fact)


class Traffic(NamedTuple):
    """Entries of several streams, each in its own order."""

    streams: dict[str, list[Entry]]
    end_us: int


def traffic(seed, requests=300, *, weights=(0.3,), gateways=2, users=40, spacing_us=17_000):
    """Random requests and answers over some gateways; late answers, failures, lost ones, retries."""
    rng = random.Random(seed)
    streams: dict[str, list[Entry]] = {f"gateway-{i}": [] for i in range(gateways)} | {
        "sealer-0": []
    }
    time_us = 1_000_000
    for number in range(requests):
        time_us += rng.randrange(spacing_us)
        name, stream = f"p{number:05d}", f"gateway-{rng.randrange(gateways)}"
        weight = weights[number * len(weights) // requests]
        unit = rng.randrange(users)
        arm = "candidate" if random.Random(f"{seed}/{unit}").random() < weight else "stable"
        fields = {"unit": f"u{unit}", "weight": weight, "stream": stream}
        if rng.random() < 0.05:
            fields |= {"rollout_id": rng.choice([None, "churn-6"])}
        if rng.random() < 0.05:
            arm = "none"
        streams[stream].append(request(name, time_us, arm, **fields))
        done = time_us + int(rng.expovariate(1 / 60_000))
        status = rng.choices(["ok", "error", "timeout", "invalid"], [85, 10, 3, 2])[0]
        latency = done - time_us
        if rng.random() < 0.03:
            late = done + 400_000
            streams["sealer-0"].append(answer(name, late, "lost", stream="sealer-0", version=""))
            if rng.random() < 0.5:
                continue
        streams[stream].append(answer(name, done, status, latency_us=latency, stream=stream))
        if status == "error" and rng.random() < 0.3:
            streams[stream].append(
                answer(name, done + 30, stream=stream, decided_by="fallback", version="6")
            )
    for stream, entries in streams.items():
        entries.sort(key=lambda entry: entry.time_us)
        streams[stream] = [_at(entry, stream, number) for number, entry in enumerate(entries)]
    return Traffic(streams, time_us + 10_000_000)


def _at(entry: Entry, stream: str, sequence: int) -> Entry:
    return Entry(stream, sequence, entry.time_us, 1, "churn", entry.fact)
