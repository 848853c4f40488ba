"""The demo from its first second to its last."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redpoll.client import Client
from redpoll.client.transport import Transport
from redpoll.demo import acts, adult, models
from redpoll.demo.narrator import Narrator, percent
from redpoll.demo.server import DemoServer
from redpoll.demo.traffic import USERS, Traffic
from redpoll.errors import RedpollError

REQUESTS_PER_SECOND = 120.0
UTILISATION = (
    0.5  # of one worker; beyond that, requests wait for each other and latency says little
)
CALIBRATION_REQUESTS = 30
WARM_UP_REQUESTS = 520  # a latency reference wants 500


@dataclass(frozen=True, slots=True)
class Options:
    """How to play it."""

    act: str = "all"  # errors | latency | all
    fast: bool = False
    keep_serving: bool = False
    folder: Path | None = None
    requests_per_second: float = REQUESTS_PER_SECOND
    program: str = "redpoll"  # as whoever watches would type it


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, as ``redpoll demo --json`` prints it."""

    ok: bool
    folder: str
    data_dir: str
    seconds: float
    requests: int
    outcomes: int
    acts: tuple[acts.Ending, ...]
    clean_exit: bool

    def document(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def run(options: Options, write: Callable[[str], None]) -> Story:
    """Play the demo, narrating to ``write``; ``RedpollError`` RP-604 where it cannot be played.

    A ``KeyboardInterrupt`` (its first argument: what it was, by default Ctrl-C) ends it in order: the
    server drains. While it only keeps serving that is the story's end, before it is raised on.
    """
    narrator = Narrator(write)
    train_file, held_out_file = adult.files()
    folder = make_folder(options.folder)
    write(f"redpoll demo: everything happens on this machine, in {folder}")
    server = None
    try:
        train, held_out = adult.read(train_file), adult.read(held_out_file)
        _train(narrator, folder, train, held_out)
        config = models.write_config(folder, min_requests=120 if options.fast else 150)
        server = DemoServer(config)
        return _serve(options, narrator, server, held_out)
    except KeyboardInterrupt as asked:
        narrator.say(f"{_signal(asked)}: ending before the end; what there is stays in {folder}.")
        raise
    finally:
        if server is not None:
            server.stop()


def _train(
    narrator: Narrator, folder: Path, train: list[adult.Row], held_out: list[adult.Row]
) -> None:
    narrator.say(
        f"Training on some of {len(train):,} people of the 1994 census: "
        "who earns more than 50,000 $ a year?"
    )
    what = {
        "v1": f"logistic regression on {models.TRAIN_ROWS:,} people",
        "v2": f"boosted trees on {models.MORE_TRAIN_ROWS:,}",
        "v3": "the same trees, after a clean-up of the training data",
    }
    for model in models.write(folder, train, held_out):
        narrator.more(
            f"{model.version}: {what[model.version]}: wrong about {percent(model.wrong)} of "
            f"{len(held_out):,} held-out people, raises for {percent(model.raises)}"
        )
    narrator.more("v4: v2 with one more feature, looked up over the network on each request")


def _serve(
    options: Options, narrator: Narrator, server: DemoServer, held_out: list[adult.Row]
) -> Story:
    server.wait_ready()
    narrator.say("redpoll serve is up: a gateway, a controller, a sealer, and v1 in a worker.")
    narrator.more(f"console: {server.control_url}/   (open it and watch)")
    client = Client(server.data_url, control_url=server.control_url)
    control = Transport(server.control_url, token=None, timeout_s=10.0)
    pace = options.requests_per_second
    traffic = Traffic(client, "income", held_out, requests_per_second=pace)
    narrator.say(
        f"Traffic: up to {pace:.0f} requests/s about held-out people from {USERS:,} users."
    )
    endings: tuple[acts.Ending, ...] = ()
    try:
        stage = acts.Stage(client, control, traffic, narrator)
        stage.warm_up("v1", WARM_UP_REQUESTS, enough_s=10.0)
        for act in programme(options.act):
            ending = stage.play(act)
            endings += (ending,)
            if not ending.as_it_must:
                break
            if ending.state == "promoted":
                stage.warm_up(act.version, 200, enough_s=5.0)
        if options.keep_serving:
            _keep_serving(narrator, server)
    finally:
        traffic.stop()
        client.close()
        control.close()
    narrator.head("The end")
    clean = server.stop()
    narrator.say(
        f"{traffic.total():,} requests answered, {traffic.outcomes_sent:,} outcomes sent; "
        + ("the server drained and ended." if clean else "the server had to be killed.")
    )
    as_they_must = len(endings) == len(programme(options.act)) and all(
        ending.as_it_must for ending in endings
    )
    _explore(narrator, server.folder, options.program)
    return Story(
        ok=as_they_must and clean,
        folder=str(server.folder),
        data_dir=str(server.data_dir),
        seconds=round(narrator.elapsed_s, 1),
        requests=traffic.total(),
        outcomes=traffic.outcomes_sent,
        acts=endings,
        clean_exit=clean,
    )


def programme(act: str) -> tuple[acts.Act, ...]:
    """The acts of a name, in order; RP-604 where there is none of it."""
    try:
        return {
            "errors": (acts.PROMOTE, acts.ERRORS),
            "latency": (acts.PROMOTE, acts.LATENCY),
            "all": (acts.PROMOTE, acts.ERRORS, acts.LATENCY),
        }[act]
    except KeyError:
        raise RedpollError("RP-604", f"no act {act!r}; there are errors, latency, all") from None


def _keep_serving(narrator: Narrator, server: DemoServer) -> None:
    narrator.say(f"Still serving, with traffic, at {server.control_url}/ until Ctrl-C.")
    try:
        while server.running:
            time.sleep(0.5)
    except KeyboardInterrupt as asked:
        narrator.say(f"{_signal(asked)}: ending.")


def _signal(asked: KeyboardInterrupt) -> str:
    return str(asked.args[0]) if asked.args else "Ctrl-C"


def _explore(narrator: Narrator, folder: Path, redpoll: str) -> None:
    config = shlex.quote(str(folder / "redpoll.toml"))
    narrator.say("The journal is left to explore:")
    sql = (
        "SELECT version, status, count(*) AS answers, "
        "round(quantile_cont(latency_us, .95) / 1000, 1) AS p95_ms "
        "FROM answer GROUP BY ALL ORDER BY ALL"
    )
    narrator.more(f'{redpoll} log query -c {config} "{sql}"')
    narrator.more(f"{redpoll} rollout history income -c {config}")
    narrator.more(f"{redpoll} serve -c {config}   # the same again, with its console")


def make_folder(folder: Path | None) -> Path:
    """A fresh folder, or the one given, which must be empty: RP-604."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="redpoll-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise RedpollError("RP-604", f"{folder} is not empty; name a new folder, or none")
    return folder.resolve()
