"""Small truths about processes and private folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from redpoll.errors import RedpollError

# Children carry this in their environment, so that what a killed server left can be told apart.
CHILD_OF = "REDPOLL_CHILD_OF"


def alive(pid: int) -> bool:
    """Whether a process of that id runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return state.rpartition(")")[2].split()[0] not in ("Z", "X")


def left_behind(root: Path) -> list[int]:
    """Pids of processes that a server on this data folder started, ourselves left out (Linux).

    Whoever holds the folder's lock may end them: their server is gone.
    """
    mark = f"{CHILD_OF}={root}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # another user's, or gone
        if mark in environment.split(b"\0"):
            found.append(pid)
    return found


def private_folder(path: Path) -> Path:
    """Make a folder that only we may enter; refuse one that another could have put there.

    Raises ``RedpollError`` RP-600 where it is a link, belongs to another user or is open to others.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RedpollError(
            "RP-600",
            f"{path} should hold the workers' sockets, but is not a folder that only this user "
            "may enter: another user could answer in a model's place. Remove it, or choose a "
            "data_dir with a shorter path.",
        )
    return path
