"""What a loaded model is to the rest of the worker, whatever kind of file it came from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .answers import BadAnswer
from .tensors import BadRequest, Call, Declared, near

Array = Any


class LoadError(Exception):
    """The model cannot be loaded; the message says why and what to do."""


# Of a declared type, in requests and answers; BYTES of every other.
DATATYPES = {"float": "FP64", "int": "INT64", "bool": "BOOL"}


class Output(NamedTuple):
    """The declared output: the class's (or number's) name and type, and the probability's name."""

    name: str
    type: str
    score: str | None = None
    positive: Any = None

    @property
    def types(self) -> dict[str, str]:
        """Type by output name; ``binary`` is ``int`` or ``bool`` where ``positive`` is one."""
        kind = self.type
        if kind == "binary" and isinstance(self.positive, int):
            kind = "bool" if isinstance(self.positive, bool) else "int"
        score = {self.score: "float"} if self.score else {}
        return {self.name: kind, **score}

    @property
    def datatypes(self) -> dict[str, str]:
        """Datatype by output name."""
        known = {name: DATATYPES.get(kind, "BYTES") for name, kind in self.types.items()}
        if self.type == "binary" and isinstance(self.positive, float):
            known[self.name] = "FP64"
        return known


class Model:
    """A loaded model: what it declares, and :meth:`predict`."""

    def __init__(
        self,
        declared: Declared,
        types: dict[str, str],
        ask: Callable[[Call], Mapping[str, Any]],
        datatypes: dict[str, str] | None = None,
    ) -> None:
        self.declared = declared
        self.types = types  # type by output name; {} where nothing is declared
        self.datatypes = datatypes or {}  # of outputs, by name, as far as it is known beforehand
        self._ask = ask

    def predict(self, call: Call) -> Mapping[str, Any]:
        """Return the outputs that the client asked for, by name; raises whatever the model raises."""
        return self.chosen(self.outputs(call), call)

    def outputs(self, call: Call) -> Mapping[str, Any]:
        """Return all outputs, by name; raises whatever the model raises."""
        outputs = self._ask(call)
        if not isinstance(outputs, Mapping):
            raise BadAnswer(
                f"the model returned {type(outputs).__name__}; it must return a dict of columns"
            )
        for name in self.types:
            if name not in outputs:
                raise BadAnswer(f"output {name!r} is declared, but the model did not return it")
        return outputs

    @staticmethod
    def chosen(outputs: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        """Pick the outputs that the client asked for."""
        if call.outputs is None:
            return outputs
        for name in call.outputs:
            if name not in outputs:
                raise BadRequest(f"the model has no output {name!r}.{near(name, outputs)}")
        return {name: outputs[name] for name in call.outputs}


def declarations(model: Mapping[str, Any]) -> tuple[Declared, Output | None]:
    """Read what the catalog's model declares."""
    tensor = model.get("tensor") or {}
    declared = Declared(
        dict(model.get("inputs") or {}), tensor.get("name"), tuple(tensor.get("columns") or ())
    )
    found = model.get("output")
    if not found:
        return declared, None
    return declared, Output(found["name"], found["type"], found.get("score"), found.get("positive"))


def install(package: str) -> str:
    """The command that installs a package into this Python."""
    return f"{sys.executable} -m pip install {package}"
