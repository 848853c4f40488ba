"""TEMPORARY STAND-IN for integration while the real gateway is written: overwrite this file freely."""

import argparse, asyncio, json, socket, signal, os, msgspec
from redpoll import routes
from redpoll.facts import Answer, Request, Outcome
from redpoll.host.paths import DataDir
from redpoll.host import lifeline
from redpoll.journal.files import GroupSync, Journal
from redpoll.ids import IdMaker
from redpoll.clock import SystemClock
from redpoll.rollout import assign
from redpoll.tensors import rows as R, columns as C
import time


async def main():
    p = argparse.ArgumentParser()
    p.add_argument("--data-dir")
    p.add_argument("--fd", type=int)
    p.add_argument("--lifeline", type=int)
    a, _ = p.parse_known_args()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    if a.lifeline is not None:
        lifeline.watch(loop, a.lifeline, stop.set)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    data = DataDir(a.data_dir)
    w = Journal(data.root).open("gateway")
    GroupSync(w).start(loop)
    w.beat()
    w.flush()
    ids = IdMaker()
    st = {"t": routes.Table(), "m": 0}

    async def beat():
        while True:
            try:
                m = os.stat(data.routes).st_mtime_ns
                if m != st["m"]:
                    st["m"] = m
                    st["t"] = routes.decode(data.routes.read_bytes())
            except FileNotFoundError:
                pass
            w.beat()
            w.flush()
            await asyncio.sleep(0.05)

    loop.create_task(beat())

    async def ask(target, model, body, pid):
        addr = target.addresses[0]
        r, wr = await asyncio.open_unix_connection(addr[5:])
        wr.write(
            f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: x\r\nredpoll-prediction-id: {pid}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        s, h, b = await read(r)
        wr.close()
        return int(s.split()[1]), b

    async def read(r):
        head = (await r.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
        h = {k.lower(): v.strip() for k, _, v in (l.partition(":") for l in head[1:] if l)}
        b = await r.readexactly(int(h.get("content-length", 0)))
        return head[0], h, b

    async def serve(r, wr):
        try:
            while True:
                first, h, b = await read(r)
                m, path, _ = first.split()
                s, hs, out = await handle(m, path, h, b)
                wr.write(
                    f"HTTP/1.1 {s} X\r\ncontent-type: application/json\r\n{hs}content-length: {len(out)}\r\n\r\n".encode()
                    + out
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            wr.close()

    async def handle(m, path, h, b):
        t = st["t"]
        if path.startswith("/v2/health") or path == "/readyz":
            for rt in t.routes.values():
                if rt.live:
                    try:
                        _, wr = await asyncio.open_unix_connection(
                            rt.targets[rt.live].addresses[0][5:]
                        )
                        wr.close()
                    except OSError:
                        return 503, "", b"{}"
            return (200 if t.routes else 503), "", b"{}"
        if path == "/v1/outcomes":
            n = 0
            for line in b.splitlines():
                o = json.loads(line)
                v = o.get("value", True)
                w.append(
                    "income",
                    Outcome(
                        o.get("outcome_id", str(n)),
                        o.get("prediction_id"),
                        None,
                        0,
                        o["name"],
                        float(v) if not isinstance(v, str) else None,
                        v if isinstance(v, str) else None,
                        time.time_ns() // 1000,
                    ),
                )
                n += 1
            w.flush()
            return 202, "", json.dumps({"accepted": n, "rejected": 0, "errors": []}).encode()
        name = path.split("/")[2]
        rt = t.routes[name]
        start = time.time_ns() // 1000
        pid = ids.prediction_id(rt.number, start)
        unit = (
            h.get((rt.model.unit_from or "header:redpoll-unit").split(":")[1])
            if rt.model.unit != "request"
            else pid
        )
        arm, ver = "none", rt.live
        if rt.candidate and 0 < rt.weight and unit:
            arm = assign.arm(rt.salt, unit, rt.weight)
            ver = rt.candidate if arm == "candidate" else rt.live
        draws = json.dumps(
            [
                {"purpose": "arm", "choice": arm, "probability": rt.weight},
                {"purpose": "route", "choice": ver, "probability": 1.0},
            ]
        )
        w.append(
            name,
            Request(
                pid,
                pid,
                1,
                unit,
                arm=arm,
                arm_probability=rt.weight if arm != "none" else 0.0,
                rollout_id=rt.rollout_id if arm != "none" else None,
                route_generation=rt.generation,
                draws=draws,
            ),
            b,
            2,
        )
        w.flush()
        rows = R.read(b, rt.model.inputs)
        cols = R.to_columns(rows.rows, rt.model, frozenset())
        body = json.dumps(
            {"id": pid, "inputs": R.to_tensors(cols, rt.model, nullable=True)}
        ).encode()
        try:
            s, ob = await asyncio.wait_for(ask(rt.targets[ver], name, body, pid), 5)
            status = "ok" if s < 300 else "error"
        except Exception as e:
            s, ob, status = 502, json.dumps({"error": repr(e)}).encode(), "error"
        w.append(
            name,
            Answer(pid, ver, status=status, latency_us=time.time_ns() // 1000 - start),
            ob,
            3 if status == "ok" else 4,
        )
        w.flush()
        hs = f"redpoll-prediction-id: {pid}\r\nredpoll-version: {ver}\r\nredpoll-decided-by: model\r\n"
        if status != "ok":
            return s, hs, ob
        outs = C.read_answer(ob)
        res = R.to_rows(R.from_tensors(outs, len(rows.rows), rt.model.output), len(rows.rows))
        return 200, hs, json.dumps({"prediction_id": pid, "version": ver, "rows": res}).encode()

    srv = await asyncio.start_server(serve, sock=socket.socket(fileno=a.fd))
    await stop.wait()
    w.close()


asyncio.run(main())
