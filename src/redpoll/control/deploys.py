"""Starts, crashes and changed fingerprints of versions, as Deploy facts tell them; bounded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from redpoll.facts import Deploy

KEPT = 200  # a model


class Deploys:
    """The newest Deploy facts of every model."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[tuple[int, Deploy]]] = {}
        self._fingerprints: dict[str, str] = {}  # "<model>/<version>" -> as last deployed

    def add(self, model: str, time_us: int, fact: Deploy) -> None:
        """Keep one; a version that comes up with another fingerprint than before has changed."""
        kept = self._kept.setdefault(model, deque(maxlen=KEPT))
        kept.append((time_us, fact))
        if not fact.fingerprint or fact.event not in ("start", "ready", "changed"):
            return
        key = f"{model}/{fact.version}"
        before = self._fingerprints.get(key, fact.fingerprint)
        self._fingerprints[key] = fact.fingerprint
        if before != fact.fingerprint and fact.event != "changed":
            kept.append((time_us, msgspec.structs.replace(fact, event="changed")))

    def crashes(self, model: str, version: str, since_us: int, until_us: int | None = None) -> int:
        """How often a version's workers crashed since then (and not after ``until_us``)."""
        end_us = math.inf if until_us is None else until_us
        return sum(
            since_us <= at <= end_us and fact.event == "crash" and fact.version == version
            for at, fact in self._kept.get(model, ())
        )

    def changed(self, model: str, versions: Iterable[str], since_us: int) -> str | None:
        """The first of these versions whose fingerprint changed since then, or None."""
        wanted = tuple(versions)
        for at, fact in self._kept.get(model, ()):
            if fact.event == "changed" and at >= since_us and fact.version in wanted:
                return fact.version
        return None

    def fingerprint(self, model: str, version: str) -> str:
        """The fingerprint with which a version came up last; empty where none was told."""
        return self._fingerprints.get(f"{model}/{version}", "")

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        kept = {model: list(deploys) for model, deploys in self._kept.items()}
        return msgspec.to_builtins({"kept": kept, "fingerprints": self._fingerprints})  # type: ignore[no-any-return]

    def load(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        kept = msgspec.convert(state.get("kept", {}), dict[str, list[tuple[int, Deploy]]])
        self._kept = {model: deque(deploys, maxlen=KEPT) for model, deploys in kept.items()}
        self._fingerprints = dict(state.get("fingerprints", {}))
