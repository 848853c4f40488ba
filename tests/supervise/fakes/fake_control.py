"""A control that only pretends."""

from fake_service import serve

serve("control")
