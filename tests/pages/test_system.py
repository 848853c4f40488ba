"""*System* on a real server: what its processes use, what died, what is refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from typing import Any

from tests.pages.shop import Shop, until

CONTROL = "control and console"


def named(shop: Shop) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in shop.get("/system.json")["processes"]}


def test_every_process_is_there_with_what_it_uses(shop):
    """Redpoll's own, and the workers of each version as one line."""
    shop.predict()
    found = until(lambda: all(p["memory_bytes"] for p in named(shop).values()) and named(shop))
    assert {"gateway", "control and console", "sealer", "supervisor"} < found.keys()
    workers = found["workers price/v1"]
    assert workers["processes"] == 2 and workers["state"] == "ready"
    assert workers["memory_bytes"] > 2 * 8_000_000, "two Pythons"
    until(lambda: named(shop)["gateway"]["cpu_ratio"] is not None)
    assert all(one["well"] in ("pass", "wait") and one["up_s"] >= 0 for one in found.values())
    until(lambda: len({named(shop)[one]["generation"] for one in ("gateway", CONTROL)}) == 1)


def test_a_worker_and_a_sealer_that_die_are_counted(shop):
    """Their memory and CPU are in ``/metrics`` under a name that outlives the process."""
    before = named(shop)
    memory = 'redpoll_process_resident_memory_bytes{process="worker:price/v1/0"}'
    cpu = 'redpoll_process_cpu_seconds_total{process="worker:price/v1/0"}'
    until(lambda: shop.metric(memory) > 8_000_000)
    used = shop.metric(cpu)
    assert used > 0
    workers = json.loads((shop.folder / "data/run/workers.json").read_text())
    pid = next(w["pid"] for w in workers.values() if (w["version"], w["index"]) == ("v1", 0))
    os.kill(pid, signal.SIGKILL)
    os.kill(shop.said["pids"]["sealer"], signal.SIGKILL)

    def back() -> bool:
        now = named(shop)
        return (
            now["workers price/v1"]["restarts"] == before["workers price/v1"]["restarts"] + 1
            and now["sealer"]["restarts"] == before["sealer"]["restarts"] + 1
            and {now["workers price/v1"]["state"], now["sealer"]["state"]} == {"ready", "sealing"}
        )

    until(back, 30)
    assert shop.metric(cpu) >= used, "a counter never falls"
    until(lambda: shop.get("/system.json")["severity"] == "calm")
    assert shop.get("/system.json")["facts_lost"] == 0


def test_what_is_refused_and_how_near_the_bounds_are(shop):
    """Connections that are open now, and requests that were turned away by reason."""
    said = shop.said["data"].rpartition(":")
    idle = [socket.create_connection((said[0], int(said[2])), timeout=5) for _ in range(7)]
    assert shop.ask("data", "POST", "/v2/models/prize/infer", {})[0] == 404

    def seen() -> bool:
        page = shop.get("/system.json")
        bounds = {one["key"]: one for one in page["bounds"]}
        refused = {(one["name"], one["reason"]): one["count"] for one in page["refused"]}
        connections = bounds["server.limits.connections"]
        return connections["now"] >= 7 and refused.get(("_", "unknown_model"), 0) >= 1

    until(seen)
    for one in idle:
        one.close()
    line = 'redpoll_connections{process="gateway"}'
    until(lambda: shop.metric(line) < 7)


def test_gauges_return_to_zero_when_clients_vanish(shop):
    """A client that resets its connection in the middle of a slow call leaves nothing behind."""
    host, _, port = shop.said["data"].rpartition(":")
    body = json.dumps({"age": 1, "plan": "held"}).encode()
    head = (
        f"POST /predict/price HTTP/1.1\r\nhost: x\r\nredpoll-unit: u\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    clients = []
    for _ in range(6):
        client = socket.create_connection((host, int(port)), timeout=5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(head + body)
        clients.append(client)
    until(lambda: shop.metric('redpoll_requests_in_flight{model="price"}') == 6)
    until(lambda: shop.metric('redpoll_requests_waiting{model="price"}') == 4)  # of two workers
    for client in clients:
        client.close()
    names = (
        'redpoll_requests_in_flight{model="price"}',
        'redpoll_requests_waiting{model="price"}',
        'redpoll_reading_bytes{process="gateway"}',
    )
    until(lambda: [shop.metric(name) for name in names] == [0, 0, 0])
    (shop.folder / "go").touch()
    until(shop.ready, 30)
    (shop.folder / "go").unlink()


def test_the_page_is_whole_without_script_and_its_table_is_a_file(shop):
    """HTML, CSV, and the first event of the live page."""
    status, headers, raw = shop.ask("control", "GET", "/system", accept="text/html")
    text = raw.decode()
    assert status == 200 and headers["content-type"].startswith("text/html")
    for word in ("control and console", "server.limits.in_flight", "Room on disk", "aria-current"):
        assert word in text
    csv = shop.ask("control", "GET", "/system.csv")[2].decode()
    assert csv.splitlines()[0].startswith("name,kind,state") and "workers price/v1" in csv
    assert first_event(shop, "/system.live")["parts"].keys() >= {"say", "processes", "bounds"}
    assert shop.ask("control", "GET", "/system?x=1", accept="text/html")[0] == 400


def first_event(shop: Shop, path: str) -> Any:
    host, _, port = shop.said["control"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode())
        raw = b""
        while b"\n\n" not in raw.partition(b"data: ")[2]:
            more = client.recv(65536)
            assert more, raw
            raw += more
    data = raw.partition(b"data: ")[2].partition(b"\n\n")[0]
    return json.loads(data)


def test_many_readers_do_not_disturb_the_looking(shop):
    """Twenty pages at once all answer."""
    codes: list[int] = []
    readers = [
        threading.Thread(target=lambda: codes.append(shop.ask("control", "GET", "/system")[0]))
        for _ in range(20)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert codes == [200] * 20
