"""``redpoll rollout …``: start, see, and steer a rollout. MODEL stands for its newest rollout."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from redpoll.cli.errors import BY_STATE
from redpoll.cli.face import Face, actor, with_face, with_reason
from redpoll.cli.groups import Commands, Duration, OneOf
from redpoll.cli.output import seconds, share, table
from redpoll.cli.remote import Remote
from redpoll.cli.rollout_text import line, timeline, whole
from redpoll.cli.watch import until_done
from redpoll.client import ClientError

STRATEGIES = ("canary", "shadow", "blue_green")


@click.group(cls=Commands, commands_at={"verify": "redpoll.cli.verify:verify"})
def rollout() -> None:
    """Move a model to a new version, carefully."""


@rollout.command()
@click.argument("model")
@click.argument("version")
@click.option("--reason", help="Why; kept with the decision.")
@click.option("--strategy", type=OneOf(STRATEGIES), help="Default: what the model's plan says.")
@click.option("--plan", metavar="JSON|@FILE", help="Keys of the plan to replace for this rollout.")
@click.option("--generation", type=int, metavar="N", help="Do nothing if the route changed.")
@click.option("--wait", is_flag=True, help="Watch it to its end.")
@click.option("--timeout", type=Duration(), help="How long to wait at most (then exit code 4).")
@with_face
def start(
    face: Face,
    model: str,
    version: str,
    reason: str | None,
    strategy: str | None,
    plan: str | None,
    generation: int | None,
    wait: bool,
    timeout: float | None,
) -> int:
    """Start moving MODEL to VERSION, beside the version that is live."""
    body = {
        "version": version,
        "reason": reason or f"redpoll rollout start {model} {version}",
        "strategy": strategy,
        "plan": plan_of(plan),
        "actor": actor(),
    }
    server = face.server()
    begun = server.start_rollout(model, body, generation)
    if wait:
        face.out.say(line(begun))
        return until_done(face.out, server, begun["id"], timeout, stop_at_pause=True)
    face.out.result(begun, line(begun))
    face.out.suggest(f"redpoll rollout watch {begun['id']} --until done")
    return 0


@rollout.command()
@click.argument("name", metavar="MODEL|ROLLOUT")
@click.option("--exit-code", is_flag=True, help="End with the code that its state stands for.")
@with_face
def show(face: Face, name: str, exit_code: bool) -> int:
    """Show where a rollout stands and why."""
    found = face.reader().rollout(name)
    face.out.result(found, whole(found))
    if found["actions"]:
        face.out.say(f"possible now: {', '.join(found['actions'])}")
    _suggest_for(face, found)
    return BY_STATE[found["state"]] if exit_code else 0


@rollout.command()
@click.argument("name", metavar="MODEL|ROLLOUT")
@click.option("--until", type=OneOf(("done",)), help="End when it ended or waits for a person.")
@click.option("--timeout", type=Duration(), help="How long at most (then exit code 4).")
@with_face
def watch(face: Face, name: str, until: str | None, timeout: float | None) -> int:
    """Follow a rollout, Decision by Decision.

    The exit code says how it ended: 0 promoted, 3 rolled back, 1 aborted or superseded, 5 waits
    for a person (with --until done), 4 the time is over.
    """
    server = face.server()
    rollout_id = server.rollout(name)["id"]
    return until_done(face.out, server, rollout_id, timeout, stop_at_pause=until == "done")


@rollout.command()
@click.argument("name", metavar="MODEL|ROLLOUT")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), default=100, show_default=True,
    metavar="N", help="How many of the newest Decisions.",
)  # fmt: skip
@with_face
def history(face: Face, name: str, limit: int) -> None:
    """List what was decided, oldest first: when, by whom, why."""
    decisions = face.reader().decisions(name, limit)
    if not decisions:
        face.out.say(f"nothing was decided about {name} yet")
    face.out.result({"decisions": decisions[::-1]}, timeline(decisions))


@rollout.command("plan")
@click.argument("model")
@click.option("--plan", metavar="JSON|@FILE", help="Keys of the plan to replace.")
@with_face
def show_plan(face: Face, model: str, plan: str | None) -> None:
    """Show the plan by which MODEL would move to a new version."""
    given = plan_of(plan)
    reader = face.reader()
    said: dict[str, Any] = reader.route(model)["model"]["rollout"]
    if given is not None:
        said = _as_started(said, given)
    rate = float(reader.model(model)["requests_per_second"])
    face.out.result({"model": model, "plan": said}, _plan_text(said, rate))
    face.out.suggest(f"redpoll rollout start {model} VERSION --reason …")


def _act(name: str, what: str) -> None:
    @rollout.command(name, help=what)
    @click.argument("target", metavar="MODEL|ROLLOUT")
    @with_reason
    @with_face
    def act(face: Face, target: str, reason: str, generation: int | None) -> None:
        _do(face, target, name, {"reason": reason}, generation)


for _name, _what in {
    "pause": "Hold a rollout where it is; its gates stay on watch.",
    "resume": "Let a paused rollout go on.",
    "abort": "End a rollout: the stable serves everything.",
    "retry": "Try a version once more that was rolled back or aborted, with fresh evidence.",
}.items():
    _act(_name, _what)


@rollout.command()
@click.argument("target", metavar="MODEL|ROLLOUT")
@click.option("--full", is_flag=True, help="All the way to 100%, not only to the next step.")
@with_reason
@with_face
def promote(face: Face, target: str, full: bool, reason: str, generation: int | None) -> None:
    """Go on to the plan's next step, now.

    A paused rollout is resumed by it, and the decision says what it was held for.
    """
    _do(face, target, "promote", {"reason": reason, "full": full}, generation)


def _do(face: Face, target: str, name: str, body: dict[str, Any], generation: int | None) -> None:
    server = face.server()
    done = server.act(target, name, body | {"actor": actor()}, generation)
    face.out.result(done, line(done | _decided(server, done["id"])))
    _suggest_for(face, done)


def _decided(server: Remote, rollout_id: str) -> dict[str, Any]:
    """The newest Decision's sentence, which says more than where the rollout is now.

    Such as that a promotion ended a pause. What was done is done: if this cannot be read, it is left.
    """
    with contextlib.suppress(ClientError):
        for decision in server.decisions(rollout_id, 1):
            return {"sentence": decision["sentence"]}
    return {}


def _suggest_for(face: Face, found: dict[str, Any]) -> None:
    name = found["id"]
    following = {
        "running": f"redpoll rollout watch {name} --until done",
        "pending": f"redpoll rollout watch {name} --until done",
        "paused": f"redpoll rollout resume {name} --reason …",
        "promoted": f"redpoll rollback {found['model']} --reason …   # while it can be undone",
        "rolled_back": f"redpoll explain {name}",
        "aborted": f"redpoll rollout retry {name} --reason …",
    }.get(found["state"])
    if following:
        face.out.suggest(following)


def plan_of(given: str | None) -> dict[str, Any] | None:
    """The object of ``--plan``, from the line itself or a file."""
    if given is None:
        return None
    text = Path(given[1:]).read_text() if given.startswith("@") else given
    try:
        plan = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--plan is no JSON: {error}") from None
    if not isinstance(plan, dict):
        raise click.UsageError('--plan must be an object such as {"min_requests": 500}')
    return plan


def _as_started(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The plan as a start would freeze it, or the very error that the start would give."""
    import msgspec

    from redpoll.catalog import Plan
    from redpoll.config import plan_from
    from redpoll.rollout.plan import check

    plan = plan_from(given, msgspec.convert(base, Plan))
    check(plan)
    return dict(msgspec.to_builtins(plan))


def _plan_text(plan: dict[str, Any], rate: float) -> str:
    rows = []
    for number, step in enumerate(plan["steps"], 1):
        weight = min(step["weight"], plan["max_weight"])
        pause = step.get("pause_s", 0.0)
        least = plan["min_requests"] / (weight * rate) if rate and weight else None
        rows.append(
            (
                number,
                share(weight),
                "manual" if pause is None else seconds(pause),
                f"{plan['min_requests']:,}",
                "-" if least is None else seconds(max(least, pause or 0.0)),
            )
        )
    steps = table(("STEP", "WEIGHT", "PAUSE", "REQUESTS", "ABOUT"), rows, right=(0, 1, 2, 3, 4))
    gates = []
    for gate in plan["gates"]:
        margin = gate.get("margin")
        ratio = gate.get("margin_ratio")
        bound = f"x {ratio:g}" if ratio is not None else share(margin or 0.0)
        stake = gate.get("alpha_share")
        gates.append(
            (gate["metric"], gate["kind"], bound, "equal" if stake is None else share(stake))
        )
    table_of_gates = table(("GATE", "KIND", "MARGIN", "OF ALPHA"), gates)
    return (
        f"{plan['strategy']}; alpha {plan['alpha']:g}: the chance of a false rollback, over all "
        f"gates, for ever\nadvances on {plan['advance_on'].replace('_', ' ')}; on a failed gate: "
        f"{plan['on_fail']}\n\n{steps}\n\n{table_of_gates}"
    )
