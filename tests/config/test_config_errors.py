"""Every error at once, each with its line, its key, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from redpoll.config import ConfigError, Problem, load, parse

MODEL = '[models.churn.versions.v1]\nbackend = "http://h/v2/models/c"\n'


def problems(text: str) -> list[Problem]:
    """What is wrong with a text."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "/d/redpoll.toml")
    return list(caught.value.problems)


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def test_all_errors_are_told_at_once_in_the_order_of_lines() -> None:
    """One run of apply shows everything that is to be mended."""
    found = problems(
        "[server]\n"
        'data = "127.0.0.1"\n'
        "drian = 3\n"
        "[models.churn]\n"
        'unit = "usr"\n'
        "[models.churn.versions.v1]\n"
        'backend = "sklaern:m.pkl"\n'
        "workers = 0\n"
    )
    assert [(problem.line, problem.key) for problem in found] == [
        (2, "server.data"),
        (3, "server.drian"),
        (5, "models.churn.unit"),
        (7, "models.churn.versions.v1.backend"),
        (8, "models.churn.versions.v1.workers"),
    ]
    assert all(problem.file == "/d/redpoll.toml" for problem in found)


def test_the_message_lists_them_with_file_and_line() -> None:
    """What a terminal shows can be clicked on."""
    with pytest.raises(ConfigError) as caught:
        parse(MODEL + "workerz = 1\nbad = 1\n", "/d/redpoll.toml")
    text = str(caught.value)
    assert text.startswith("2 errors in the configuration; nothing of it was applied.\n")
    assert "/d/redpoll.toml:3: models.churn.versions.v1.workerz: " in text
    assert "Did you mean 'workers'?" in text
    assert caught.value.code == "RP-001"
    assert caught.value.status == 400


UNKNOWN = [
    ("unitt = 1\n" + MODEL, 1, "unitt", "no such setting at the top of the file"),
    (MODEL + "[models.churn]\nunti_from = 'x'\n", 4, "models.churn.unti_from", "'unit_from'"),
    (MODEL + "[server.limits]\nque = 1\n", 4, "server.limits.que", "'queue'"),
    (MODEL + "min_requests = 1\n", 3, "models.churn.versions.v1.min_requests",
     "It belongs in models.<name>.rollout."),
    (MODEL + "[models.churn.rollout]\ngates=[{metric='latency',marginratio=1.1}]\n", 4,
     "models.churn.rollout.gates[0].marginratio", "'margin_ratio'"),
    (MODEL + "[modles.x]\n", 3, "modles", "'models'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "says"), UNKNOWN, ids=lambda v: str(v)[-30:])
def test_an_unknown_setting_is_an_error_with_a_suggestion(text, line, key, says) -> None:
    """A typing error never passes silently."""
    problem = only(text)
    assert (problem.line, problem.key) == (line, key)
    assert says in problem.message
    assert "not built" not in problem.message


LATER = [
    'include = ["m/*.toml"]', "[alerts]\nwebhook = {url_env='X'}",
    "[server]\ngateways = 1",
    '[models.churn]\nrequest_id_from = "input:a"',
    '[models.churn.automation]\nlevel = "full"',
    "[models.churn.rollout]\nmatch = 'header:x=1'", "[models.churn.rollout]\ndeadline = '7d'",
    "[models.churn.rollout]\non_deadline = 'pause'", "[models.churn.rollout]\non_fail = 'ask'",
    "[models.churn.rollout]\nask_timeout = '30m'", "[models.churn.rollout]\nsteps = 'auto'",
    "[models.churn.rollout]\nstrategy = 'shadow'", "[models.churn.rollout]\nstrategy='blue_green'",
    "[models.churn.rollout]\ngates = [{metric='latency', kind='objective'}]",
    "[models.churn.rollout]\ngates = [{metric='latency', slices=['sex']}]",
    "[models.churn.rollout]\ngates = [{metric='null_rate'}]",
    "[models.churn.rollout]\ngates = [{metric='disagreement'}]",
    "[models.churn.rollout]\ngates = [{metric='outcome:redo'}]",
    "[models.churn.rollout]\ngates = [{metric='reported:cost'}]",
]  # fmt: skip


@pytest.mark.parametrize("lines", LATER)
def test_what_comes_later_is_refused_as_not_built_yet(lines: str) -> None:
    """A name that is promised means nothing else meanwhile, and does not pass for a typing error."""
    top, _, rest = lines.partition("\n")
    text = f"{lines}\n{MODEL}[models.churn]\nlive = 'v1'\n"
    if top == "[models.churn]":
        text = f"{top}\nlive = 'v1'\n{rest}\n{MODEL}"
    problem = only(text)
    assert "is not built yet" in problem.message
    assert "Did you mean" not in problem.message


VALUES = [
    ("[server]\ndata = '127.0.0.1'", "host and port"),
    ("[server]\ndata = '127.0.0.1:70000'", "host and port"),
    ("[server]\ndata = ':8080'", "127.0.0.1:8080"),
    ("[server]\ndata = '[::g]:1'", "IPv6"),
    ("[server]\ndata = 8080", "host and port"),
    ("[server]\ndata = '0.0.0.0:8080'", "set tokens_file, or listen on \"127.0.0.1:8080\""),
    ("[server]\ncontrol = '[::]:8081'", "tokens"),
    ("[server]\ncontrol = '10.0.0.5:8081'", "tokens"),
    ("[server]\ncontrol = 'example.org:1'", "tokens"),
    ("[server]\ndata = '127.0.0.1:8081'", "also the data plane"),
    ("[server]\ndrain = 10", 'write "10s"'),
    ("[server]\ndrain = '10 minutes'", "no duration"),
    ("[server]\ndrain = '-1s'", "no duration"),
    ("[server]\ndrain = '900w'", "ten years"),
    ("[server]\nlog = {level = 'warn'}", "Did you mean 'warning'?"),
    ("[server]\nlog = 'info'", "a table must be"),
    ("[server]\nlimits = {body_bytes = '16MBit'}", "no size"),
    ("[server]\nlimits = {body_bytes = '2TB'}", "no size"),
    ("[server]\nlimits = {body_bytes = '2000GiB'}", "out of bounds"),
    ("[server]\nlimits = {reading_bytes = '8MiB'}", "less than one body"),
    ("[server]\nlimits = {connections = 0}", "from 1"),
    ("[server]\nlimits = {connections = true}", "whole number"),
    ("[server]\nlimits = {connections = 4.5}", "whole number"),
    ("[server]\nlimits = {idle = '0s'}", "more than nothing"),
    ("data_dir = 7", "in quotes"),
    ("data_dir = ''", "empty"),
    ("[models.churn]\nunit = 'user'", 'unit_from = "header:redpoll-unit"'),
    ("[models.churn]\nunit_from = 'header:x'", 'unit = "user"'),
    ("[models.churn]\nunit='user'\nunit_from = 'cookie:x'", '"header:<name>" or "input:<column>"'),
    ("[models.churn]\nunit='user'\nunit_from = 'header:a b'", '"header:<name>"'),
    ("[models.churn]\ninputs={age='int'}\nunit='user'\nunit_from='input:aeg'", "'age'"),
    ("[models.churn]\ninputs={age='int'}\ngroups={band='input:agee'}", "'age'"),
    ("[models.churn]\ngroups={band='body'}", '"header"'),
    ("[models.churn]\ngroups={Band='header'}", 'Try "band"'),
    ("[models.churn]\ninputs={age='integer'}", "Did you mean 'int'?"),
    ("[models.churn]\ninputs={'age band'='int'}", 'Try "age_band"'),
    ("[models.churn]\ninputs={age='int'}\nredact=['agee']", "Did you mean 'age'?"),
    ("[models.churn]\nredact=['age']", "declare `inputs`"),
    ("[models.churn]\ninputs={age='int'}\nredact='age'", "array of names"),
    ("[models.churn]\ninputs={age='int'}\ntensor={name='t',columns=['aeg']}", "'age'"),
    ("[models.churn]\ntensor={name='t',columns=['a','a']}", "named twice"),
    ("[models.churn]\ntensor={name='t',columns=[]}", "names no column"),
    ("[models.churn]\ntensor={name='t'}", "it is missing"),
    ("[models.churn]\noutput={name='y'}", "it is missing"),
    ("[models.churn]\noutput={name='y',type='bool'}", "none of"),
    ("[models.churn]\noutput={name='y',type='float',score='p'}", "have a score"),
    ("[models.churn]\noutput={name='y',type='category',positive=1}", "positive class"),
    ("[models.churn]\noutput={name='y',type='binary',positive=[1]}", "a string, a number"),
    ("[models.churn.outcomes.Redo]\nwindow='1h'", 'Try "redo"'),
    ("[models.churn.outcomes.redo]\nwindow='1h'\nabsent='none'", "negative"),
    ("[models.churn.rollout]\nalpha=0", "between 0 and 1"),
    ("[models.churn.rollout]\nalpha=nan", "finite"),
    ("[models.churn.rollout]\nalpha='5%'", "must be a number"),
    ("[models.churn.rollout]\nmin_requests=0", "from 1"),
    ("[models.churn.rollout]\nadvance_on='pass'", "error_rate has none"),
    ("[models.churn.rollout]\nmax_weight=1", "1 may mean 1 %"),
    ("[models.churn]\ncapture={share=10}", 'a share goes from "0%" to "100%"'),
    ("[models.churn]\ncapture={share='most'}", 'is no share; write "10%" or 0.1'),
    ("[models.churn]\ncapture={keep=90}", "has no unit"),
    ("[models.churn]\ncapture={max_disk_bytes='1KiB'}", "out of bounds"),
    ("[models.churn.rollout]\nsteps=[]", "no step"),
    ("[models.churn.rollout]\nsteps=[{weight=1}]", 'write "1%" or 0.01'),
    ("[models.churn.rollout]\nsteps=[{weight=10}]", 'write "10%" or 0.1'),
    ("[models.churn.rollout]\nsteps=[{weight=1.0}]", "may mean"),
    ("[models.churn.rollout]\nsteps=[{weight=0}]", "above 0"),
    ("[models.churn.rollout]\nsteps=[{weight=-0.1}]", "above 0"),
    ("[models.churn.rollout]\nsteps=[{weight='0%'}]", "out of bounds"),
    ("[models.churn.rollout]\nsteps=[{weight='0.1'}]", 'write "10%" or 0.1'),
    ("[models.churn.rollout]\nsteps=[{weight='120%'}]", "out of bounds"),
    ("[models.churn.rollout]\nsteps=[{weight='100%'}]", "leave this one out"),
    ("[models.churn.rollout]\nsteps=[{pause='1m'}]", "needs a weight"),
    ("[models.churn.rollout]\nsteps=['10%']", "a table must be"),
    ("[models.churn.rollout]\nsteps=[{weight='10%'},{weight='10%'}]", "weights must grow"),
    ("[models.churn.rollout]\nsteps=[{weight='10%'},{weight='5%'}]", "weights must grow"),
    ("[models.churn.rollout]\nmax_weight='5%'\nsteps=[{weight='10%'}]", "above max_weight"),
    ("[models.churn.rollout]\nsteps=[{weight='10%',pause='by hand'}]", "no duration"),
    ("[models.churn.rollout]\ngates=[]", "leave `gates` out"),
    ("[models.churn.rollout]\ngates=[{margin=0.1}]", "needs a metric"),
    ("[models.churn.rollout]\ngates=[{metric='error_rat'}]", "'error_rate'"),
    ("[models.churn.rollout]\ngates=[{metric='latency',margin=0.1}]", "knows only margin_ratio"),
    ("[models.churn.rollout]\ngates=[{metric='error_rate',margin=0.1,margin_ratio=1.1}]",
     "has one of them"),
    ("[models.churn.rollout]\ngates=[{metric='error_rate',margin=2}]", "0.002"),
    ("[models.churn.rollout]\ngates=[{metric='latency',margin_ratio=0.2}]", "write 1.2"),
    ("[models.churn.rollout]\ngates=[{metric='latency'},{metric='latency'}]", "stands above"),
    ("[models.churn.rollout]\ngates=[{metric='latency',alpha_share=0.7},"
     "{metric='error_rate',alpha_share=0.4}]", "adds up to 1.1"),
    ("[models.churn.rollout]\ngates=[{metric='latency',alpha_share=1},{metric='error_rate'}]",
     "leave nothing"),
    ("[models.churn.rollout]\ngates=[{metric='latency',alpha_share=0}]", "out of bounds"),
    ("[models.churn.rollout]\nadvance_on='pass'\ngates=[{metric='latency',margin_ratio=1.0}]",
     "latency has none"),
    ("[models.9lives.versions]\nv1='sklearn:m'", "no model name"),
    ("[models.'a b'.versions]\nv1='sklearn:m'", "no model name"),
    ("[models.b]\nlive='v1'", "is no version of this model; there are none"),
    ("[models.b]\nunit='request'", "needs a version: [models.b.versions.v1]"),
    ("[models.b]\nversions='v1'", "a table must be"),
    ("models.b = 3", "a table must be"),
    ("[models.b.versions]\n'-1'='sklearn:m'", "no version name"),
    ("[models.b.versions]\nv1=3", "a version is a backend"),
    ("[models.b.versions]\nv1='model.pkl'", 'write "sklearn:model.pkl"'),
    ("[models.b.versions]\nv1='sklern:model.pkl'", "Did you mean 'sklearn'?"),
    ("[models.b.versions]\nv1='sklearn:'", "names no file"),
    ("[models.b.versions]\nv1='python:mod'", "python:<module>:<callable>"),
    ("[models.b.versions]\nv1='python:my-mod:f'", "python:<module>:<callable>"),
    ("[models.b.versions]\nv1='http://'", "is no URL"),
    ("[models.b.versions]\nv1='http://h:99999/v2/models/m'", "is no URL"),
    ("[models.b.versions]\nv1='http://h'", "http://h/v2/models/<name>"),
    ("[models.b.versions]\nv1='http://h/v2/models/m/infer'", "leave the last part out"),
    ("[models.b.versions]\nv1='http://h/v2/models/m?x=1'", "?"),
    ("[models.b.versions]\nv1='http://u:secret@h/v2/models/m'", "secrets"),
    ("[models.b.versions.v1]\nworkers=1", "needs a backend"),
    ("[models.b.versions.v1]\nbackend='http://h/v2/models/m'\nworkers=2", "starts no worker"),
    ("[models.b.versions.v1]\nbackend='http://h/v2/models/m'\npython='p'", "starts no worker"),
    ("[models.b.versions.v1]\nbackend='python:m:load'\nmethod='predict'", "only a sklearn:"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nproviders=['X']", "only an onnx:"),
    ("[models.b.versions.v1]\nbackend='onnx:m'\nproviders='X'", "array of names"),
    ("[models.b.versions]\nv1='mlflow:'", "names no folder"),
    ("[models.b.versions]\nv1='in-process:m'", "in-process:<module>:<callable>"),
    ("[models.b.versions.v1]\nbackend='in-process:m:f'\npython='p'", "redpoll's own Python"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nbatch={wait='1ms'}", "how many rows"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nmemory='1MiB'", "16"),
    ("[models.b.versions.v1]\nbackend='http://h/v2/models/m'\nmemory='1GiB'", "starts no worker"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nbatch={rows=1}", "2 to 1024"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nbatch={rows=8,wait='1s'}", "50ms at most"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nmethod='predict_prob'", "predict_proba"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\ntimeout_ms='5s'", "whole number"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nresend=1", "true or false"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nfiles='labels.json'", "array of paths"),
    ("[models.b.versions.v1]\nbackend='sklearn:m'\nload='0s'", "more than nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "says"), VALUES, ids=[lines for lines, _ in VALUES])
def test_a_wrong_value_says_what_to_write(lines: str, says: str) -> None:
    """One error for one mistake, at its line, and never the secret itself."""
    problem = only(f"{lines}\n{MODEL}")
    assert says in problem.message
    assert 1 <= problem.line <= lines.count("\n") + 1
    assert "secret@" not in str(problem)


def test_at_most_4096_models_are_taken() -> None:
    """A model's number has twelve bits in a prediction id."""
    many = "".join(f"[models.m{n}.versions]\nv='sklearn:m'\n" for n in range(4097))
    assert "4097 models are too many" in only(many).message


@pytest.mark.parametrize("text", ["", "\n# only a comment\n", "[server]\n"])
def test_a_file_with_no_model_is_an_error(text: str) -> None:
    """An empty file would take every model off the air; it says how to begin instead."""
    problem = only(text)
    assert "[models.churn.versions.v1]" in problem.message
    assert problem.line == 0


def test_a_file_that_is_not_there_says_how_to_begin(tmp_path: Path) -> None:
    """The path that was looked at, and the first lines."""
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        load(tmp_path)
    assert str(tmp_path / "redpoll.toml") in str(caught.value)
    assert "[models.churn.versions.v1]" in str(caught.value)


def test_what_cannot_be_read_is_an_error_with_a_line(tmp_path: Path) -> None:
    """Not UTF-8, too large, NUL bytes, a name that is none."""
    file = tmp_path / "redpoll.toml"
    file.write_bytes(b"# one\n# two \xff\n")
    with pytest.raises(ConfigError, match=r"redpoll\.toml:2: it is not UTF-8"):
        load(file)
    file.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(file)
    file.write_bytes(b"a = 1\nb = \x00\n")
    with pytest.raises(ConfigError):
        load(file)
    with pytest.raises(ConfigError):
        load("nul\0byte")


def test_every_missing_file_is_named(tmp_path: Path) -> None:
    """Model, side files, tokens: all at once, with the line that names each."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "redpoll.toml").write_text(
        "[server]\ntokens_file = 'tokens'\n"
        "[models.a.versions]\nv1 = 'sklearn:a.pkl'\n"
        "[models.b.versions.v1]\nbackend = 'sklearn:folder'\nfiles = ['x.json',\n 'y.json']\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    found = [(problem.line, problem.key) for problem in caught.value.problems]
    assert found == [
        (2, "server.tokens_file"),
        (4, "models.a.versions.v1"),
        (6, "models.b.versions.v1.backend"),
        (7, "models.b.versions.v1.files[0]"),
        (8, "models.b.versions.v1.files[1]"),
    ]
    assert "is a folder, and a file is meant" in caught.value.problems[2].message
