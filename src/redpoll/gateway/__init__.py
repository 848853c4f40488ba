"""One request's journey: route, draw, journal, ask, journal, reply. Nothing else is on that path."""
