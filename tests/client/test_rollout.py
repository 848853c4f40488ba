"""Starting a rollout from Python and waiting for its end."""

from __future__ import annotations

import json

import pytest

from redpoll.client import Client, ClientError, RolloutUnfinished, rollouts
from tests.client.servers import recording


def _said(state: str, **more: object) -> dict[str, object]:
    return {
        "id": "churn-17", "model": "churn", "version": "v2", "stable": "v1", "state": state,
        "step": 0, "weight": 0.1, "sentence": f"it is {state}.", "gates": [], "new_field": 1,
    } | more  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "POLL_S", 0.01)


def test_waiting_ends_with_the_rollout() -> None:
    """Pending, running, promoted."""
    answers = [
        (201, {}, _said("pending")),
        (200, {}, _said("running")),
        (200, {}, _said("promoted")),
    ]
    with recording(*answers) as server, Client(control_url=server.url) as client:
        ended = client.rollout("churn", "v2", reason="better", plan={"alpha": 0.1}).wait(5)
    assert ended.promoted and ended.ended and ended.sentence == "it is promoted."
    assert [seen.path for seen in server.seen][:2] == [
        "/api/v1/models/churn/rollouts", "/api/v1/rollouts/churn-17",
    ]  # fmt: skip
    asked = json.loads(server.seen[0].body)
    assert asked == {"version": "v2", "reason": "better", "plan": {"alpha": 0.1}}


def test_a_rollback_is_an_end_too_and_no_promotion() -> None:
    """The caller asks which."""
    answers = [(201, {}, _said("running")), (200, {}, _said("rolled_back"))]
    with recording(*answers) as server, Client(control_url=server.url) as client:
        assert not client.rollout("churn", "v2", reason="better").wait(5).promoted


def test_waiting_no_longer_than_told() -> None:
    """The error says how it stands."""
    with recording((200, {}, _said("paused"))) as server, Client(control_url=server.url) as client:
        handle = client.rollout("churn", "v2", reason="better")
        with pytest.raises(RolloutUnfinished, match="still paused"):
            handle.wait(0.05)


def test_a_refused_start_says_why() -> None:
    """The server's code and words."""
    refused = (409, {}, {"error": "v2 is live already", "code": "RP-402"})
    with recording(refused) as server, Client(control_url=server.url) as client:
        with pytest.raises(ClientError) as caught:
            client.rollout("churn", "v2", reason="better")
        assert (caught.value.code, caught.value.status) == ("RP-402", 409)


def test_a_server_that_restarts_while_waiting_is_asked_again() -> None:
    """503 from a control that is coming back does not end the wait."""
    away = (503, {}, {"error": "not yet", "code": "RP-404"})
    answers = [(201, {}, _said("running")), away, (200, {}, _said("promoted"))]
    with recording(*answers) as server, Client(control_url=server.url) as client:
        assert client.rollout("churn", "v2", reason="better").wait(5).promoted
