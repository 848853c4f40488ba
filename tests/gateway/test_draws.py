"""Ids and places: what the hot path computes in its own way is what the words say."""

from __future__ import annotations

import os
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from redpoll import ids
from redpoll.gateway.call import Call, Head
from redpoll.ids import IdMaker
from redpoll.rollout.assign import fraction, hasher
from redpoll.web import heads
from tests.gateway.rig import Heard, Rig, infer, run


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


def test_what_was_decided_for_a_head_is_decided_anew_when_the_route_changes(tmp_path: Path) -> None:
    """Equal heads share a decision; facts are the same with and without it, route by route."""

    async def go() -> None:
        rig = Rig(tmp_path)
        head = Head("POST", "/", {b"redpoll-unit": b"ann", b"redpoll-subject": b"p"})
        heads.read(head)
        head.model = "m"

        async def send(rows: int = 1) -> Call:
            heard = Heard()
            rig.gateway.take(heard, head, infer(*[1.0] * rows))
            await rig.tick()
            call = heard.call
            assert call is not None
            if rows:
                rig.backends[call.lane.version].answer()
            await rig.tick()
            return call

        rollout = {"candidate": "v2", "salt": "s", "rollout_id": "m-1"}
        place = fraction("s", "ann")
        for generation, weight in enumerate((0.0, place * 0.9, place * 1.1, place * 0.9), 4):
            rig.reroute(live="v1", generation=generation, weight=weight, **rollout)
            arm = "none" if not weight else "candidate" if place < weight else "stable"
            for rows in (1, 2, 0, 1):
                await send(rows)
                fact = rig.requests()[-1]
                assert (fact.unit, fact.subject, fact.rows) == ("ann", "p", rows)
                assert fact.arm == (arm if rows else "none")
                assert fact.route_generation == generation
                assert fact.arm_probability == (weight if fact.arm != "none" else 0.0)
                assert rig.answers()[-1].version == ("v2" if fact.arm == "candidate" else "v1")
        drawn = {call.arm for call in [await send() for _ in range(3)]}
        assert drawn == {"stable"}

    run(go)
