"""The wealth of a set of bets, with later starts, folded bucket by bucket: an e-process.

One object holds many independent runs at once, so that what judges a live rollout (``runs=1``) is
what a simulation of thousands of runs exercises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LATE_STAKE = 0.2  # of the whole stake
LATE_EVERY = 100  # bad events of both arms between two later starts
LATE_SCALE = 20.0  # prior of the j-th later start: 20 / ((j + 19) (j + 20)), which sums to 1


def log_mean_exp(log_wealth: Floats, log_stakes: Floats) -> Floats:
    """Log of the stake-weighted mean of wealths along the last axis, without overflow.

    >>> float(log_mean_exp(np.array([800.0, 0.0]), np.log([0.5, 0.5]))).__round__(4)
    799.3069
    """
    terms = log_wealth + log_stakes
    top = np.max(terms, axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.log(np.sum(np.exp(terms - top), axis=-1))
    return np.asarray(total + top[..., 0])


class Wealth:
    """Log wealth per bet: from the start, and summed over later starts. Shapes [runs, bets].

    80 % of the stake bets from the start; 20 % on later starts, one after every 100th bad event of
    both arms, the j-th with prior 20 / ((j+19)(j+20)): a regression that comes late is found too.
    What is not yet started is kept as cash. ``late=False``: the whole stake bets from the start.

    Assumes that each increment is a log factor whose mean is at most 1 under the null, given what
    was folded before. Guarantee: ``log_evidence`` is the log of an e-process: it ever reaches
    log(1/alpha) with probability at most alpha (Ville 1939). Later starts are a mixture over start
    times as in J. Shin, A. Ramdas, A. Rinaldo, "E-detectors", NEJSDS 2 (2024).

    >>> wealth = Wealth([0.5, 0.5])
    >>> wealth.fold(np.log([[2.0, 4.0]]), np.array([1]))
    >>> np.exp(wealth.log_evidence()).round(6).tolist()       # .8 * 3 + .2 * 1
    [2.6]
    """

    def __init__(self, stakes: ArrayLike, runs: int = 1, *, late: bool = True) -> None:
        share = np.asarray(stakes, dtype=np.float64)
        if abs(float(share.sum()) - 1.0) > 1e-9 or bool((share <= 0).any()):
            raise ValueError(f"stakes must be positive and sum to 1, not {share.tolist()}")
        self.late = late
        self.log_stakes: Floats = np.log(share)
        # In columns: with many runs, the best bet of each is found ten times as fast.
        self.from_start: Floats = np.zeros((runs, share.size), order="F")
        self.from_later: Floats = np.full((runs, share.size), -np.inf, order="F")
        self.events: Ints = np.zeros(runs, dtype=np.int64)
        self.starts: Ints = np.zeros(runs, dtype=np.int64)

    def fold(self, increments: Floats, events: Ints) -> None:
        """One bucket: log factors summed over its requests, [runs, bets], and its bad events, [runs].

        A later start that falls due bets from the next bucket on.
        """
        self.from_start += increments
        if not self.late:
            return
        self.from_later += increments
        self.events += events
        due = self.events // LATE_EVERY
        rows = np.nonzero(due > self.starts)[0]
        if rows.size:
            prior = LATE_SCALE / (self.starts[rows] + LATE_SCALE) - LATE_SCALE / (
                due[rows] + LATE_SCALE
            )
            fresh = np.log(prior)[:, None]
            self.from_later[rows] = np.logaddexp(self.from_later[rows], fresh)
            self.starts[rows] = due[rows]

    def log_evidence(self, rows: Ints | slice = slice(None)) -> Floats:
        """Log e-value of each run (or of those in ``rows``). 0 before any bet."""
        first = self.from_start[rows]
        if not self.late:
            return log_mean_exp(first, self.log_stakes)
        later = self.from_later[rows]
        cash = np.log(LATE_STAKE * LATE_SCALE / (self.starts[rows] + LATE_SCALE))[:, None]
        terms = np.concatenate(
            [
                first + (self.log_stakes + np.log(1.0 - LATE_STAKE)),
                later + (self.log_stakes + np.log(LATE_STAKE)),
                cash,
            ],
            axis=-1,
        )
        return log_mean_exp(terms, np.zeros(terms.shape[-1]))

    def bound(self) -> Floats:
        """A cheap upper bound of ``log_evidence``: the best single bet (at least 0), [runs]."""
        best = np.max(self.from_start, axis=-1)
        if self.late:
            best = np.maximum(best, np.max(self.from_later, axis=-1))
        return np.asarray(np.maximum(best, 0.0))

    def keep(self, rows: Ints) -> None:
        """Drop all runs but these: what a simulation does with those that are over."""
        self.from_start = np.asfortranarray(self.from_start[rows])
        self.from_later = np.asfortranarray(self.from_later[rows])
        self.events, self.starts = self.events[rows], self.starts[rows]

    def state(self) -> dict[str, Any]:
        """Plain numbers, from which :meth:`restore` makes the same wealth to the bit."""
        return {
            "from_start": self.from_start.tolist(),
            "from_later": self.from_later.tolist(),
            "events": self.events.tolist(),
            "starts": self.starts.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        self.from_start = np.array(state["from_start"], dtype=np.float64, order="F")
        self.from_later = np.array(state["from_later"], dtype=np.float64, order="F")
        self.events = np.array(state["events"], dtype=np.int64)
        self.starts = np.array(state["starts"], dtype=np.int64)
