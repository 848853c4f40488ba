"""``redpoll.toml``: what may stand in it, read with every error at once."""

from redpoll.config.load import NAME, load, parse, version_from
from redpoll.config.problems import ConfigError, Problem
from redpoll.config.rollout import plan_from

__all__ = ["NAME", "ConfigError", "Problem", "load", "parse", "plan_from", "version_from"]
