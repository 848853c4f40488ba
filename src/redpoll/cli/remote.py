"""The control plane's API, as commands need it: plain JSON in, plain JSON out."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote

from redpoll.client.transport import Transport

TIMEOUT_S = 30.0


def _quoted(name: str) -> str:
    return quote(name, safe="")


class Remote:
    """A server's API. Every method may raise ``ClientError``."""

    running = True

    def __init__(self, url: str, cert: str | None = None) -> None:
        token = os.environ.get("REDPOLL_TOKEN") or None
        self.url = url
        self._transport = Transport(url, token=token, timeout_s=TIMEOUT_S, cert=cert)

    def overview(self) -> dict[str, Any]:
        """All models (``views.Overview``)."""
        return dict(self._get("/overview"))

    def model(self, name: str) -> dict[str, Any]:
        """One model (``views.ModelView``)."""
        return dict(self._get(f"/models/{_quoted(name)}"))

    def versions(self, model: str) -> list[dict[str, Any]]:
        """A model's versions and how they are."""
        return list(self._get(f"/models/{_quoted(model)}/versions")["versions"])

    def rollouts(self, model: str) -> list[dict[str, Any]]:
        """A model's rollouts, newest first (``views.RolloutView``)."""
        return list(self._get(f"/models/{_quoted(model)}/rollouts")["rollouts"])

    def rollout(self, name: str) -> dict[str, Any]:
        """A rollout by its id, or the newest of a model."""
        return dict(self._get(f"/rollouts/{_quoted(name)}"))

    def decisions(self, of: str, limit: int = 100) -> list[dict[str, Any]]:
        """Decisions about a rollout or a model, newest first (``views.DecisionView``)."""
        return list(self._get(f"/decisions?of={_quoted(of)}&limit={limit}")["decisions"])

    def route(self, model: str) -> dict[str, Any]:
        """The model's route (``routes.Route``)."""
        return dict(self._get(f"/models/{_quoted(model)}/route"))

    def start_rollout(self, model: str, body: dict[str, Any], generation: int | None) -> Any:
        """Start a rollout; its first reading."""
        return self._post(f"/models/{_quoted(model)}/rollouts", body, generation)

    def act(self, rollout: str, name: str, body: dict[str, Any], generation: int | None) -> Any:
        """pause, resume, promote, abort or retry."""
        return self._post(f"/rollouts/{_quoted(rollout)}/{name}", body, generation)

    def rollback(self, model: str, body: dict[str, Any], generation: int | None) -> Any:
        """Back to the version before."""
        return self._post(f"/models/{_quoted(model)}/rollback", body, generation)

    def apply(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Apply a file on the server's machine; one line a change."""
        return list(self._post("/apply", body, None)["lines"])

    def add_version(self, model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Add a version to a model; one line a change."""
        return list(self._post(f"/models/{_quoted(model)}/versions", body, None)["lines"])

    def retire_version(
        self, model: str, version: str, body: dict[str, Any], generation: int | None
    ) -> list[dict[str, Any]]:
        """Retire a version of a model; one line a change."""
        path = f"/models/{_quoted(model)}/versions/{_quoted(version)}/retire"
        return list(self._post(path, body, generation)["lines"])

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _get(self, path: str) -> Any:
        return self._transport.call("GET", f"/api/v1{path}").json()

    def _post(self, path: str, body: dict[str, Any], generation: int | None) -> Any:
        headers: dict[str, str | bytes] = {"content-type": "application/json"}
        if generation is not None:
            headers["if-match"] = f'"{generation}"'
        raw = json.dumps({k: v for k, v in body.items() if v is not None}).encode()
        return self._transport.call("POST", f"/api/v1{path}", raw, headers).json()
