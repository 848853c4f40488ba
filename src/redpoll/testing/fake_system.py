"""*System* of the night that :mod:`redpoll.testing.fake_night` tells."""

from __future__ import annotations

from redpoll.testing import fake_night as night
from redpoll.views import BoundView, CountView, LineView, ProcessView, SystemView

DAY_S = 86_400.0
MIB = 1 << 20
GENERATION = 212


def _own(name: str, kind: str, state: str, memory_mib: int, cpu: float) -> ProcessView:
    return ProcessView(
        name=name,
        kind=kind,
        state=state,
        well="pass",
        up_s=18 * DAY_S,
        restarts=0,
        generation=GENERATION if kind in ("gateway", "control") else None,
        memory_bytes=memory_mib * MIB,
        cpu_ratio=cpu,
        behind_s={"control": 0.3, "sealer": 0.0}.get(kind),
    )


def _workers(name: str, number: int, up_s: float, memory_mib: int, cpu: float) -> ProcessView:
    return ProcessView(
        name=f"{'worker' if number == 1 else 'workers'} {name}",
        kind="worker",
        state="ready",
        well="pass",
        processes=number,
        up_s=up_s,
        restarts=0,
        memory_bytes=memory_mib * MIB,
        cpu_ratio=cpu,
    )


def _line(name: str, unit: str, values: list[float]) -> LineView:
    ordered = sorted(values)
    return LineView(
        name=name,
        unit=unit,
        now=values[-1],
        values=tuple(values),
        usual=(ordered[len(values) // 10], ordered[-1 - len(values) // 10]),
        start_us=night.NOW - 3_600_000_000,
        end_us=night.NOW,
    )


def _processes() -> tuple[ProcessView, ...]:
    return (
        _own("gateway", "gateway", "serving", 184, 0.31),
        _own("control and console", "control", "leading", 126, 0.04),
        _own("sealer", "sealer", "sealing", 398, 0.06),
        _own("supervisor", "supervisor", "watching", 41, 0.0),
        _workers("churn/v1", 2, 6 * DAY_S, 412, 0.22),
        _workers("churn/v2", 2, 26 * 60.0, 420, 0.03),
        _workers("fraud/6", 4, 18 * DAY_S, 3174, 0.61),
        ProcessView(
            name="workers fraud/7",
            kind="worker",
            state="kept warm until 04:04",
            well="wait",
            processes=2,
            up_s=6 * 60.0,
            restarts=0,
            memory_bytes=1331 * MIB,
            cpu_ratio=0.0,
        ),
        _workers("defects/2.3", 1, 9 * DAY_S, 5530, 0.38),
    )


def _bounds() -> tuple[BoundView, ...]:
    return (
        BoundView(
            name="requests under way",
            key="server.limits.in_flight",
            now=14,
            most=212,
            limit=1024,
        ),
        BoundView(name="requests waiting", key="server.limits.queue", now=0, most=31, limit=1024),
        BoundView(name="connections", key="server.limits.connections", now=88, most=97, limit=4096),
        BoundView(
            name="bytes being read",
            key="server.limits.reading_bytes",
            now=0,
            most=9 * MIB,
            limit=256 * MIB,
            unit="bytes",
        ),
    )


def _lines() -> tuple[LineView, ...]:
    wave = [((at * 7919) % 13) / 13 for at in range(60)]
    return (
        _line("Facts written", "/s", [700 + 90 * one for one in wave]),
        _line("Behind, control", "s", [0.2 + 0.2 * one for one in wave]),
        _line("Behind, sealer", "s", [0.4 * one for one in wave]),
        _line("Room on disk", "bytes", [(213 << 30) - at * (1 << 24) for at in range(60)]),
    )


def system() -> SystemView:
    """Nothing is lost."""
    return SystemView(
        sentence="redpoll has lost nothing, and everything runs.",
        severity="calm",
        as_of_us=night.NOW - 300_000,
        age_s=0.3,
        notes=(
            "0 of 64,103,220 facts are lost; the evidence is 0.3 s old.",
            "The disk lasts 61 days at this rate.",
        ),
        version="0.9.0",
        facts_written=64_103_220,
        requests=31_770_544,
        refused=(
            CountView(name="fraud", reason="overload", count=56),
            CountView(name="_", reason="unknown_model", count=12),
        ),
        outcomes_rejected=3,
        left_out=(CountView(name="fraud request", reason="size", count=12),),
        behind_s={"control": 0.3, "sealer": 0.0},
        free_bytes=212 << 30,
        bytes_a_day=3.5 * (1 << 30),
        live_files=3,
        live_bytes=41 * MIB,
        processes=_processes(),
        bounds=_bounds(),
        lines=_lines(),
    )


class FakeSystem:
    """``view()`` answers ``shown``, which a test may replace."""

    def __init__(self) -> None:
        self.shown = system()

    def view(self) -> SystemView:
        """As it was told."""
        return self.shown
