"""The table of processes on *System*: redpoll's own, then the workers of each version. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from redpoll.clock import iso
from redpoll.control import render
from redpoll.control.engine import Engine
from redpoll.host.counters import Saved
from redpoll.views import ProcessView

MEMORY = "redpoll_process_resident_memory_bytes"
CPU = "redpoll_process_cpu_seconds_total"
GENERATION = "redpoll_route_generation"
OWN = (
    ("gateway", "gateway", "serving"),
    ("control", "control and console", "leading"),
    ("sealer", "sealer", "sealing"),
    ("supervise", "supervisor", "watching"),
)
DOWN = "does not run"
_WORDS = {
    "ready": ("pass", "ready"),
    "starting": ("wait", "loading"),
    "backoff": ("warn", "crashed and is started again"),
    "stopped": ("wait", "stopped"),
}


class Look(NamedTuple):
    """What was seen of processes."""

    now_us: int
    pids: Mapping[str, int]  # of those that run
    supervised: bool  # then all of redpoll's own should run
    restarts: Mapping[str, int]
    began_s: Mapping[int, float]  # pid -> since when, s since the epoch
    known: Mapping[str, Saved]  # what they said last
    workers: Sequence[Mapping[str, Any]]  # of workers.json
    cpu_ratio: Callable[[str], float | None]


def processes(engine: Engine, look: Look) -> list[ProcessView]:
    """All of them, redpoll's own first."""
    gateways = sorted(n for n in look.pids.keys() | look.known.keys() if n.startswith("gateway"))
    found = []
    for process, name, state in OWN:
        names = gateways if process == "gateway" and gateways else [process]
        for one in names:
            if look.supervised or one in look.pids:
                shown = name if one == process else f"{name} {one.removeprefix(process).strip('-')}"
                found.append(_own(engine, look, one, shown, state))
    return [*found, *_workers(engine, look)]


def _own(engine: Engine, look: Look, process: str, name: str, state: str) -> ProcessView:
    wanted = engine.publisher.current.generation
    pid = look.pids.get(process)
    said = look.known.get(process)
    values = said.values if said is not None and said.pid == pid else {}
    generation = values.get((GENERATION, (process,)))
    memory = values.get((MEMORY, (process,)))
    kind = process.split("-")[0].replace("supervise", "supervisor")
    well, detail = "pass" if pid else "fail", ""
    if pid and generation is not None and generation < wanted:
        well, detail = "wait", f"takes over route generation {wanted}"
    behind = {
        "control": render.age_s(engine, look.now_us),
        "sealer": values.get(("redpoll_journal_lag_seconds", ("sealer",))),
    }
    return ProcessView(
        name=name,
        kind=kind,
        state=state if pid else DOWN,
        well=well,
        detail=detail,
        up_s=_up(look, [pid] if pid else []),
        restarts=look.restarts.get(process),
        generation=wanted if kind == "control" else None if generation is None else int(generation),
        memory_bytes=None if memory is None else int(memory),
        cpu_ratio=look.cpu_ratio(process) if pid else None,
        behind_s=behind.get(kind) if pid else None,
    )


def _up(look: Look, pids: Sequence[int]) -> float | None:
    """How long the youngest of them runs."""
    began = [look.began_s[pid] for pid in pids if pid in look.began_s]
    return max(0.0, look.now_us / 1e6 - max(began)) if began else None


def _workers(engine: Engine, look: Look) -> list[ProcessView]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for worker in look.workers:
        key = (str(worker.get("model")), str(worker.get("version")))
        groups.setdefault(key, []).append(worker)
    said = look.known.get("supervise")
    values = said.values if said is not None and said.alive else {}
    return [
        _version(engine, look, model, version, mine, values)
        for (model, version), mine in sorted(groups.items())
    ]


def _version(
    engine: Engine,
    look: Look,
    model: str,
    version: str,
    mine: Sequence[Mapping[str, Any]],
    values: Mapping[tuple[str, tuple[str, ...]], float],
) -> ProcessView:
    """The workers of one version as one line: its state is that of the worst."""
    order = ("backoff", "starting", "stopped", "ready")
    worst = min(mine, key=lambda w: order.index(w["state"]) if w.get("state") in order else 0)
    well, state = _WORDS.get(str(worst.get("state")), ("warn", str(worst.get("state"))))
    found = engine.state(model)
    active = found.active
    serving = {found.live, *((active.version, active.stable) if active else ())}
    until_us = found.warm.get(version, 0)
    if well == "pass" and version not in serving and until_us > look.now_us:
        well, state = "wait", f"kept warm until {iso(until_us)[11:16]}"
    labels = [(f"worker:{model}/{version}/{w.get('index', 0)}",) for w in mine]
    memory = [values[MEMORY, one] for one in labels if (MEMORY, one) in values]
    cpu = [ratio for (one,) in labels if (ratio := look.cpu_ratio(one)) is not None]
    return ProcessView(
        name=f"{'worker' if len(mine) == 1 else 'workers'} {model}/{version}",
        kind="worker",
        state=state,
        well=well,
        processes=len(mine),
        detail=str(worst.get("detail") or "") if well == "warn" else "",
        up_s=_up(look, [int(w["pid"]) for w in mine if w.get("pid")]),
        restarts=sum(int(w.get("restarts", 0)) for w in mine),
        memory_bytes=int(sum(memory)) if memory else None,
        cpu_ratio=sum(cpu) if cpu else None,
    )
