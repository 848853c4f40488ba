"""Ids and places: what the hot path computes in its own way is what the words say."""

from __future__ import annotations

import os
import random

from hypothesis import given
from hypothesis import strategies as st

from redpoll import ids
from redpoll.ids import IdMaker
from redpoll.rollout.assign import fraction, hasher


@given(st.text(max_size=20), st.text(max_size=40))
def test_a_salt_worked_in_once_gives_the_same_places(salt: str, unit: str) -> None:
    """Bit for bit: else a unit could change its arm when a gateway starts anew."""
    salt = salt.encode("utf-8", "replace").decode()[:16]
    assert hasher(salt)(unit) == fraction(salt, unit)


@given(st.integers(0, 4095), st.integers(0, 2**48 * 1000 - 1))
def test_an_id_names_its_model_and_its_millisecond(number: int, time_us: int) -> None:
    """A UUIDv7 by RFC 9562, whatever the number and the time."""
    made = IdMaker().prediction_id(number, time_us)
    ids.check(made)
    assert ids.model_number(made) == number
    assert ids.time_ms(made) == time_us // 1000


def test_ids_do_not_come_twice_and_their_bits_are_random() -> None:
    """Every hexadecimal digit of the end is drawn, the variant's two bits are not."""
    maker = IdMaker(random.Random(1).randbytes)
    made = [maker.prediction_id(n % 3, 1_795_000_000_000_000 + n // 100) for n in range(5000)]
    assert len(set(made)) == len({one[19:] for one in made}) == 5000
    for at in (20, 21, 22, *range(24, 36)):
        assert {one[at] for one in made} == set("0123456789abcdef")
    assert {one[19] for one in made} == set("89ab")
    assert IdMaker(os.urandom).prediction_id(1, 1) != IdMaker(os.urandom).prediction_id(1, 1)
