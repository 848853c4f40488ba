"""What presses on servers: wrk with its script, and the core that a process is pinned to."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

UNITS = 5000
DEADLINE_MS = 2000
PATH = "/v2/models/m/infer"
# Ten columns, no id: about 600 bytes, as a client of the Open Inference Protocol sends them.
BODY = json.dumps(
    {
        "inputs": [
            {"name": f"x{i}", "shape": [1], "datatype": "FP64", "data": [i + 0.25]}
            for i in range(8)
        ]
        + [
            {"name": "age", "shape": [1], "datatype": "INT64", "data": [41]},
            {"name": "plan", "shape": [1], "datatype": "BYTES", "data": ["premium"]},
        ]
    },
    separators=(",", ":"),
).encode()

# Requests are made before the clock starts, so that a request costs wrk a table's look-up. They are
# written by hand: wrk.format puts headers in an order of its own in every run, so that each round
# would be one more client program, with 5,000 heads that nobody has seen.
SCRIPT = """\
local requests, at = {{}}, 0
function init(args)
  local body = [==[{body}]==]
  for i = 1, {units} do
    requests[i] = table.concat({{
      "POST {path} HTTP/1.1", "Host: " .. wrk.headers["Host"], "content-type: application/json",
      "redpoll-deadline-ms: {deadline}", "redpoll-unit: user-" .. i,
      "Content-Length: " .. #body, "", body}}, "\\r\\n")
  end
end
function request()
  at = at % {units} + 1
  return requests[at]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nresult {{"requests": %d, "us": %d, "errors": %d, "p50_us": %d, "p99_us": %d}}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Round(NamedTuple):
    """One run of wrk against one server."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_us: float  # of the server's processes, a request
    busy: float  # share of the server's core that these processes had

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def cores() -> tuple[int, int]:
    """The server's core and the other one, which bears load and upstream."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[0], mine[1]


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Whatever is started in this block runs on this core and nowhere else, children too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its living children: utime + stime of all their threads."""
    total = 0.0
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


class Load:
    """wrk with the script, on the load's core."""

    def __init__(
        self, wrk: str, folder: Path, core: int, path: str = PATH, body: bytes = BODY
    ) -> None:
        self._wrk, self._core = wrk, core
        self._script = folder / "load.lua"
        self._script.write_text(
            SCRIPT.format(units=UNITS, deadline=DEADLINE_MS, path=path, body=body.decode())
        )

    def warm(self, port: int, connections: int) -> tuple[int, int]:
        """Requests and runs until every unit was seen, within twenty seconds."""
        requests = runs = 0
        while requests < UNITS + 1000 and runs < 20:
            requests += self.run(port, connections, 1).requests
            runs += 1
        return requests, runs

    def run(self, port: int, connections: int, seconds: int, pid: int | None = None) -> Round:
        """One round; raises ``RuntimeError`` where any request failed: such a rate says nothing."""
        before, begin = cpu_s(pid) if pid else 0.0, time.monotonic()
        with pinned(self._core):
            done = subprocess.run(
                [self._wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(self._script),
                 f"http://127.0.0.1:{port}"],
                capture_output=True, text=True, timeout=seconds + 60, check=False,
            )  # fmt: skip
        cpu, elapsed = (cpu_s(pid) if pid else 0.0) - before, time.monotonic() - begin
        line = next((x for x in done.stdout.splitlines() if x.startswith("result ")), None)
        if line is None:
            raise RuntimeError(f"wrk measured nothing: {done.stderr.strip() or done.stdout}")
        said = json.loads(line.removeprefix("result "))
        if said["errors"] or not said["requests"]:
            raise RuntimeError(f"of {said['requests']} requests {said['errors']} failed")
        return Round(
            said["requests"], said["us"] / 1e6, said["p50_us"], said["p99_us"],
            cpu / said["requests"] * 1e6, cpu / elapsed,
        )  # fmt: skip
