"""From raw bodies to the final columns of facts, as models declare them now."""

from __future__ import annotations

import msgspec

from redpoll import capture, routes
from redpoll.catalog import Model, Tensor
from redpoll.facts import Entry, Fact
from redpoll.host.paths import DataDir
from redpoll.journal.bulk import Column, Part


class Final:
    """Materialises facts. Which matrix a model declares is read from ``run/routes.json``."""

    def __init__(self, data: DataDir) -> None:
        self._path = data.routes
        self.models: dict[str, Model] = {}  # as they are declared now
        self._tensors: dict[str, Tensor] = {}
        self._fillers: dict[str, capture.Filler] = {}
        self._read_at: tuple[int, int] | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read the route table again where it was renamed since. Cheap otherwise."""
        try:
            found = self._path.stat()
            if (found.st_ino, found.st_mtime_ns) == self._read_at:
                return
            table = routes.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError):
            return
        self._read_at = (found.st_ino, found.st_mtime_ns)
        self.models = {name: route.model for name, route in table.routes.items()}
        self._tensors = {
            name: route.model.tensor
            for name, route in table.routes.items()
            if route.model.tensor is not None
        }

    def fact(self, entry: Entry) -> Fact:
        """The fact with its final columns; it itself where the entry has no raw body."""
        if entry.raw_format == capture.NONE:
            return entry.fact
        return capture.materialise(entry, self._tensors.get(entry.model))

    def fields(self, part: Part) -> list[Column]:
        """The final columns, by field, of many facts: they cost less than each by itself."""
        filler = self._fillers.get(part.model)
        if filler is None:
            filler = self._fillers[part.model] = capture.Filler()
        tensor = self._tensors.get(part.model)
        return filler.fill(part.kind, part.fields, part.bodies, part.formats, tensor)
