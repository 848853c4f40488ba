"""A gateway that starts beside a new controller never sees half of a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redpoll.control.service import Control
from redpoll.host.paths import DataDir
from redpoll.journal.memory import MemoryJournal
from redpoll.store.memory import MemoryStore


def test_a_new_folder_has_no_route_table_before_its_file_was_applied(tmp_path: Path) -> None:
    """Else the gateway would say "ready" of a table without models, and requests would fail."""

    async def story() -> tuple[bool, bool]:
        data = DataDir(tmp_path).make()
        control = Control(data, MemoryJournal(), MemoryStore())
        await control.start(hold=True)
        try:
            await asyncio.sleep(0.3)  # several turns of the loop that publishes
            before = data.routes.exists()
            control.release()
            return before, data.routes.exists()
        finally:
            await control.stop()

    assert asyncio.run(story()) == (False, True)
