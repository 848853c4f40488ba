"""Asking a version once, with no server: a worker is started just as ``redpoll serve`` would."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from redpoll.backends.start import PROGRAM, environment, interpreter, specification
from redpoll.catalog import Model, Version
from redpoll.errors import RedpollError
from redpoll.tensors import columns as cols
from redpoll.tensors import rows as plain

ASK_S = 20.0
LAST_LINES = 5


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ASK_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(model: Model, version: Version, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the version answers to plain rows, one dict of outputs a row.

    Raises RP-041 where it cannot be loaded (``load`` bounds the wait), and RP-042 where it loads and
    does not answer these rows.
    """
    with _worker(model, version) as address:
        tensors = plain.to_tensors(plain.to_columns(rows, model, frozenset()), model, nullable=True)
        connection = _Unix(address)
        try:
            connection.request(
                "POST",
                f"/v2/models/{model.name}/infer",
                json.dumps({"inputs": tensors}),
                {"content-type": "application/json"},
            )
            reply = connection.getresponse()
            status, body = reply.status, reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise _silent(version, f"it did not answer ({error or type(error).__name__})") from None
        finally:
            connection.close()
    if status != 200:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            body = json.loads(body)["error"].encode()
        raise _silent(version, body.decode("utf-8", "replace")[:400])
    columns = plain.from_tensors(cols.read_answer(body), len(rows), model.output)
    return plain.to_rows(columns, len(rows))


@contextlib.contextmanager
def _worker(model: Model, version: Version) -> Iterator[str]:
    """A worker that is ready; its socket."""
    with tempfile.TemporaryDirectory(prefix="redpoll-") as folder, contextlib.ExitStack() as stack:
        spec, address = Path(folder) / "spec.json", str(Path(folder) / "s.sock")
        spec.write_text(specification(model, version, Path(folder)))
        report, report_in = os.pipe2(os.O_CLOEXEC)
        stack.callback(os.close, report)
        errors = stack.enter_context((Path(folder) / "stderr").open("w+b"))
        try:
            process = subprocess.Popen(
                [
                    *(interpreter(version), str(PROGRAM), "--spec", str(spec)),
                    *("--socket", address, "--report", str(report_in)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(report_in,),
                env=environment(version, os.environ),
                start_new_session=True,
            )
        except OSError as error:
            raise _unloaded(version, f"{interpreter(version)}: {error.strerror}") from None
        finally:
            os.close(report_in)
        stack.callback(_end, process)
        _wait_ready(version, report, Path(errors.name))
        yield address


def _wait_ready(version: Version, report: int, errors: Path) -> None:
    end = time.monotonic() + version.load_s
    said = b""
    while True:
        ready, _, _ = select.select([report], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise _unloaded(version, f"it was not ready within {version.load_s:g} s")
        part = os.read(report, 65536)
        said += part
        for line in said.splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == "ready":
                    return
                if event.get("event") == "failed":
                    raise _unloaded(version, str(event.get("error")))
        if not part:
            lines = errors.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
            raise _unloaded(version, "its worker ended: " + (" | ".join(lines) or "without a word"))


def _unloaded(version: Version, why: str) -> RedpollError:
    return RedpollError("RP-041", f"{version.backend} cannot be loaded: {why.rstrip('.')}.")


def _silent(version: Version, why: str) -> RedpollError:
    return RedpollError(
        "RP-042", f"{version.backend} loads, but did not answer the row it was asked: {why}"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
