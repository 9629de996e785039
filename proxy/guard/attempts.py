"""What a guarded call sends: its request, changed for its tools, or a kept answer in the place of
sending anything; and once the model has to be told results, the request that goes on from there."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec

from proxy.attempting.loop import Attempting
from proxy.attempting.opened import Opened
from proxy.calls import Calls
from proxy.clock import Clock
from proxy.core.changes import Changes, Given
from proxy.core.decision import Blocked, LimitFacts, Refusal
from proxy.core.splice import splice
from proxy.core.tools.state import KeptAt, ToolState
from proxy.core.tools.wording import no_room_to_go_on
from proxy.guard.recall import Recall
from proxy.guard.requests import denied_tools
from proxy.handoff import Handoffs
from proxy.intake import Call, Intake, dialect_bounds
from proxy.ledger import Ledger
from proxy.progress import Progress, Settler
from proxy.replies import dialect_of
from proxy.reservation import Settlement
from proxy.wire import Headers, Outgoing
from proxy.wire.headers import Kind, kind_of


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

    def release(self) -> None:
        """Nothing waits."""

    async def read(self, limit_bytes: int) -> bytes:
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """There is nothing to end."""


class Attempts:
    """Those of one call.

    A request is what was forwarded last, with all that was changed in it; the next goes on from
    there."""

    def __init__(self, parts: GuardParts, progress: Progress, request: Outgoing) -> None:
        self._p = parts
        self._progress = progress
        self._call = call = progress.call
        self._dialect = dialect_of(call.request.dialect)
        self._bounds = dialect_bounds(call.policy)
        self._request = request

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
        if renamed is not None:
            id_ = {"previous_response_id": msgspec.json.encode(renamed)}
            self._request = self._with(splice(self._body, id_))
        changes = Changes(
            without_tools=denied_tools(call.rules.tools, call.request.offered_tools),
            put_back=await self._p.recall.put_back(call, known, call.request.messages),
        )
        if changes.in_conversation:
            await self._rewrite(changes)
        return await self.next()

    async def follow(
        self, turn: bytes, given: Sequence[Given], came_to: Settlement, response_id: str | None
    ) -> Refusal | None:
        """Makes the next attempt, and holds what it may come to. A refusal where there is no room
        for it: then nothing has changed."""
        call, progress = self._call, self._progress
        before, _ = await self._p.intake.again(call, self._body)
        body = self._dialect.follow_up(self._body, before, turn, given, response_id)
        request, ask = await self._p.intake.again(call, body)
        more = await self._p.ledger.extend(call.call_id, ask)
        if isinstance(more, Blocked):
            return _no_room(call, given[0].call.name, more.why)
        assert more.admit is not None
        running = self._p.ledger.calls.get(call.call_id)
        if running is not None:
            running.input_tokens += more.admit.hold_input_tokens
        progress.again(came_to, more, ask)
        progress.did("replay")
        bound = more.admit.output_bound
        body = self._dialect.rewrite(body, request, Changes(output_bound=bound))
        self._request = self._with(body)
        return None

    async def next(self) -> Opened:
        """The provider's answer to what was made last."""
        return await self._p.attempting.open(self._progress, self._request)

    @property
    def _body(self) -> bytes:
        """What was forwarded last, without encoding."""
        sent = self._request.body
        assert isinstance(sent, bytes)
        return self._call.body if sent is self._call.raw else sent

    async def _rewrite(self, changes: Changes) -> None:
        body, request = self._body, self._call.request
        if body is not self._call.body:
            request, _ = await self._p.intake.again(self._call, body)
        self._request = self._with(self._dialect.rewrite(body, request, changes))

    def _with(self, body: bytes) -> Outgoing:
        sent = self._request
        headers = [one for one in sent.headers if not kind_of(one[0]) & Kind.CONTENT_ENCODING]
        return Outgoing(sent.method, sent.url, tuple(headers), body)

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
