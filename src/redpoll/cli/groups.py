"""Groups whose commands are imported when they are used, and that guess what was meant."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import click

from redpoll.errors import closest


class Commands(click.Group):
    """A group. ``commands_at`` names each command's place: ``module:attribute``."""

    def __init__(
        self, *args: Any, commands_at: dict[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._at = commands_at or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted({*self._at, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, imported now."""
        place = self._at.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, attribute = place.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a usage error with the nearest name where there is none."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            raise click.UsageError(
                f"There is no command {name!r}.{closest(name, known) or ' Known: ' + ', '.join(known) + '.'}",
                ctx,
            )
        return super().resolve_command(ctx, args)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class OneOf(click.ParamType[str]):
    """A choice that says what was probably meant."""

    name = "choice"

    def __init__(self, choices: Sequence[str]) -> None:
        self.choices = tuple(choices)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """``shadow|canary``."""
        return "|".join(self.choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The choice itself, or a usage error."""
        if value in self.choices:
            return value
        near = closest(str(value), self.choices)
        return self.fail(f"{value!r} is none of {', '.join(self.choices)}.{near}", param, ctx)


class Duration(click.ParamType[float]):
    """``30s``, ``10m``, ``2h``, ``7d`` or a number of seconds; the value is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Seconds."""
        if isinstance(value, int | float):
            return float(value)
        digits = value.rstrip("mshd")
        unit = _UNITS.get(value[len(digits) :] or "s")
        try:
            if unit is not None and 0 <= float(digits) < 1e9:
                return float(digits) * unit
        except ValueError:
            pass
        return self.fail(f"{value!r} is no duration; write it like 30s, 10m or 2h.", param, ctx)
