"""``[models.<name>.rollout]``: from tables to :class:`redpoll.catalog.Plan`.

Also what ``rollout start`` overrides is read here, so both know the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from redpoll.catalog import DEFAULT_GATES, Gate, Plan, Step
from redpoll.config.keys import LATER_KINDS, LATER_METRICS, LATER_ON_FAIL, LATER_STRATEGIES
from redpoll.config.problems import ConfigError, Node, Report, Wrong, not_built, show
from redpoll.config.scan import Spots
from redpoll.config.values import choice, duration, integer, number, weight

SECTION = "models.*.rollout"
_METRICS = ("error_rate", "latency")
_DEFAULTS = {gate.metric: gate for gate in DEFAULT_GATES}
_NO_PAUSE: float | None = 0.0
_SLACK = 1e-9  # .3 + .7 may be a hair above 1 in floating point


def read_plan(node: Node, base: Plan) -> Plan:
    """The plan of a table; what it leaves out is as in ``base``."""
    most = node.get("max_weight", weight, base.max_weight)
    steps = _steps(node, most) if node.has("steps") else _fit(base.steps, most)
    gates = _gates(node) if node.has("gates") else base.gates
    plan = Plan(
        strategy=node.get("strategy", choice("canary", later=LATER_STRATEGIES), base.strategy),
        alpha=node.get("alpha", _alpha, base.alpha),
        steps=steps or base.steps,
        advance_on=node.get("advance_on", choice("not_fail", "pass"), base.advance_on),
        min_requests=node.get("min_requests", integer(1, 1_000_000_000), base.min_requests),
        max_weight=most,
        on_fail=node.get("on_fail", choice("rollback", "pause", later=LATER_ON_FAIL), base.on_fail),
        keep_warm_s=node.get("keep_warm", duration, base.keep_warm_s),
        rollback_window_s=node.get("rollback_window", duration, base.rollback_window_s),
        gates=gates or base.gates,
    )
    _check_pass(node, plan)
    return plan


def plan_from(table: Mapping[str, object], base: Plan) -> Plan:
    """The plan that an API call or a command line gives, over the model's own.

    Raises :class:`~redpoll.config.problems.ConfigError` with everything that is wrong with it.
    """
    report = Report("plan", Spots())
    plan = read_plan(Node(report, dict(table), (), SECTION), base)
    if report.problems:
        raise ConfigError(problem._replace(line=0) for problem in report.problems)
    return plan


def _fit(steps: tuple[Step, ...], most: float) -> tuple[Step, ...]:
    """The default steps under a smaller ``max_weight``: what lies below it, then it."""
    if all(step.weight <= most for step in steps):
        return steps
    below = tuple(step for step in steps if step.weight < most)
    return (*below, replace(steps[-1], weight=most))


def _alpha(value: object) -> float:
    amount = number(value)
    if not 0 < amount < 1:
        raise Wrong(
            f"{show(value)} is out of bounds; it is a chance between 0 and 1, by habit 0.05"
        )
    return amount


def _share(value: object) -> float | None:
    amount = number(value)
    if not 0 < amount <= 1:
        raise Wrong(f"{show(value)} is out of bounds; it is a part of alpha, above 0 and at most 1")
    return amount


def _pause(value: object) -> float | None:
    return None if value == "manual" else duration(value)


def _steps(node: Node, most: float) -> tuple[Step, ...]:
    if node.table["steps"] == "auto":
        node.wrong("steps", f"{not_built(chr(34) + 'auto' + chr(34))}; write the weights")
        return ()
    steps: list[Step] = []
    highest = 0.0
    elements = node.array("steps")
    if not elements and node.table["steps"] == []:
        node.wrong("steps", 'there is no step; write [{weight = "1%", pause = "10m"}, …]')
    for index, element in enumerate(elements):
        step = Node(node.report, element, (*node.path, "steps", index), f"{SECTION}.steps[]")
        if isinstance(element, dict) and not step.has("weight"):
            step.wrong("weight", 'a step needs a weight: {weight = "10%"}')
        share = step.get("weight", weight, 0.0)
        if share >= 1:
            step.wrong("weight", "after the last step comes promotion to 100 %; leave this one out")
        elif share > most:
            step.wrong("weight", f"{share:.6g} is above max_weight, which is {most:.6g}")
        elif 0 < share <= highest:
            step.wrong(
                "weight", f"weights must grow, and {share * 100:.6g}% follows {highest * 100:.6g}%"
            )
        highest = max(highest, share)
        steps.append(Step(weight=share, pause_s=step.get("pause", _pause, _NO_PAUSE)))
    return tuple(steps)


def _gates(node: Node) -> tuple[Gate, ...]:
    gates: list[Gate] = []
    elements = node.array("gates")
    if not elements and node.table["gates"] == []:
        node.wrong("gates", "there is no gate; leave `gates` out for the default ones")
    for index, element in enumerate(elements):
        gate = Node(node.report, element, (*node.path, "gates", index), f"{SECTION}.gates[]")
        read = _gate(gate)
        if read is None:
            continue
        if any(other.metric == read.metric for other in gates):
            gate.wrong("metric", f'a gate on "{read.metric}" stands above already')
        gates.append(read)
    return _shares(node, tuple(gates))


def _gate(node: Node) -> Gate | None:
    if not node.has("metric"):
        node.wrong("metric", 'a gate needs a metric: "error_rate" or "latency"')
    metric = node.get("metric", _metric, "")
    kind = node.get("kind", choice("guardrail", later=LATER_KINDS), "guardrail")
    share = node.get("alpha_share", _share, None)
    margin = node.get("margin", _margin, None)
    ratio = node.get("margin_ratio", _ratio, None)
    if not metric:
        return None
    if metric == "latency" and node.has("margin"):
        node.wrong("margin", "latency knows only margin_ratio: 1.2 allows 20 % slower")
        margin = None
    elif node.has("margin") and node.has("margin_ratio"):
        node.wrong("margin_ratio", "margin stands here too; a gate has one of them")
    if margin is None and ratio is None:
        margin, ratio = _DEFAULTS[metric].margin, _DEFAULTS[metric].margin_ratio
    return Gate(metric=metric, kind=kind, margin=margin, margin_ratio=ratio, alpha_share=share)


def _metric(value: object) -> str:
    if isinstance(value, str) and value.startswith(tuple(LATER_METRICS)):
        raise Wrong(f'{not_built(show(value))}; today it can be "error_rate", "latency"')
    return choice(*_METRICS)(value)


def _margin(value: object) -> float | None:
    amount = number(value)
    if not 0 <= amount < 1:
        raise Wrong(f"{show(value)} is out of bounds; 0.002 allows .2 points more errors")
    return amount


def _ratio(value: object) -> float | None:
    amount = number(value)
    if not 1 <= amount <= 1000:
        hint = f"; for {amount:.0%} more write {1 + amount:g}" if 0 < amount < 1 else ""
        raise Wrong(f"{show(value)} is out of bounds; 1.2 allows 20 % more{hint}")
    return amount


def _shares(node: Node, gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    """Gates with no share take equal parts of what the others leave of alpha."""
    given = sum(gate.alpha_share or 0.0 for gate in gates)
    open_gates = sum(gate.alpha_share is None for gate in gates)
    if given > 1 + _SLACK:
        node.wrong(
            "gates", f"the alpha_share of all gates adds up to {given:.6g}; at most 1 is there"
        )
        return gates
    if not open_gates:
        return gates
    rest = (1 - given) / open_gates
    if rest <= _SLACK:
        node.wrong("gates", "the gates with an alpha_share leave nothing of alpha for the others")
        return gates
    return tuple(
        replace(gate, alpha_share=rest) if gate.alpha_share is None else gate for gate in gates
    )


def _check_pass(node: Node, plan: Plan) -> None:
    if plan.advance_on != "pass":
        return
    for gate in plan.gates:
        if not (gate.margin or 0) > 0 and not (gate.margin_ratio or 1) > 1:
            node.wrong(
                "advance_on",
                f'"pass" needs a margin above 0 on every gate, and {gate.metric} has none: '
                "that two rates are equal can never be proven",
            )
