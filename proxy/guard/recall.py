"""What is known of guarded tool calls, read where it is written: in the session's log, or with
`scope: tree` in that of the session above all others."""

from collections.abc import Callable, Sequence

import msgspec

from proxy.core import events as ev
from proxy.core.changes import Given
from proxy.core.request import Message
from proxy.core.session import SessionKey, SessionState
from proxy.core.tools import wording
from proxy.core.tools.facts import Withheld, effect_of
from proxy.core.tools.policy import Tools
from proxy.core.tools.state import ToolState, WithheldAt
from proxy.core.tools.verdict import Judged
from proxy.core.tree import MOST_ABOVE
from proxy.core.usage import ToolCall
from proxy.facts import Decide
from proxy.intake import Call
from proxy.ledger import Ledger
from proxy.reservation import Admitted
from proxy.stores import Store


class Known(msgspec.Struct, frozen=True):
    """own: of the session that asks. effects: whose results count, and the key of their log."""

    own: ToolState
    effects: ToolState
    key: SessionKey


class Recall:
    """Shared by all calls. shared: whether other processes write to the same logs."""

    def __init__(self, ledger: Ledger, store: Store, shared: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._store = store
        self._shared = shared

    @property
    def is_shared(self) -> bool:
        return self._shared()

    async def state(self, key: SessionKey) -> SessionState:
        """Of a session, as others that write to its log have left it."""
        return await (self._ledger.latest if self._shared() else self._ledger.state)(key)

    async def tools(self, key: SessionKey) -> ToolState:
        """What it knows of its calls, likewise."""
        return (await self.state(key)).tools

    async def home(self, key: SessionKey, tools: Tools) -> SessionKey:
        """Where results of this session's calls are known, before a call of it is admitted."""
        if tools.scope == "session":
            return key
        for _ in range(MOST_ABOVE):
            parent = (await self.state(key)).parent
            if parent is None:
                break
            key = SessionKey(key.tenant, parent)
        return key

    async def known(self, call: Call, admitted: Admitted) -> Known:
        """As new as it can be: another call may have brought a result meanwhile, elsewhere."""
        own = await self.tools(call.key)
        root = root_of(call, admitted)
        effects = own if root == call.key else await self.tools(root)
        return Known(own, effects, root)

    async def given(self, known: Known, call: ToolCall, judged: Judged) -> Given:
        """What the model is told in the place of a result."""
        if judged.refused is not None:
            return Given(call, wording.refused_by_human(judged.refused), is_error=True)
        found = await self._result(known.key, judged.seq, judged.digest)
        if found is None:
            return Given(call, wording.DOUBLED if judged.fate == "double" else wording.FORGOTTEN)
        return Given(call, found.text, found.is_error, found.content, found.dialect)

    async def put_back(
        self, call: Call, known: Known, messages: Sequence[Message]
    ) -> tuple[Given, ...]:
        """Calls that were withheld from the turn whose results a request brings, each with what it
        came to."""
        places = known.own.withheld
        turn = newest_calls(messages) if places else {}
        given: list[Given] = []
        for place in places:
            if place.beside in turn and _is_of(place, turn[place.beside]):
                event = await self._event(call.key, place.seq)
                if isinstance(event, ev.CallsWithheld):
                    given += [await self._of_withheld(known, one) for one in event.calls]
        return tuple(given)

    async def record(self, key: SessionKey, fact: ev.AnyEvent) -> None:
        await self._ledger.record(key, fact)

    async def attempt(self, key: SessionKey, decide: Decide) -> None:
        """See `Facts.attempt`."""
        await self._ledger.attempt(key, decide, fresh=self._shared())

    async def kept(self, key: SessionKey, seq: int) -> ev.AnswerKept | None:
        event = await self._event(key, seq)
        return event if isinstance(event, ev.AnswerKept) else None

    async def share(self, call: Call, admitted: Admitted) -> None:
        """With `scope: tree`, writes what this session knows into the log above."""
        root, own = root_of(call, admitted), admitted.state.tools
        if root == call.key or not own.effects:
            return
        known = await self.tools(root)
        new = [(digest, seq) for digest, seq in own.effects.items() if digest not in known.effects]
        found = [await self._result(call.key, seq, digest) for digest, seq in new]
        if results := [one for one in found if one is not None]:
            await self._ledger.record(root, *results)

    async def result(self, key: SessionKey, digest: bytes) -> ev.ResultRecorded | None:
        """What a call came to, by the newest state that is at hand."""
        seq = (await self._ledger.state(key)).tools.effects.get(digest)
        return None if seq is None else await self._result(key, seq, digest)

    async def _of_withheld(self, known: Known, one: Withheld) -> Given:
        refused = known.own.refused.get(one.digest)
        seq = known.effects.effects.get(one.digest, 0)
        call = ToolCall(one.call_id, one.tool, one.arguments)
        judged = Judged(call, "double", one.digest, seq, refused)
        return await self.given(known, call, judged)

    async def _result(self, key: SessionKey, seq: int, digest: bytes) -> ev.ResultRecorded | None:
        event = await self._event(key, seq) if seq else None
        if isinstance(event, ev.ResultRecorded) and event.call == digest:
            return event
        return None

    async def _event(self, key: SessionKey, seq: int) -> ev.AnyEvent | None:
        tail = await self._store.read(key, after_seq=seq - 1)
        return tail[0].event if tail and tail[0].seq == seq else None


def root_of(call: Call, admitted: Admitted) -> SessionKey:
    """Whose log has the results that count for this call."""
    if call.rules.tools.scope == "session" or not admitted.above:
        return call.key
    return admitted.above[-1]


def newest_calls(messages: Sequence[Message]) -> dict[str, ToolCall | None]:
    """The calls of a history's newest assistant turn by their ids, and None for those of which it
    shows the results alone."""
    calls: dict[str, ToolCall | None] = {}
    in_turn = False
    for message in reversed(messages):
        if message.tool_result_id is not None and not in_turn:
            calls.setdefault(message.tool_result_id)
        elif message.role == "assistant":
            in_turn = True
            calls.update((call.call_id, call) for call in message.tool_calls)
        elif in_turn:
            break
    return calls


def _is_of(place: WithheldAt, call: ToolCall | None) -> bool:
    """Whether a call is the one that others were withheld beside, and not one of the same id."""
    if call is None or not place.made:
        return True
    return effect_of(call.name, call.arguments) == place.made
