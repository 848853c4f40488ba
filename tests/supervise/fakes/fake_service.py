"""Stands in for gateway, control and sealer: answers 200, tells its life to a file, obeys signals.

``<data>/told.txt`` gets a line for each start, SIGHUP and end. ``<data>/<role>-deaf`` makes SIGTERM
unheard, ``<data>/<role>-slow`` makes the end take half a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
from pathlib import Path

from redpoll.host import lifeline


def serve(role: str) -> None:
    """Run until told otherwise."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--fd", type=int, default=-1)
    parser.add_argument("--lifeline", type=int)
    parser.add_argument("--config", default="")
    options = parser.parse_args()
    lifeline.die_with_parent()
    asyncio.run(_run(role, options))


async def _run(role: str, options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell(word: str) -> None:
        with (options.data_dir / "told.txt").open("a") as file:
            file.write(f"{role} {word} {os.getpid()}\n")

    def stop() -> None:
        if not (options.data_dir / f"{role}-deaf").exists():
            ended.set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"pid": os.getpid()}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGHUP, tell, "hup")
    lifeline.watch(loop, options.lifeline, ended.set)
    server = None
    if options.fd >= 0:
        server = await asyncio.start_server(answer, sock=socket.socket(fileno=options.fd))
    said = json.loads((options.data_dir / "run" / "server.json").read_bytes())
    assert said["server"]["drain_s"] > 0
    tell("start")
    await ended.wait()
    if (options.data_dir / f"{role}-slow").exists():
        await asyncio.sleep(0.5)
    if server is not None:
        server.close()
    tell("end")
