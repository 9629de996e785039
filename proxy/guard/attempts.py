"""What a guarded call sends: its request, changed for its tools, or a kept answer in the place of
sending anything; and once the model has to be told results, the request that goes on from there."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from proxy.attempting.attempting import Attempting
from proxy.attempting.opened import Opened
from proxy.calls import Calls
from proxy.clock import Clock
from proxy.core.changes import Given
from proxy.core.decision import Blocked, LimitFacts, Refusal
from proxy.core.splice import splice
from proxy.core.tools.state import KeptAt, ToolState
from proxy.core.tools.wording import no_room_to_go_on
from proxy.guard.recall import Recall
from proxy.guard.requests import denied_tools
from proxy.handoff import Handoffs
from proxy.intake import Call, Intake
from proxy.ledger import Ledger
from proxy.outbound import NO_CHANGES, Base, changes_of
from proxy.progress import Progress
from proxy.replies import dialect_of
from proxy.reservation import Settlement
from proxy.settling import Settler
from proxy.wire import Headers


@dataclass(frozen=True, slots=True)
class GuardParts:
    """What guarded calls work with; built once, in app.py."""

    intake: Intake
    ledger: Ledger
    attempting: Attempting
    settler: Settler
    recall: Recall
    handoffs: Handoffs
    calls: Calls
    clock: Clock


class KeptAnswer:
    """An answer out of the log, given like one of the provider."""

    status = 200

    def __init__(self, body: bytes, *, stream: bool) -> None:
        kind = "text/event-stream" if stream else "application/json"
        self.headers: Headers = (("content-type", kind),)
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        body, self._body = self._body, b""
        if body:
            yield body

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        body, self._body = self._body, b""
        return bool(body) and not take(body)

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        """Nobody is billed for it."""

    def unread_part(self) -> float:
        return 0.0

    def release(self) -> None:
        """Nothing waits."""

    def expect_more_within(self, seconds: float) -> None:
        """All of it is there."""

    async def read(self, limit_bytes: int) -> bytes:
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """There is nothing to end."""


class Attempts:
    """Those of one call: what is asked, of whichever target; the next goes on from there."""

    def __init__(self, parts: GuardParts, progress: Progress) -> None:
        self._p = parts
        self._progress = progress
        self._call = call = progress.call
        self._dialect = dialect_of(call.request.dialect)
        changes = changes_of(call, progress.admitted.admit)
        self._base = Base(call.body, call.request, changes)

    async def first(self) -> Opened:
        """The answer to the call as it came: the one that was kept, or the provider's."""
        call, progress = self._call, self._progress
        known = await self._p.recall.known(call, progress.admitted)
        kept = await self._kept(known.own)
        if kept is not None:
            progress.unpaid, progress.sent = True, True
            progress.did("replay")
            progress.forwarded_at = self._p.clock.monotonic()
            answer = KeptAnswer(kept, stream=call.request.stream)
            return await self._p.attempting.reader.read(progress, answer)
        renamed = known.own.renamed.get(call.request.previous_response_id or "")
        base = self._base
        if renamed is not None:
            id_ = {"previous_response_id": msgspec.json.encode(renamed)}
            body = splice(base.body, id_)
            request, _ = await self._p.intake.again(call, body)
            base = Base(body, request, base.changes)
        changes = replace(
            base.changes,
            without_tools=denied_tools(call.rules.tools, call.request.offered_tools),
            put_back=await self._p.recall.put_back(call, known, call.request.messages),
        )
        self._base = Base(base.body, base.request, changes)
        return await self.next()

    async def follow(
        self, turn: bytes, given: Sequence[Given], came_to: Settlement, response_id: str | None
    ) -> Refusal | None:
        """Makes the next attempt, and holds what it may come to. A refusal where there is no room
        for it: then nothing has changed."""
        progress, base = self._progress, self._base
        call, asked = progress.call, self._dialect.rewrite(base.body, base.request, base.changes)
        before, _ = await self._p.intake.again(call, asked)
        body = self._dialect.follow_up(asked, before, turn, given, response_id)
        request, ask = await self._p.intake.again(call, body)
        more = await self._p.ledger.extend(call.call_id, ask)
        if isinstance(more, Blocked):
            return _no_room(call, given[0].call.name, more.why)
        progress.again(came_to, more, ask)
        others = progress.held_tokens - progress.allowance
        self._p.ledger.calls.aim(call.call_id, ask, others)
        progress.did("replay")
        self._base = Base(body, request, NO_CHANGES)
        return None

    async def next(self) -> Opened:
        """The provider's answer to what was made last."""
        return await self._p.attempting.open(self._progress, self._base)

    async def _kept(self, tools: ToolState) -> bytes | None:
        """The answer that waited for a human, once there is an answer to each of its calls."""
        request = self._call.request
        for at in reversed(tools.kept):
            if at.body_digest == request.body_digest and at.stream == request.stream:
                if not _is_answered(at, tools):
                    return None
                kept = await self._p.recall.kept(self._call.key, at.seq)
                return None if kept is None else kept.body
        return None


def _is_answered(at: KeptAt, tools: ToolState) -> bool:
    return all(digest in tools.approved or digest in tools.refused for digest in at.waits_for)


def _no_room(call: Call, tool: str, why: Refusal | None) -> Refusal:
    session = call.key.session
    message = no_room_to_go_on(tool, "" if why is None else why.message)
    if why is None:
        facts = LimitFacts(session=session, limit="cost_usd")
        return Refusal(
            call.rules.refusal_status, "budget_exceeded", "session_limit", message, facts
        )
    return Refusal(why.status, why.code, why.type, message, why.facts)
