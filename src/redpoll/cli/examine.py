"""What ``redpoll doctor`` looks at: machine, configuration, data folder, server. It changes nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import redpoll
from redpoll import config as configuration
from redpoll.catalog import Config, Server
from redpoll.cli.face import Face, cert_of, scheme_of
from redpoll.client import ClientError
from redpoll.client.transport import Transport
from redpoll.errors import RedpollError
from redpoll.host import tokens
from redpoll.host.lock import held
from redpoll.host.paths import DataDir
from redpoll.host.process import left_behind

OK, WARN, BAD = "ok", "warn", "bad"
FREE_WARN_BYTES, FREE_BAD_BYTES = 5 << 30, 512 << 20
SYNC_WARN_S = 0.05  # a Decision and every group of facts waits for one
SYNCS = 7
FILES_BESIDE = 256  # open files that a gateway needs beside its connections
CLOCK_S = 5.0
REMOTE_FS = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse")
MEMORY_FS = ("tmpfs", "ramfs")


class Finding(NamedTuple):
    """One thing that was looked at. ``todo``: what to do; "" where nothing is."""

    name: str
    level: str  # ok | warn | bad
    sentence: str
    todo: str = ""


class Patient(NamedTuple):
    """What the looks need: the options, the file as read (None: it cannot be), the data folder."""

    face: Face
    config: Config | None
    data: DataDir

    @property
    def server(self) -> Server:
        """What the file says of the server, or the defaults."""
        return self.config.server if self.config is not None else Server()


Look = Callable[[Patient], Iterator[Finding]]


def examine(face: Face) -> Iterator[Finding]:
    """Every finding, in the order of the looks. A look that fails is a finding itself."""
    yield from _program()
    config, found = _configuration(face)
    yield from found
    patient = Patient(face, config, _data(face, config))
    for name, look in LOOKS:
        try:
            yield from look(patient)
        except (OSError, ValueError, RedpollError, ClientError) as error:
            yield Finding(name, BAD, f"it could not be looked at: {error}")


def _program() -> Iterator[Finding]:
    what = f"redpoll {redpoll.__version__}, Python {sys.version.split()[0]} ({sys.executable})"
    missing = []
    with contextlib.suppress(metadata.PackageNotFoundError):
        for wanted in metadata.requires("redpoll") or ():
            name = wanted.partition(";")[0].strip()
            if "extra ==" in wanted:
                continue
            for mark in "<>=!~ [(":
                name = name.partition(mark)[0]
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError:
                missing.append(name)
    if missing:
        yield Finding(
            "program", BAD, f"{what}, but {', '.join(missing)} is not installed",
            f"{sys.executable} -m pip install {' '.join(missing)}",
        )  # fmt: skip
    else:
        yield Finding("program", OK, what)


def _configuration(face: Face) -> tuple[Config | None, list[Finding]]:
    path = face.config_path
    if not path.is_file():
        return None, [
            Finding(
                "configuration", WARN, f"there is no {path}",
                "`redpoll init` writes a first one beside a model; or name one with -c",
            )
        ]  # fmt: skip
    from redpoll.store.known import kept_in

    try:
        config = configuration.load(path, stored=kept_in)
    except RedpollError as error:
        problems = getattr(error, "problems", ())
        first = problems[0] if problems else error
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        line = f"{path}: {getattr(first, 'message', first)}{more}"
        return None, [
            Finding("configuration", BAD, line, "`redpoll apply --dry-run` lists every error")
        ]
    count = sum(len(model.versions) for model in config.models)
    models = f"{len(config.models)} model{'' if len(config.models) == 1 else 's'}"
    text = f"{path}: {models}, {count} version{'' if count == 1 else 's'}"
    return config, [Finding("configuration", OK, text)]


def _data(face: Face, config: Config | None) -> DataDir:
    given = face.given_data_dir
    return DataDir(given or config.data_dir) if config is not None else face.data


def _models(patient: Patient) -> Iterator[Finding]:
    """Whether each version's own Python can load it; versions that were added before are known."""
    from redpoll.backends import pickles
    from redpoll.store.artifacts import source
    from redpoll.store.known import kept_in

    if patient.config is None:
        return
    stored = kept_in(str(patient.data.root))
    fine = 0
    for model in patient.config.models:
        for version in model.versions:
            name = f"{model.name} {version.name}"
            kept = (model.name, version.name) in stored
            try:
                if not kept or source(version).exists():
                    pickles.check(version, source(version))
                fine += 1
            except RedpollError as error:
                yield Finding("models", BAD, f"{name}: {error.message}")
    if fine:
        yield Finding("models", OK, f"{fine} can be loaded, as far as that is seen from outside")


def _folder(patient: Patient) -> Iterator[Finding]:
    root = patient.data.root
    here = _nearest(root)
    what = str(root) if root.exists() else f"{root} (not there yet)"
    if not os.access(here, os.W_OK | os.X_OK):
        yield Finding(
            "data folder", BAD, f"{here} cannot be written by this user",
            f"chown it, run as its owner, or set data_dir (now {root})",
        )  # fmt: skip
        return
    kind = _file_system(here)
    if kind in REMOTE_FS:
        yield Finding(
            "data folder", WARN, f"{what} is on {kind}: locks, renames and syncs may not hold there",
            "put data_dir on a local disk; the sealed Parquet may be copied anywhere",
        )  # fmt: skip
    elif kind in MEMORY_FS:
        yield Finding(
            "data folder", WARN, f"{what} is on {kind}: the journal is gone after a reboot",
            "put data_dir on a disk",
        )  # fmt: skip
    else:
        yield Finding("data folder", OK, what + (f" on {kind}" if kind else ""))


def _disk(patient: Patient) -> Iterator[Finding]:
    here = _nearest(patient.data.root)
    free, total = shutil.disk_usage(here).free, shutil.disk_usage(here).total
    line = f"{free / 1e9:,.1f} GB of {total / 1e9:,.0f} GB are free"
    todo = "free space, or move data_dir; docs/operating.md says what a request takes"
    level = OK if free >= FREE_WARN_BYTES else WARN if free >= FREE_BAD_BYTES else BAD
    yield Finding("disk", level, line, "" if level == OK else todo)
    found = os.statvfs(here)
    if found.f_files and found.f_favail < 10_000:
        yield Finding("disk", WARN, f"only {found.f_favail:,} files can still be made there", todo)
    if not os.access(here, os.W_OK):
        return
    took_s = statistics.median(_syncs(here))
    line = f"a sync takes {took_s * 1000:.1f} ms"
    if took_s > SYNC_WARN_S:
        yield Finding("disk", WARN, line, "decisions wait for it; prefer a local SSD")
    else:
        yield Finding("disk", OK, line)


def _limits(patient: Patient) -> Iterator[Finding]:
    wanted = patient.server.limits.connections + FILES_BESIDE
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < wanted:
        yield Finding(
            "open files", WARN,
            f"this user may have {most:,} files open; {patient.server.limits.connections:,} "
            f"connections want {wanted:,}",
            f"LimitNOFILE={wanted} in the unit, ulimit -n {wanted}, or lower "
            "server.limits.connections",
        )  # fmt: skip
    else:
        shown = "any number of" if most == resource.RLIM_INFINITY else f"{most:,}"
        yield Finding("open files", OK, f"{shown} files may be open at once")


def _clock(patient: Patient) -> Iterator[Finding]:
    now = time.time()
    newest = max((one.stat().st_mtime for one in patient.data.wal.glob("*.wal")), default=0.0)
    if newest > now + CLOCK_S:
        yield Finding(
            "clock", BAD, f"the journal was written {newest - now:.0f} s in the future",
            "the clock was set back, or was wrong before: see that it is kept by NTP",
        )  # fmt: skip
    else:
        yield Finding("clock", OK, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def _tokens(patient: Patient) -> Iterator[Finding]:
    path = patient.server.tokens_file
    if path is None:
        yield Finding("tokens", OK, "none are wanted: only this machine can reach the server")
        return
    grants = tokens.read(Path(path))
    if not grants:
        yield Finding(
            "tokens", WARN, f"there is no token in {path}: nobody may ask anything",
            "redpoll token create --scope predict --name NAME",
        )  # fmt: skip
        return
    if Path(path).stat().st_mode & 0o022:
        yield Finding(
            "tokens", BAD, f"{path} can be written by others, who could add tokens",
            f"chmod 600 {path}",
        )  # fmt: skip
        return
    admins = [grant.name for _, grant in grants if "admin" in grant.scopes]
    more = f"; admin: {', '.join(admins)}" if admins else ""
    yield Finding("tokens", OK, f"{len(grants)} in {path}{more}")


def _server(patient: Patient) -> Iterator[Finding]:
    said = patient.face.addresses_on(patient.data)
    if said is None:
        yield from _stopped(patient)
        return
    data, console = (f"{scheme_of(said)}://{said[key]}" for key in ("data", "control"))
    where = f"pid {said['pid']}, data {data}, console {console}"
    running = said.get("version", "")
    if running != redpoll.__version__:
        yield Finding(
            "server", WARN, f"redpoll {running} runs ({where}), and this is {redpoll.__version__}",
            "start the server again to run this one",
        )  # fmt: skip
    else:
        yield Finding("server", OK, f"it runs: {where}")
    died = {name: count for name, count in said.get("restarts", {}).items() if count}
    if died:
        words = ", ".join(f"{name} {count} times" for name, count in died.items())
        yield Finding("server", WARN, f"started again since it runs: {words}", "see its log")
    yield from _answers(said, "/readyz", "gateway")
    yield from _models_now(patient)


def _stopped(patient: Patient) -> Iterator[Finding]:
    if held(patient.data.lock):
        yield Finding(
            "server", WARN, "a server holds the data folder, and does not say where it is yet",
            "wait a moment and look again",
        )  # fmt: skip
        return
    left = left_behind(patient.data.root) if patient.data.root.exists() else []
    if left:
        pids = ", ".join(map(str, left))
        yield Finding(
            "server", WARN, f"a killed server left processes behind: {pids}",
            "the next `redpoll serve` ends them",
        )  # fmt: skip
    for key, address in (("data", patient.server.data), ("control", patient.server.control)):
        why = _taken(address)
        if why:
            yield Finding(
                "server", BAD, f"server.{key} = {address}: {why}",
                f"stop what listens there, or set server.{key}",
            )  # fmt: skip
    yield Finding("server", OK, "none runs on this data folder (`redpoll serve` starts one)")


def _models_now(patient: Patient) -> Iterator[Finding]:
    remote = patient.face.remote()
    if remote is None:
        return
    try:
        overview = remote.overview()
    except ClientError as error:
        todo = "set REDPOLL_TOKEN to a token that may read" if error.code == "RP-500" else ""
        yield Finding("control", WARN if todo else BAD, f"it says: {error.message}", todo)
        return
    age_s = overview["age_s"]
    level = WARN if age_s > 10 else OK
    yield Finding(
        "control", level, f"it answers; what it knows is {age_s:.1f} s old",
        "it cannot follow the journal: see its log and docs/operating.md" if level == WARN else "",
    )  # fmt: skip
    for model in overview["models"]:
        if model["needs"]:
            yield Finding("models", WARN, model["needs"], f"redpoll explain {model['name']}")
    if overview["facts_lost"]:
        yield Finding(
            "journal", WARN, f"{overview['facts_lost']} facts were lost since the server started",
            "`redpoll_journal_lost_total` says which and why",
        )  # fmt: skip


def _answers(said: dict[str, Any], path: str, name: str) -> Iterator[Finding]:
    address = f"{scheme_of(said)}://{said['data']}"
    transport = Transport(_reachable(address), token=None, timeout_s=5.0, cert=cert_of(said))
    try:
        transport.call("GET", path)
        yield Finding(name, OK, f"{address}{path} says that it is ready")
    except ClientError as error:
        yield Finding(name, BAD, f"{address}{path}: {error.message}", "see its log")
    finally:
        transport.close()


LOOKS: tuple[tuple[str, Look], ...] = (
    ("models", _models),
    ("data folder", _folder),
    ("disk", _disk),
    ("open files", _limits),
    ("clock", _clock),
    ("tokens", _tokens),
    ("server", _server),
)


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _file_system(path: Path) -> str:
    """The type of the file system that a folder is on, as the kernel calls it; "" unknown."""
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split(" ")
        at = fields[1].replace("\\040", " ")
        inside = str(path) == at or str(path).startswith(at.rstrip("/") + "/")
        if inside and len(at) >= len(best):
            best, kind = at, fields[2]
    return kind


def _syncs(folder: Path) -> list[float]:
    took = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".redpoll-doctor-") as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            began = time.monotonic()
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - began)
    return took


def _taken(address: str) -> str:
    """Why nothing can listen there; "" where it can."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, int(port)))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _reachable(address: str) -> str:
    return address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")  # noqa: S104
