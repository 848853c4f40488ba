"""Which arm a request is drawn for. Pure, and cheap enough for the gateway's hot path.

Sticky by construction: a unit's place in [0, 1) depends on nothing but the rollout's salt and the
unit, so that growing the weight only ever adds units to the candidate's side.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

_SCALE = 2.0**-64
_LAST = 1.0 - 2.0**-53


def fraction(salt: str, unit: str) -> float:
    """A unit's place in [0, 1): uniform over salts, independent between units.

    blake2b with the salt as its key (at most 64 bytes), 8 bytes of digest, big-endian / 2^64.
    With ``unit = "request"`` the unit is the prediction id.
    """
    digest = blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8, key=salt.encode())
    return min(int.from_bytes(digest.digest(), "big") * _SCALE, _LAST)


def hasher(salt: str) -> Callable[[str], float]:
    """:func:`fraction` of one salt, for whoever asks often: the key is worked in once."""
    start = blake2b(digest_size=8, key=salt.encode())

    def place(unit: str) -> float:
        digest = start.copy()
        digest.update(unit.encode("utf-8", "surrogatepass"))
        return min(int.from_bytes(digest.digest(), "big") * _SCALE, _LAST)

    return place


def arm(salt: str, unit: str, weight: float) -> str:
    """``candidate`` with probability ``weight``, else ``stable``."""
    return "candidate" if fraction(salt, unit) < weight else "stable"
