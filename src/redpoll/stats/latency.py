"""Latency as bets: log bins, normal scores against the stable's own past, and its slow tails.

A latency bets through its rank among the stable's last requests, not through its value, so no
shape of distribution is assumed; the reference is frozen before the first bet, so that a stale one
costs only power. Rank scores in betting: S. Shekhar, A. Ramdas (2024); normal scores: B. L. van der
Waerden (1952).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from redpoll.stats.bets import event_log_factors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS_PER_OCTAVE = 12  # a bin is 6 % wide
# 16 µs up to 72 minutes; what is faster is in bin 0, what is slower in the last one but one.
EDGES_US: tuple[int, ...] = tuple(
    round(2.0 ** (i / BINS_PER_OCTAVE))
    for i in range(4 * BINS_PER_OCTAVE, 32 * BINS_PER_OCTAVE + 1)
)
SLOWEST = len(EDGES_US) + 1  # the bin of a request without a usable answer
BINS = SLOWEST + 1
SCORE_CLIP = 3.0
ENOUGH = 500  # requests of the stable that make a reference

THETAS: tuple[float, ...] = (0.1, 0.2, 0.4)  # 2/3 of the stake, on scores
TAIL_SHARES: tuple[float, ...] = (0.05, 0.01)  # 1/3 of the stake, on the slowest 5 % and 1 %
TAIL_RATIOS: tuple[float, ...] = (2.0, 4.0, 8.0)
STAKES: tuple[float, ...] = (2 / 9,) * 3 + (1 / 18,) * 6


@functools.lru_cache(maxsize=64)
def scaled_edges(ratio: float) -> Floats:
    """Edges (µs) that put a latency y into the bin of y / ``ratio``."""
    return np.array(EDGES_US) * ratio


def bins_of(latencies_us: ArrayLike, edges: Floats | None = None) -> Ints:
    """The bins of usable answers' latencies (µs), each in [0, SLOWEST); shape as given.

    >>> bins = bins_of([1, 1000, 1010, 1100])
    >>> bool(bins[0] == 0 and bins[1] == bins[2] < bins[3] < SLOWEST)
    True
    """
    among = scaled_edges(1.0) if edges is None else edges
    return np.searchsorted(among, np.asarray(latencies_us, dtype=np.float64), side="right")


def quantile_us(counts: ArrayLike, q: float) -> float | None:
    """The ``q``-quantile (µs) of usable answers from counts per bin, [BINS]; None where there are none.

    Interpolates within a bin; off by at most the bin's width, 6 %.

    >>> counts = np.bincount(bins_of([1000] * 100), minlength=BINS)
    >>> 940 < quantile_us(counts, 0.5) < 1060
    True
    """
    usable = np.asarray(counts)[:SLOWEST]
    total = int(usable.sum())
    if total == 0:
        return None
    below = np.cumsum(usable)
    target = q * total
    at = min(int(np.searchsorted(below, target)), SLOWEST - 1)
    while usable[at] == 0:  # q = 0: the first bin that holds something
        at += 1
    inside = (target - float(below[at] - usable[at])) / float(usable[at])
    low = EDGES_US[at - 1] if at > 0 else 1
    high = EDGES_US[at] if at < len(EDGES_US) else EDGES_US[-1] * 2
    return float(low * (high / low) ** inside)


class LatencyReference(msgspec.Struct, frozen=True, kw_only=True):
    """The stable's last requests in log bins; frozen and hashed when a rollout starts.

    ``counts[i]`` is for bin ``first + i``; ``unusable`` requests had no usable answer. Bins are
    seen as classes: 0 is faster than all of these, ``classes - 1`` slower or without an answer.
    """

    first: int
    counts: tuple[int, ...]
    unusable: int = 0

    @classmethod
    def from_latencies(cls, latencies_us: Sequence[int], unusable: int = 0) -> LatencyReference:
        """From the stable's last requests (at least 500 make a good one), in µs, in any order.

        >>> reference = LatencyReference.from_latencies(range(1000, 2000))
        >>> reference.requests, reference.classes, len(reference.digest())
        (1000, 15, 64)
        """
        if not len(latencies_us):
            raise ValueError("a latency reference needs at least one usable latency")
        return cls.from_counts(np.bincount(bins_of(latencies_us), minlength=BINS), unusable)

    @classmethod
    def from_counts(cls, counts: ArrayLike, unusable: int = 0) -> LatencyReference:
        """From counts per bin, [BINS]; what is in SLOWEST counts as unusable."""
        every = np.asarray(counts)
        used = np.nonzero(every[:SLOWEST])[0]
        if not used.size:
            raise ValueError("a latency reference needs at least one usable latency")
        first, last = int(used[0]), int(used[-1])
        return cls(
            first=first,
            counts=tuple(int(n) for n in every[first : last + 1]),
            unusable=unusable + int(every[SLOWEST]),
        )

    @property
    def requests(self) -> int:
        """How many requests it is made of."""
        return sum(self.counts) + self.unusable

    @property
    def classes(self) -> int:
        """How many classes a latency can fall into."""
        return len(self.counts) + 2

    def classes_of(self, bins: ArrayLike) -> Ints:
        """The classes of bins (see :func:`bins_of`; ``SLOWEST``: no usable answer)."""
        shifted = np.asarray(bins, dtype=np.int64) - (self.first - 1)
        return np.asarray(np.minimum(np.maximum(shifted, 0), self.classes - 1))

    def digest(self) -> str:
        """sha256 over its canonical form."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def per_class(self) -> Floats:
        """Requests per class, [classes]."""
        return np.array([0, *self.counts, self.unusable], dtype=np.float64)

    def scores(self) -> Floats:
        """Normal score of each class's mid-rank, clipped at ±3, [classes].

        >>> scores = LatencyReference.from_latencies(range(1000, 2000)).scores()
        >>> float(scores[0].round(6)), float(scores[-1].round(6)), bool(abs(scores[8]) < 0.3)
        (-3.0, 3.0, True)
        """
        counts = self.per_class()
        ranks = (np.cumsum(counts) - counts / 2.0) / counts.sum()
        low, high = NormalDist().cdf(-SCORE_CLIP), NormalDist().cdf(SCORE_CLIP)
        clipped = [min(max(float(rank), low), high) for rank in ranks]
        return np.array([NormalDist().inv_cdf(rank) for rank in clipped]).clip(
            -SCORE_CLIP, SCORE_CLIP
        )

    def tail(self, share: float) -> int:
        """The first class of the slowest ``share`` of the reference (never more than that share)."""
        counts = self.per_class()
        above = np.cumsum(counts[::-1])[::-1]
        inside = np.nonzero(above <= share * counts.sum())[0]
        return int(inside[0]) if inside.size else self.classes - 1


def latency_log_factors(reference: LatencyReference, weight: float, sign: int = +1) -> Floats:
    """Log factors of every class of latency, shape [2, classes, 9]: the stable's, the candidate's.

    Bets as STAKES orders them: three on normal scores, ``r = exp(theta * score)``, then r = 2, 4, 8
    on the slowest 5 % and on the slowest 1 %. ``sign = -1``: their reciprocals, against "no faster".
    Assumes: the arm is the candidate's with probability ``weight``, whatever the latency will be.
    Guarantee: mean at most 1 while every latency is at least as likely to be exceeded by the
    stable's (for -1: by the candidate's), i.e. under stochastic order. For a null of "at most ratio
    times as slow" divide the candidate's latencies by the ratio. Shekhar & Ramdas 2024.

    >>> reference = LatencyReference.from_latencies(range(1000, 2000))
    >>> factors = np.exp(latency_log_factors(reference, 0.1))
    >>> bool(np.allclose(0.9 * factors[0] + 0.1 * factors[1], 1.0))
    True
    """
    ratios = np.ones((reference.classes, len(STAKES)))
    scores = reference.scores()
    for bet, theta in enumerate(THETAS):
        ratios[:, bet] = np.exp(theta * scores)
    bet = len(THETAS)
    for share in TAIL_SHARES:
        start = reference.tail(share)
        for ratio in TAIL_RATIOS:
            ratios[start:, bet] = ratio
            bet += 1
    return event_log_factors(ratios if sign > 0 else 1.0 / ratios, weight)
