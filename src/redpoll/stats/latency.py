"""Latency as bets: log bins, normal scores against the stable's own past, slow tails."""

from __future__ import annotations

import msgspec


class LatencyReference(msgspec.Struct, frozen=True, kw_only=True):
    """The stable's last requests, binned; frozen and hashed when a rollout starts."""

    counts: dict[int, int] = {}
