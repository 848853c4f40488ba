"""Keeping redacted values out of what is journalled, wherever they turn up again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from redpoll.tensors.columns import Columns

MASK = "[redacted]"
VALUES_MAX = 10_000  # distinct values of one request that are looked for


class Masks:
    """The redacted values of one request, to be taken out of texts and outputs."""

    def __init__(self, found: Mapping[str, Sequence[Any]]) -> None:
        self.names = frozenset(found)
        texts: set[str] = set()
        numbers: set[str] = set()
        for values in found.values():
            for value in _scalars(values):
                if isinstance(value, str):
                    if value.strip():
                        texts |= _spellings(value)
                elif isinstance(value, int | float) and not isinstance(value, bool):
                    numbers |= _written(value)
        self._too_many = len(texts) + len(numbers) > VALUES_MAX
        parts = [re.escape(text) for text in sorted(texts, key=len, reverse=True)]
        parts += [rf"(?<![\w.]){re.escape(n)}(?![\w]|\.\d)" for n in sorted(numbers)]
        self._pattern = re.compile("|".join(parts)) if parts and not self._too_many else None

    def text(self, text: str) -> str:
        """A text with every redacted value replaced."""
        if self._too_many:
            return MASK
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def outputs(self, columns: Columns) -> Columns:
        """Outputs without those of a redacted name, and with redacted values replaced in texts."""
        return {name: self._value(v) for name, v in columns.items() if name not in self.names}

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(one) for one in value]
        if isinstance(value, dict):
            return {self.text(str(key)): self._value(one) for key, one in value.items()}
        return value


def _scalars(values: Any) -> list[Any]:
    if isinstance(values, list | tuple):
        return [one for value in values for one in _scalars(value)]
    if isinstance(values, dict):  # bytes that are no text: {"base64": …}
        return list(values.values())
    return [values]


def _spellings(text: str) -> set[str]:
    """A text as it stands, as JSON writes it and as Python's ``repr`` does."""
    written = (json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text), ascii(text))
    return {text, text.strip(), *(quoted[1:-1] for quoted in written)}


def _written(value: float) -> set[str]:
    found = {repr(value), msgspec.json.encode(value).decode()}
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        found.add(str(int(value)))
    elif isinstance(value, int) and abs(value) < 2**53:
        found.add(repr(float(value)))
    return {text for text in found if text != "null"}
