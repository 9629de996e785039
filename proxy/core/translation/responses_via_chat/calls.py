"""The calls of a streamed answer of chat, told apart by what their deltas have of index and id."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from proxy.core.dialects.chat_parts import Call
from proxy.core.translation.responses_via_chat.growing import Event, GrowingCall

Begin = Callable[[str, str], GrowingCall]
"""Makes the item of a call of this id ("" where the provider gave none) and name."""


@dataclass(slots=True)
class _Open:
    """A call that goes on. early: arguments that came before its name."""

    call_id: str = ""
    item: GrowingCall | None = None
    early: list[str] = field(default_factory=list)


class OpenCalls:
    """All calls so far, in the order that they began in."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._calls: list[_Open] = []
        self._by_index: dict[int, _Open] = {}

    @property
    def under_way(self) -> bool:
        """Whether there are any."""
        return bool(self._calls)

    def take(self, delta: Call) -> Iterator[Event]:
        name, arguments = delta.called
        call = self._of(delta, name)
        call.call_id = call.call_id or delta.id or ""
        if call.item is None:
            call.early.append(arguments)
            if name:
                yield from self._named(call, name)
        else:
            yield from call.item.grow(arguments)

    def end(self, *, is_cut: bool) -> Iterator[Event]:
        """is_cut: the last one was cut short, unless it is seen to be whole."""
        for call in self._calls:
            if call.item is None:
                yield from self._named(call, "")
            assert call.item is not None, "it was begun"
            whole = not is_cut or call is not self._calls[-1] or call.item.is_whole()
            yield from call.item.end("completed" if whole else "incomplete")

    def _named(self, call: _Open, name: str) -> Iterator[Event]:
        call.item = self._begin(call.call_id, name)
        yield from call.item.begin()
        yield from call.item.grow("".join(call.early))

    def _of(self, delta: Call, name: str) -> _Open:
        """The call that a delta goes on with: as `chat_answer` tells them apart, for what we show
        and what we count must be the same."""
        if delta.index is None:
            known = None if (name or delta.id or not self._calls) else self._calls[-1]
        else:
            known = self._by_index.get(delta.index)
            if known and name and delta.id and known.call_id not in ("", delta.id):
                known = None
        if known is None:
            known = _Open()
            self._calls.append(known)
            if delta.index is not None:
                self._by_index[delta.index] = known
        return known
