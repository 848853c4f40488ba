"""The OpenAPI document of the control plane."""

from __future__ import annotations

from typing import Any


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    return {"openapi": "3.1.0", "info": {"title": "redpoll", "version": "1"}, "paths": {}}
