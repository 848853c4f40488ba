"""Assignment: sticky, monotone in the weight, uniform, independent between rollouts."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from redpoll.rollout.assign import arm, fraction

UNITS = [f"unit-{i}" for i in range(20_000)]


@given(st.text(), st.text(max_size=16).filter(lambda s: len(s.encode("utf-8", "ignore")) <= 64))
def test_any_unit_has_one_place_in_the_unit_interval(unit, salt):
    """Any text is a unit, half a surrogate pair too; its place is in [0, 1) and never changes."""
    salt = salt.encode("utf-8", "ignore").decode()
    place = fraction(salt, unit)
    assert 0.0 <= place < 1.0
    assert fraction(salt, unit) == place


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_growing_weight_never_takes_a_unit_away_from_the_candidate(unit, one, other):
    """Who was on the candidate's side at a weight is there at every larger one."""
    low, high = sorted((one, other))
    if arm("salt", unit, low) == "candidate":
        assert arm("salt", unit, high) == "candidate"


def test_the_share_of_units_is_the_weight():
    """20,000 units: within four standard errors at 1, 10 and 50 %, for each of three salts."""
    for salt in ("a", "b", "0123456789abcdef"):
        for weight in (0.01, 0.1, 0.5):
            share = sum(arm(salt, unit, weight) == "candidate" for unit in UNITS) / len(UNITS)
            assert abs(share - weight) < 4 * math.sqrt(weight * (1 - weight) / len(UNITS))


def test_another_salt_draws_anew():
    """Units of the candidate's side under one salt are on it by chance alone under another."""
    first = [unit for unit in UNITS if arm("one", unit, 0.1) == "candidate"]
    again = sum(arm("two", unit, 0.1) == "candidate" for unit in first) / len(first)
    assert abs(again - 0.1) < 4 * math.sqrt(0.09 / len(first))


def test_nobody_at_weight_zero_and_everybody_at_one():
    """The ends are exact."""
    assert all(arm("s", unit, 0.0) == "stable" for unit in UNITS[:500])
    assert all(arm("s", unit, 1.0) == "candidate" for unit in UNITS[:500])


def test_the_place_of_a_unit_is_part_of_the_contract():
    """blake2b, 8 bytes, salt as key, big-endian over 2^64: a second writing of it agrees."""
    from hashlib import blake2b

    digest = blake2b(b"u-17", digest_size=8, key=b"a-salt").digest()
    assert fraction("a-salt", "u-17") == int.from_bytes(digest, "big") / 2**64
