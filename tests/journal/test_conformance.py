"""Both adapters keep the journal's contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from redpoll.testing.journals import CHECKS, FilesHarness, MemoryHarness


@pytest.mark.parametrize("harness", [MemoryHarness, FilesHarness], ids=["memory", "files"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_journals_contract_is_kept(check, harness, tmp_path: Path) -> None:
    """Each check says what must hold; it raises where it does not."""
    check(harness(tmp_path))
