"""A sealer that only pretends."""

from fake_service import serve

serve("sealer")
