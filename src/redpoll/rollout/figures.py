"""Shares and times as sentences about rollouts write them."""

from __future__ import annotations


def percent(fraction: float) -> str:
    """``10 %`` as people write it: ``10%``, ``0.5%``, ``100%``."""
    return f"{fraction * 100:.3g}%"


def duration(seconds: float) -> str:
    """A duration in words: ``40 s``, ``12 min``, ``3 h``, ``2 days``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5940:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"
