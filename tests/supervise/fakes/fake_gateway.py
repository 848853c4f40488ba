"""A gateway that only pretends."""

from fake_service import serve

serve("gateway")
