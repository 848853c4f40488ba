"""Format versions of the journal: what is read, what is written, and what is refused.

======  ==================================================================================
format  what is new in it
======  ==================================================================================
1       the first: write-ahead files whose header is a magic number and a version
2       that header has a checksum of its own, so that a damaged one is not taken for a newer
        one; sealed files end with a checksum of all their bytes and say which write-ahead
        files their facts came from (:mod:`redpoll.journal.trailer`)
======  ==================================================================================

Older ones are read as they are. Write-ahead files become current when they are sealed.
``journal/format`` holds the newest format that was ever written into a folder: an older redpoll
refuses to touch it rather than take it for damage.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from redpoll.errors import RedpollError
from redpoll.host.paths import replace

FORMAT = 2
MARK = "format"


def check(journal: Path) -> int:
    """The newest format in a journal's folder (1 where nothing says so). RP-310: newer than ours."""
    try:
        said = (journal / MARK).read_text("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return 1
    if not said.isdecimal() or int(said[:9]) == 0:
        return 1  # the mark itself is damaged; each file says its own format
    if int(said[:9]) > FORMAT:
        raise newer(journal, int(said[:9]))
    return int(said)


def mark(journal: Path) -> None:
    """Say that files of our format are written here from now on; RP-310 where newer ones are."""
    if check(journal) < FORMAT:
        with contextlib.suppress(OSError):  # a full disk: whoever writes next says it
            journal.mkdir(parents=True, exist_ok=True)
            replace(journal / MARK, b"%d\n" % FORMAT)


def newer(path: Path | str, found: int) -> RedpollError:
    """RP-310 for a folder or file."""
    return RedpollError(
        "RP-310",
        f"{path} was written by a newer redpoll: its format is {found}, and this one reads formats"
        f" 1 to {FORMAT}. Nothing was changed there; run that redpoll or a newer one on it, or"
        " restore a backup that was made before the upgrade (`redpoll log restore`).",
    )
