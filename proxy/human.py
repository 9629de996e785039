"""What a human answers to a session that waits: more room, a hint, a decision on a held call."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.closed import refuse_killed
from proxy.core.guidance import MOST_CHARACTERS, MOST_MESSAGES
from proxy.core.limits.registry import EXTENDABLE_COUNTS, EXTENDABLE_MONEY
from proxy.core.policy import MICRO
from proxy.core.queue import answering, deciding, held_calls
from proxy.core.session import SessionKey, SessionState
from proxy.errors import MalformedRequest, Unanswerable
from proxy.ledger import Ledger
from proxy.stores import Store

_MOST_LISTED = 1_000
_MOST_COUNTED = 100_000
_SHOWN = 64
"""Held calls that an error names, and characters of each: a provider chose them."""


@dataclass(frozen=True, slots=True)
class Human:
    """Shared by the admin API's handlers. Every answer is decided on the newest log, so of two at
    once the first counts. Raises MalformedRequest, Unanswerable, StoreUnavailable.

    show: a session as it is now, whichever process wrote last. told: says to every other process
    that a session has changed.
    """

    ledger: Ledger
    store: Store
    clock: Clock
    show: Callable[[SessionKey], Awaitable[SessionState]]
    told: Callable[[SessionKey], Awaitable[None]]

    async def extend(self, key: SessionKey, amounts: Mapping[str, object]) -> SessionState:
        """Adds to limits: counts as whole numbers, money in USD. What waits goes on."""
        if not amounts:
            raise MalformedRequest(f"name a limit to extend (allowed: {_ALLOWED})")
        added = tuple((name, _amount(name, value)) for name, value in amounts.items())

        def extended(state: SessionState, now: float) -> tuple[ev.AnyEvent, ...]:
            refuse_killed(key, state)
            return (ev.LimitsExtended(at=now, added=added), *answering(state, "extend", now))

        return await self._answer(key, extended)

    async def guide(self, key: SessionKey, message: object) -> SessionState:
        """Puts a message before the session's next step. What waits goes on, but for held calls."""
        text = _text(message, "message", least=1)

        def guided(state: SessionState, now: float) -> tuple[ev.AnyEvent, ...]:
            refuse_killed(key, state)
            if len(state.guidance) >= MOST_MESSAGES:
                said = f"{MOST_MESSAGES} messages wait for the next step of session {key.session}"
                raise Unanswerable(said, "guidance_full")
            return (ev.Guided(at=now, message=text), *answering(state, "guide", now))

        return await self._answer(key, guided)

    async def decide(
        self, key: SessionKey, tool_call_id: object, *, approve: bool, message: object = ""
    ) -> SessionState:
        """Approves or denies a tool call that is held; with a denial, what the model is told."""
        name, text = _text(tool_call_id, "tool_call_id", least=1), _text(message, "message")
        action: ev.HumanAction = "approve" if approve else "deny"

        def decided(state: SessionState, now: float) -> tuple[ev.AnyEvent, ...]:
            refuse_killed(key, state)
            answer = deciding(state, name, action, text, now)
            if answer is None:
                known = [call_id[:_SHOWN] for call_id in held_calls(state)[:_SHOWN]]
                held = ", ".join(known) or "none"
                said = f"session {key.session} holds no tool call {name[:200]!r} (held: {held})"
                raise Unanswerable(said, "unknown_tool_call", 404)
            return (answer,)

        return await self._answer(key, decided)

    async def queue(
        self, *, tenant: str | None, limit: int
    ) -> Sequence[tuple[SessionKey, SessionState, ev.HandedOff]]:
        """What stands before a human now, the oldest first; what is waited for comes first."""
        found = []
        for row in await self.store.list_queue("open", _MOST_LISTED):
            if tenant not in (None, row.key.tenant):
                continue
            state = await self.ledger.state(row.key)
            if state.seq != row.seq:
                state = await self.show(row.key)
            found += [(row.key, state, handoff) for handoff in state.handoffs]
        found.sort(key=lambda entry: (not entry[2].blocking, entry[2].at))
        return found[:limit]

    async def waiting(self) -> int:
        """How many handoffs wait for an answer, whichever process made them."""
        rows = await self.store.list_queue("open", _MOST_COUNTED)
        return sum(len(row.head.waits) for row in rows)

    async def _answer(
        self, key: SessionKey, decide: Callable[[SessionState, float], tuple[ev.AnyEvent, ...]]
    ) -> SessionState:
        await self.ledger.attempt(key, decide, fresh=True)
        self.ledger.lines.stir()
        await self.told(key)
        return await self.ledger.state(key)


def _text(value: object, name: str, least: int = 0) -> str:
    if not isinstance(value, str) or len(value.strip()) < least or len(value) > MOST_CHARACTERS:
        said = f"{name}: a text of {least} to {MOST_CHARACTERS} characters is needed"
        raise MalformedRequest(said, param=name)
    return value


_ALLOWED = ", ".join((*EXTENDABLE_COUNTS, *EXTENDABLE_MONEY, "per_tool.GLOB"))
_MOST = 10**15


def _amount(name: str, value: object) -> int:
    """What is added, in the unit of the log."""
    if name not in EXTENDABLE_COUNTS + EXTENDABLE_MONEY and not name.startswith("per_tool."):
        raise MalformedRequest(f"{name}: no such limit (allowed: {_ALLOWED})", param=name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
        raise MalformedRequest(f"{name}: a positive number is needed", param=name)
    if name in EXTENDABLE_MONEY:
        return round(value * MICRO)
    if value != int(value):
        raise MalformedRequest(f"{name}: a whole number is needed", param=name)
    return int(value)
