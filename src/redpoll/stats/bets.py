"""Bets on which arm a bad request had: log factors of the e-processes behind every gate.

The gateway drew the arm A (1 = candidate) with a known probability w. Whatever happened next, Y, a
bet ``1 + (A - w) * phi(Y)``, with phi fixed beforehand, has mean
``1 + w (1 - w) E[phi(Y1) - phi(Y0)]``: at most one while the candidate is no worse. Its running
product therefore exceeds 1/alpha with probability at most alpha, however often one looks (Ville
1939), under any ramp of w and any trouble that raises both arms' conditional rates equally.

Sources: J. Ville, "Etude critique de la notion de collectif" (1939). I. Waudby-Smith, A. Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 86 (2024). S. Shekhar, A. Ramdas,
"Nonparametric two-sample testing by betting", IEEE Trans. Inf. Theory 70 (2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FAIL_RATIOS: tuple[float, ...] = tuple(float(r) for r in np.geomspace(1.3, 8.0, 6))
PASS_RATIOS: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


def ratio_weight(weight: float, ratio: float) -> float:
    """The weight that makes "candidate at most ``ratio`` times as bad" the null of a bet.

    If P(bad | candidate) = ratio * P(bad | stable), a bad request is the candidate's with this
    probability. ``weight`` in (0, 1), ``ratio`` > 0.

    >>> ratio_weight(0.5, 1.0), round(ratio_weight(0.1, 1.2), 4)
    (0.5, 0.1176)
    """
    return weight * ratio / (weight * ratio + 1.0 - weight)


def event_log_factors(ratios: ArrayLike, weight: float) -> Floats:
    """Log factors of a bad event, shape [2, bets]: row 0 the stable's, row 1 the candidate's.

    ``r**A / (w r + 1 - w)``. Assumes: A is the candidate's with probability ``weight``, drawn
    without regard to what happens next. Guarantee: under P(bad | candidate) <= P(bad | stable)
    (r > 1; >= for r < 1) the mean of the factor, given a bad event, is at most 1. Ville 1939;
    Shekhar & Ramdas 2024.

    >>> factors = np.exp(event_log_factors([2.0], 0.1))
    >>> bool(np.isclose(0.9 * factors[0] + 0.1 * factors[1], 1.0).all())
    True
    """
    r = np.asarray(ratios, dtype=np.float64)
    base = -np.log(weight * r + 1.0 - weight)
    return np.stack([base, np.log(r) + base])


def margin_log_factors(ratios: ArrayLike, weight: float, margin: float, sign: int) -> Floats:
    """Log factors of every request under an absolute margin, shape [3, bets].

    Rows: a good request (of either arm), the stable's bad one, the candidate's bad one. With
    ``D = Y (A/w - (1-A)/(1-w))``, whose mean is the difference in bad rates, the factor is
    ``1 + sign * lam * (D - margin)``, ``lam = w (1-w) |r-1| / (w r + 1 - w)``. ``sign = +1`` tests
    "worse by at most the margin" (rejecting it fails a gate), ``-1`` "worse by at least the margin"
    (rejecting it passes one). ``margin`` in [0, 1) as a share of requests. lam is shrunk where a
    large margin would let a factor reach 0. Guarantee: mean at most 1 under the hypothesis that is
    tested. Waudby-Smith & Ramdas 2024.

    >>> zero = margin_log_factors(FAIL_RATIOS, 0.1, 0.0, +1)
    >>> bool(np.allclose(zero[1:], event_log_factors(FAIL_RATIOS, 0.1))), bool((zero[0] == 0).all())
    (True, True)
    """
    r = np.asarray(ratios, dtype=np.float64)
    lam = weight * (1.0 - weight) * np.abs(r - 1.0) / (weight * r + 1.0 - weight)
    d = np.array([0.0, -1.0 / (1.0 - weight), 1.0 / weight])[:, None]
    lowest = float(np.min(sign * (d - margin)))  # of what lam is multiplied with; below 0
    if lowest < 0.0:
        lam = np.minimum(lam, 0.99 / -lowest)
    return np.asarray(np.log1p(sign * lam * (d - margin)))


# A share of the candidate that is off by these odds is what the test of the split bets on.
SPLIT_RATIOS: tuple[float, ...] = (1 / 3, 1 / 1.5, 1 / 1.2, 1 / 1.05, 1.05, 1.2, 1.5, 3.0)


def split_log_factors(weight: float) -> Floats:
    """Log factors of one assignment, shape [2, 8]: of a stable's, of a candidate's.

    Bets that the odds of the candidate are ``SPLIT_RATIOS`` times those drawn, both ways. Assumes:
    each assignment bets once and was to be the candidate's with probability ``weight`` (by unit:
    its first visit since the salt; counts of returning users are not binomial). Guarantee: mean 1
    if the split is as drawn. Waudby-Smith & Ramdas 2024.

    >>> factors = np.exp(split_log_factors(0.1))
    >>> bool(np.allclose(0.9 * factors[0] + 0.1 * factors[1], 1.0))
    True
    """
    return event_log_factors(SPLIT_RATIOS, weight)
