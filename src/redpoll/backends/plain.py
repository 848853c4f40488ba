"""A backend that speaks plain JSON rows, seen as one that speaks the Open Inference Protocol.

It gets ``{"rows": [{"age": 41}, …]}`` and answers the same with its outputs, or MLflow's
``{"predictions": […]}``; a bare list of rows or values is taken, too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from redpoll.backends.port import Ask, Backend, Failure
from redpoll.catalog import Model
from redpoll.errors import RedpollError
from redpoll.tensors import columns, oip, rows

JSON = b"content-type: application/json\r\n"
_KEYS = ("rows", "predictions")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class _Translated(Ask):
    """An ask in plain rows; its answer is handed on as tensors."""

    def __init__(self, owner: PlainJson, ask: Ask, payload: bytes, count: int) -> None:
        super().__init__(payload, ask.lines)
        self.owner = owner
        self.ask = ask
        self.count = count

    def answered(self, status: int, lines: bytes, body: bytes) -> None:
        self.owner.done(self)
        if status != 200:
            self.ask.answered(status, lines, body)
            return
        try:
            made = self.owner.tensors(body, self.count)
        except RedpollError as error:
            self.ask.failed(Failure(error.code, error.message))
            return
        self.ask.answered(200, JSON, made)

    def failed(self, failure: Failure) -> None:
        self.owner.done(self)
        self.ask.failed(failure)


class PlainJson:
    """See :class:`redpoll.backends.port.Backend`. ``inner`` carries bodies to and fro."""

    def __init__(self, inner: Backend, model: Model) -> None:
        self.ready = False
        self.binary = False
        self._inner = inner
        self._model = model
        output = model.output
        self._name = output.name if output is not None else "output"
        self._asks: dict[Ask, _Translated] = {}

    def free(self) -> bool:
        """Whether one more ask can be started now."""
        return self._inner.free()

    def ask(self, ask: Ask) -> None:
        """Ask with the rows that the tensors hold."""
        infer = oip.read(ask.payload)
        found = columns.of_tensors(
            ((t.name, t.shape, t.data) for t in infer.inputs), self._model.tensor
        )
        count = infer.inputs[0].shape[0]
        for name, values in found.items():
            found[name] = _whole(self._model.inputs.get(name), values)
        payload = _encode({"id": infer.id, "rows": rows.to_rows(found, count)})
        translated = self._asks[ask] = _Translated(self, ask, payload, count)
        ask.link = translated
        self._inner.ask(translated)

    def done(self, translated: _Translated) -> None:
        """An ask came to its end."""
        ask = translated.ask
        self._asks.pop(ask, None)
        ask.link = None
        ask.attempts += translated.attempts
        self.ready = self._inner.ready

    def tensors(self, body: bytes, count: int) -> bytes:
        """An answer of rows as one of the protocol. RP-201 where it cannot be one."""
        try:
            said = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise columns.invalid(str(error)) from None
        listed = said
        if isinstance(said, dict):
            listed = next((said[key] for key in _KEYS if key in said), None)
        if not isinstance(listed, list) or len(listed) != count:
            what = f"{len(listed)} rows" if isinstance(listed, list) else "no rows"
            raise columns.invalid(
                f'it has {what} for {count} that were sent; a plain JSON backend answers {{"rows": '
                "[{…}, …]}"
            )
        found = [row if isinstance(row, dict) else {self._name: row} for row in listed]
        made = columns.of_rows(found)
        for name, values in made.items():
            if any(isinstance(value, dict | list) for value in values):
                made[name] = [None if v is None else _encode(v).decode() for v in values]
        try:
            outputs = rows.to_tensors(made, Model(name=self._model.name), nullable=False)
        except RedpollError as error:
            raise columns.invalid(error.message.removeprefix("The request was refused: ")) from None
        return _encode({"model_name": self._model.name, "outputs": outputs})

    def ask_now(self, ask: Ask) -> bool:
        """Never: there is more to an ask here than a write."""
        return False

    def cancel(self, ask: Ask) -> None:
        """Forget an ask."""
        translated = self._asks.get(ask)
        if translated is not None:
            self._inner.cancel(translated)
            self.done(translated)

    async def probe(self) -> bool:
        """Probe the server."""
        self.ready = await self._inner.probe()
        return self.ready

    def metadata(self) -> bytes:
        """Nothing: such a server tells nothing of itself."""
        return b""

    def sweep(self) -> None:
        """Give up connections that were idle too long."""
        self._inner.sweep()

    def close(self) -> None:
        """Give up everything."""
        self._inner.close()


def _whole(declared: str | None, values: list[Any]) -> list[Any]:
    """Whole numbers and truth values that came as floats because some of them are missing."""
    kind = {"int": int, "bool": bool}.get(declared or "")
    if kind is None or None not in values:
        return values
    return [kind(value) if isinstance(value, float) else value for value in values]
