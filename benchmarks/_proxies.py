"""The servers of the benchmark ``proxy``: upstream, nginx, the ASGI peer, redpoll's gateway."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks._load import PATH, cores, free_port, pinned
from redpoll.catalog import Limits, Model, Output, Pool, Server, Version
from redpoll.host.paths import DataDir
from redpoll.routes import Route, Table, Target, encode

ROOT = Path(__file__).parent.parent
PEER = ROOT / ".peers" / "asgi"
START_S = 30.0
WEIGHT = 0.2
ANSWER = (
    '{"model_name":"m","model_version":"1","outputs":['
    '{"name":"churn","shape":[1],"datatype":"INT64","data":[1]},'
    '{"name":"probability","shape":[1],"datatype":"FP64","data":[0.2518382749]},'
    '{"name":"explained","shape":[1,4],"datatype":"FP64","data":[0.125,0.0625,-0.03125,0.5]},'
    '{"name":"segment","shape":[1],"datatype":"BYTES","data":["b-2"]}]}'
)
COLUMNS = {f"x{i}": "float" for i in range(8)} | {"age": "int", "plan": "category"}

_NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/{name}.pid;
error_log stderr error;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/json;
  client_body_temp_path {folder}/{name}-body;
  proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-fastcgi;
  uwsgi_temp_path {folder}/{name}-uwsgi;
  scgi_temp_path {folder}/{name}-scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
{rest}
}}
"""
_UPSTREAM = """\
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{answer}'; }} }}
"""
_PROXY = """\
  upstream model {{
    server 127.0.0.1:{upstream};
    keepalive 64; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
"""


class Missing(Exception):
    """Something that is compared with is not here. Says the command that brings it."""


def tool(name: str) -> str:
    """A program's path; :class:`Missing` where it is not installed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise Missing(
            f"{name} is missing: get it with `make peers` (scripts/system-packages {name})"
        )
    return found


def peer() -> Path:
    """The Python of the ASGI peer."""
    if not (PEER / ".done").exists():
        raise Missing("the peer asgi is missing: build it with `make peers` (scripts/peers)")
    return PEER / "bin" / "python"


@contextlib.contextmanager
def running(
    command: list[str], folder: Path, port: int, core: int, env: dict[str, str] | None = None
) -> Iterator[int]:
    """A server on its core, its process id given once it answers on ``port``; ended behind us."""
    log = folder / f"{Path(command[0]).name}-{port}.log"
    with log.open("wb") as out, pinned(core):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    try:
        _wait(process, port, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("POST", PATH, b'{"inputs":[]}')
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError(f"a server did not start: {log.read_text(errors='replace')[-2000:]}")


def nginx(
    folder: Path, name: str, core: int, rest: str, port: int
) -> contextlib._GeneratorContextManager[int]:
    """nginx with one worker; it stays the user we are, so that it may use ``folder``."""
    config = folder / f"{name}.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(folder=folder, name=name, rest=rest, user=user))
    command = [tool("nginx"), "-p", str(folder), "-c", str(config), "-e", "stderr"]
    return running(command, folder, port, core)


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """The port of what answers every request with one fixed inference answer, on the load's core."""
    port = free_port()
    rest = _UPSTREAM.format(port=port, answer=ANSWER)
    with nginx(folder, "upstream", cores()[1], rest, port):
        yield port


@contextlib.contextmanager
def nginx_proxy(folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    """Port and process id of nginx as a plain proxy with kept connections."""
    port = free_port()
    rest = _PROXY.format(port=port, upstream=upstream)
    with nginx(folder, "proxy", cores()[0], rest, port) as pid:
        yield port, pid


@contextlib.contextmanager
def asgi_proxy(folder: Path, upstream: int) -> Iterator[tuple[int, int]]:
    """Port and process id of uvicorn with the peer's application."""
    port = free_port()
    command = [
        str(peer()), "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "_asgi_peer:app",
        "--port", str(port), "--loop", "uvloop", "--http", "httptools", "--lifespan", "off",
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    env = {"UPSTREAM": f"http://127.0.0.1:{upstream}"}
    with running(command, folder, port, cores()[0], env) as pid:
        yield port, pid


@contextlib.contextmanager
def gateway(folder: Path, upstream: int, declared: bool) -> Iterator[tuple[int, int]]:
    """Port and process id of redpoll's gateway alone, in the middle of a rollout at 20 %.

    Both versions are the same upstream. ``declared``: the model declares its inputs and outputs, so
    that requests and answers are checked against them.
    """
    port = free_port()
    data = DataDir(folder / "data").make()
    server = Server(data=f"127.0.0.1:{port}", log_level="warning", limits=Limits())
    data.server.write_bytes(msgspec.json.encode({"server": server}))
    data.routes.write_bytes(encode(table(upstream, declared)))
    command = [sys.executable, "-m", "redpoll.web.dataplane", "--data-dir", str(data.root)]
    with running(command, folder, port, cores()[0]) as pid:
        yield port, pid


def table(upstream: int, declared: bool) -> Table:
    """One model with a candidate at 20 %."""
    url = f"http://127.0.0.1:{upstream}/v2/models/m"
    versions = tuple(
        Version(name=name, backend=url, pool=Pool(idle_s=60.0)) for name in ("v1", "v2")
    )
    model = Model(
        name="m",
        live="v1",
        unit="user",
        unit_from="header:redpoll-unit",
        inputs=COLUMNS if declared else {},
        output=Output(name="churn", type="binary", score="probability", positive=1)
        if declared
        else None,
        versions=versions,
    )
    route = Route(
        model=model,
        number=1,
        generation=1,
        live="v1",
        candidate="v2",
        weight=WEIGHT,
        salt="benchmark",
        rollout_id="m-1",
        targets={v.name: Target(version=v, addresses=(url,)) for v in versions},
    )
    return Table(generation=1, watching=True, routes={"m": route})


def config(upstream: int, declared: bool) -> str:
    """The ``redpoll.toml`` of the same for ``redpoll serve``."""
    url = f"http://127.0.0.1:{upstream}/v2/models/m"
    inputs = ", ".join(f'{name} = "{kind}"' for name, kind in COLUMNS.items())
    return f"""\
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
[models.m]
live = "v1"
unit = "user"
unit_from = "header:redpoll-unit"
{f"inputs = {{{inputs}}}" if declared else ""}
{'output = {name = "churn", type = "binary", score = "probability", positive = 1}' if declared else ""}
[models.m.versions.v1]
backend = "{url}"
pool = {{idle = "60s"}}
[models.m.versions.v2]
backend = "{url}"
pool = {{idle = "60s"}}
[models.m.rollout]
alpha = 0.01
steps = [{{weight = "20%", pause = "7d"}}]
"""
