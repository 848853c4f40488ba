"""How many more requests a bet will want: expectations, for sentences; they decide nothing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def growth(log_factors: Floats, probabilities: ArrayLike) -> Floats:
    """Expected log growth per request of each bet, [bets], if classes come with these probabilities.

    ``log_factors`` [classes, bets], ``probabilities`` [classes]. The rate at which the best of these
    grows is what a mixture reaches in the long run (J. L. Kelly, "A new interpretation of
    information rate", 1956).

    >>> growth(np.log([[2.0], [0.5]]), [0.75, 0.25]).round(4).tolist()
    [0.3466]
    """
    return np.asarray(probabilities, dtype=np.float64) @ log_factors


def requests_needed(
    log_wealth: Floats, log_stakes: Floats, grows: Floats, log_limit: float
) -> float | None:
    """About how many more requests until the mixture of bets reaches its limit.

    All [bets]; each bet is taken to grow at its expected rate. None where no bet grows. A guess,
    not a bound.

    >>> round(requests_needed(np.zeros(2), np.log([0.5, 0.5]), np.array([0.01, -0.1]), np.log(20)))
    369
    """
    if not bool((grows > 0.0).any()):
        return None
    begin: list[float] = (log_wealth + log_stakes).tolist()
    rates: list[float] = grows.tolist()
    bets = list(zip(begin, rates, strict=True))

    def reached(requests: float) -> bool:
        return _log_sum_exp([start + requests * rate for start, rate in bets]) >= log_limit

    if reached(0.0):
        return 0.0
    # The bet that would be there first alone bounds it from above; two figures are enough.
    high = max(0.0, min((log_limit - start) / rate for start, rate in bets if rate > 0.0))
    low = 0.0
    while high - low > 0.02 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _log_sum_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
