"""POST and PUT /v1/holdfast/claims: an executor of tools asks "may I?", and tells what came of it.

The answer is decided and written in one append on the state it was decided on, so of any number of
callers, in any number of processes, one is granted the call.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from proxy.core.claims import Ruling, rule, told
from proxy.core.closed import refuse_closed
from proxy.core.decision import Refusal
from proxy.core.events import AnyEvent
from proxy.core.globs import matches
from proxy.core.paths import PathParts, checked_id
from proxy.core.rules import Rules
from proxy.core.session import SessionKey, SessionState
from proxy.core.tools.facts import RESULT_BYTES, Handed, effect_of
from proxy.core.tools.wording import refused_by_human
from proxy.decoding import decoded
from proxy.errors import MalformedRequest
from proxy.guard.recall import Recall
from proxy.guard.requests import refuse_denied
from proxy.intake import Intake, PolicySource
from proxy.ledger import Ledger
from proxy.replies import Reply, json_reply, refusal_reply, send
from proxy.wire import Exchange

_PATH = "/v1/holdfast/claims"
_BODY_BYTES = 1024 * 1024
_NAME_CHARACTERS = 512
_ABSENT = msgspec.Raw()


class _Claim(msgspec.Struct, forbid_unknown_fields=True):
    """arguments: an object, or the same as a text. result: any JSON."""

    session: str = ""
    tool: str = ""
    arguments: msgspec.Raw = _ABSENT
    tool_call_id: str = ""
    result: msgspec.Raw = _ABSENT
    is_error: bool = False


class _Answer(msgspec.Struct, omit_defaults=True):
    claim: Literal["granted", "done", "in_progress"]
    result: msgspec.Raw = _ABSENT
    is_error: bool = False
    expires_at: float = 0.0


_CLAIM = msgspec.json.Decoder(_Claim)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Claims:
    """Shared by all connections."""

    policy: PolicySource
    intake: Intake
    ledger: Ledger
    recall: Recall

    async def serve(self, exchange: Exchange, parts: PathParts, request_id: str) -> None:
        """Answers one claim. Raises MalformedRequest and StoreUnavailable."""
        reply = await self._reply(exchange, parts, request_id)
        await send(exchange, reply)

    async def _reply(self, exchange: Exchange, parts: PathParts, request_id: str) -> Reply:
        head, policy = exchange.head, self.policy.current
        if parts.rest.partition("?")[0].rstrip("/") != _PATH:
            raise MalformedRequest("there is no such endpoint", status=404)
        if head.method not in ("POST", "PUT"):
            raise MalformedRequest("claims are made by POST and told by PUT", status=405)
        raw = await exchange.read_body(min(_BODY_BYTES, policy.bounds.body_bytes))
        said = _read(decoded(raw, head.get("content-encoding"), _BODY_BYTES))
        name = "messages" if head.get("anthropic-version") else "chat"
        origin = self.intake.origin(head, parts, policy, "", name)
        if isinstance(origin, Refusal):
            return refusal_reply(origin, "chat", request_id)
        rules = self.intake.callers.rules(policy, origin.caller)
        key = SessionKey(
            origin.caller.tenant, _session(said, parts, head.get("x-holdfast-session"))
        )
        call = await self._call(key, said)
        home = await self.recall.home(key, rules.tools)
        answer: _Answer | Refusal | None
        if head.method == "PUT":
            answer = await self._told(home, call, said)
        elif (answer := await self._forbidden(key, call)) is None:
            answer = await self._asked(home, call, rules, policy.deadline_seconds)
        if isinstance(answer, Refusal):
            return refusal_reply(answer, "chat", request_id)
        session = ("x-holdfast-session", home.session)
        return json_reply(200, _ENCODER.encode(answer), request_id, (session,))

    async def _forbidden(self, key: SessionKey, call: Handed) -> _Answer | None:
        """What the model is told of a call that a human has refused."""
        said = (await self.recall.tools(key)).refused.get(call.digest)
        if said is None:
            return None
        return _Answer("done", msgspec.Raw(msgspec.json.encode(refused_by_human(said))), True)

    async def _asked(
        self, key: SessionKey, call: Handed, rules: Rules, seconds: float
    ) -> _Answer | Refusal:
        if matches(rules.tools.deny, call.tool):
            return refuse_denied(call.tool)
        closed: Refusal | None = None
        ruling = Ruling("in_progress")

        def decide(state: SessionState, now: float) -> tuple[AnyEvent, ...]:
            nonlocal closed, ruling
            closed = refuse_closed(rules.refusal_status, state, key.session)
            ruling = rule(state, call, now, seconds)
            return () if closed is not None else ruling.events

        await self.ledger.attempt(key, decide, fresh=self.recall.is_shared)
        if closed is not None:
            return closed
        if ruling.claim == "done":
            return await self._done(key, call)
        return _Answer(ruling.claim, expires_at=round(ruling.until, 3))

    async def _told(self, key: SessionKey, call: Handed, said: _Claim) -> _Answer:
        result = bytes(said.result)
        if not result:
            raise MalformedRequest("result: missing", param="result")
        if len(result) > RESULT_BYTES:
            message = f"result: over {RESULT_BYTES} bytes, which is what is kept"
            raise MalformedRequest(message, status=413, param="result")

        def decide(state: SessionState, now: float) -> tuple[AnyEvent, ...]:
            return told(state, call, result, now, is_error=said.is_error)

        await self.ledger.attempt(key, decide, fresh=self.recall.is_shared)
        return await self._done(key, call)

    async def _done(self, key: SessionKey, call: Handed) -> _Answer:
        found = await self.recall.result(key, call.digest)
        if found is None:
            return _Answer("done")
        content = found.content if found.source == "claim" else b""
        result = msgspec.Raw(content or msgspec.json.encode(found.text))
        return _Answer("done", result, found.is_error)

    async def _call(self, key: SessionKey, said: _Claim) -> Handed:
        if said.tool:
            return Handed(said.tool_call_id, said.tool, effect_of(said.tool, _arguments(said)))
        if not said.tool_call_id:
            raise MalformedRequest(
                "name a tool with its arguments, or a tool_call_id", param="tool"
            )
        known = (await self.recall.tools(key)).handed.get(said.tool_call_id)
        if known is None:
            message = (
                "tool_call_id: not one of a guarded tool (tools.side_effects, require_approval) "
                "that this session was handed; name tool and arguments"
            )
            raise MalformedRequest(message, status=404, param="tool_call_id")
        return known


def _read(body: bytes) -> _Claim:
    try:
        said = _CLAIM.decode(body.decode())  # or what is passed over unread need not be UTF-8
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is no claim: {str(error)[:200]}") from error
    for name in ("tool", "tool_call_id"):  # both are written down
        if len(getattr(said, name)) > _NAME_CHARACTERS:
            raise MalformedRequest(f"{name}: over {_NAME_CHARACTERS} characters", param=name)
    return said


def _session(said: _Claim, parts: PathParts, header: str | None) -> str:
    session = said.session or parts.session or header
    if not session:
        raise MalformedRequest("session: missing", param="session")
    return checked_id(session, "session")


def _arguments(said: _Claim) -> str:
    raw = bytes(said.arguments)
    if raw[:1] == b'"':
        return msgspec.json.decode(raw, type=str)
    if raw and raw[:1] not in b"{n":
        raise MalformedRequest("arguments: expected an object, or its text", param="arguments")
    return "" if raw == b"null" else raw.decode()
