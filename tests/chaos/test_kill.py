"""Every process of a whole server is killed again and again under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import gateway
from tests.chaos.storm import ENDED, Storm, faults


@pytest.mark.slow
def test_no_answer_and_no_decision_is_lost_when_anything_is_killed(tmp_path: Path) -> None:
    """50 kills of gateway, workers, control, sealer and supervisor under load.

    Every answered request is in the journal exactly once, every request there has exactly one live
    answer, and each rollout ended as an undisturbed fold of the same journal says.
    """
    report = Storm(tmp_path, seed=11, kills=50, gap_s=0.8, rate=120.0).run()
    print(report.line())
    wrong = faults(report)
    assert not wrong, "\n".join(wrong[:20])
    assert report.kills.total() >= 50
    assert {"gateway", "v1", "control", "sealer", "supervisor"} <= report.kills.keys()
    assert len(report.answered) > 1000
    assert sum(one.status == 200 for one in report.answered) > 200
    assert sum(state in ENDED for state, _ in report.rollouts.values()) >= 2


def test_nothing_answered_is_lost_when_the_gateway_is_killed_at_its_work(tmp_path: Path) -> None:
    """20 kills -9, each a few answers after a start (``make chaos ARGS=--gateway``: as many as one likes)."""
    report = gateway.run(tmp_path, 20, 5, 250.0)
    print(report.line())
    wrong = report.faults()
    assert not wrong, "\n".join(wrong[:20])
    assert len(report.answered) > 100 and report.lost > 0
