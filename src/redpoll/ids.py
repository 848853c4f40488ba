"""Prediction ids: UUIDv7 (RFC 9562 §5.7) whose 12 ``rand_a`` bits are the model's number.

So an id alone names its model and its hour, hence its partition in the sealed log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

MODEL_NUMBERS = 4096


class IdMaker:
    """Makes prediction ids; randomness and time are arguments.

    Random bits are drawn 4 KiB at a time, one ``getrandom`` per 512 ids, and written out then: an
    id costs two look-ups and a concatenation.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._tails: list[bytes] = []
        self._number = self._ms = -1
        self._start = b""

    def prediction_id(self, model_number: int, time_us: int) -> str:
        """A new id of 36 characters for a model number in [0, 4096)."""
        return self.make(model_number, time_us).decode()

    def make(self, model_number: int, time_us: int) -> bytes:
        """The same in ASCII."""
        return self.start(model_number, time_us) + self.end()

    def start(self, model_number: int, time_us: int) -> bytes:
        """How ids of this model and millisecond begin, for who makes many: then comes an ``end``."""
        ms = time_us // 1000
        if ms != self._ms or model_number != self._number:
            self._number, self._ms = model_number, ms
            ms &= 0xFFFFFFFFFFFF
            self._start = b"%08x-%04x-7%03x-" % (ms >> 16, ms & 0xFFFF, model_number)
        return self._start

    def end(self) -> bytes:
        """The rest of an id, never the same."""
        return self.ends(1).pop()

    def ends(self, count: int) -> list[bytes]:
        """At least so many ends of ids; who takes one pops it, so that nobody takes it again."""
        while len(self._tails) < count:
            self._draw()
        return self._tails

    def _draw(self) -> None:
        """512 ends of ids: the two bits of the variant, then 62 random ones."""
        bits = int.from_bytes(self._random_bytes(4096), "big") & _RANDOM | _VARIANT
        digits = iter(_SPLIT.unpack(bits.to_bytes(4096, "big").hex().encode()))
        self._tails[:0] = map(b"-".join, zip(digits, digits))


# Of 512 ids at once: where the random bits are, the variant's bits, and where the last dash goes.
_RANDOM = int.from_bytes(b"\x3f\xff\xff\xff\xff\xff\xff\xff" * 512, "big")
_VARIANT = int.from_bytes(b"\x80\0\0\0\0\0\0\0" * 512, "big")
_SPLIT = struct.Struct("4s12s" * 512)


def model_number(prediction_id: str) -> int:
    """The model's number in the catalog, from an id alone. ``ValueError`` where it is none."""
    check(prediction_id)
    return int(prediction_id[15:18], 16)


def time_ms(prediction_id: str) -> int:
    """When the id was made: milliseconds since the epoch. ``ValueError`` where it is none."""
    check(prediction_id)
    return int(prediction_id[:8] + prediction_id[9:13], 16)


def check(prediction_id: str) -> None:
    """Raise ``ValueError`` unless this is a lower-case UUIDv7 of 36 characters."""
    digits = prediction_id.replace("-", "")
    dashed = len(prediction_id) == 36 and all(prediction_id[i] == "-" for i in (8, 13, 18, 23))
    if not dashed or len(digits) != 32 or set(digits) - set("0123456789abcdef"):
        raise ValueError(f"{prediction_id[:60]!r} is no prediction id")
    if prediction_id[14] != "7" or prediction_id[19] not in "89ab":
        raise ValueError(f"{prediction_id!r} is a UUID, but no UUIDv7")


def process_id(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """A name for one start of one process: 12 hexadecimal digits."""
    return random_bytes(6).hex()
