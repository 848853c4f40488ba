"""What the machine is told about a rollout's two versions, beside their answers."""

from __future__ import annotations

from collections.abc import Iterable

from redpoll.catalog import Version
from redpoll.control.deploys import Deploys
from redpoll.control.health import HealthBook
from redpoll.control.losses import Losses
from redpoll.rollout.machine_state import Health, RolloutState


def condition(
    rollout: RolloutState,
    versions: Iterable[Version],
    book: HealthBook,
    deploys: Deploys,
    since_us: int,
    losses: Losses,
) -> Health:
    """Readiness, crashes, changed fingerprints, lost facts. ``since_us``: since when we have asked."""
    lost, lost_us = losses.since(rollout.running_since_us)
    version = next((one for one in versions if one.name == rollout.version), None)
    if version is None:
        detail = f"{rollout.version} is not in the catalog any more"
        return Health(ready=False, detail=detail, since_us=since_us)
    found = book.version(rollout.model, version)
    both = (rollout.version, rollout.stable)
    return Health(
        ready=found.ready,
        detail=found.detail,
        load_s=version.load_s,
        since_us=since_us,
        crashes=deploys.crashes(rollout.model, rollout.version, rollout.running_since_us),
        changed=deploys.changed(rollout.model, both, rollout.evidence_since_us),
        lost=lost,
        lost_us=lost_us,
    )
