"""Folding what is there for reading alone: nothing is decided, written or published.

For commands on a data folder where no server runs. What a running controller would do next is not
done; the evidence is shown as far as the journal gives it.
"""

from __future__ import annotations

from redpoll.control.engine import POLL_ENTRIES, Engine
from redpoll.control.timeline import when


def look(engine: Engine) -> None:
    """Bring the engine to the journal's end. Its ``tick`` must not be called then."""
    engine.opened_us = engine.clock.now_us()
    engine.catalog = engine.store.read()
    entries = list(engine.journal.read(kinds=["decision"], raw=False))
    for entry in sorted(entries, key=when):
        engine._fold(entry)
    engine.follower = engine.journal.follow(engine._restore(entries))
    while found := engine.follower.poll(POLL_ENTRIES):
        engine._take(found)
    engine.health.refresh()
    engine.as_of_us = engine.bound(engine.clock.now_us())
    for watch in engine.watches.values():
        if not watch.over:
            watch.close(engine.as_of_us, engine.as_of_us)
