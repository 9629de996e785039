"""The admin API's handlers for checkpoints: what a session may be gone on with, and what two of its
steps differ in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import web

from proxy.admin.door import Site
from proxy.admin.sessions import key_of
from proxy.admin.shapes import Json, timestamp, whole_number
from proxy.checkpoints import Checkpoint, Owed, dialect_of
from proxy.core.contents import RecordedAnswer
from proxy.core.differing import Changed, Difference, Setting
from proxy.core.endpoints import path_of
from proxy.core.limits.base import usd
from proxy.core.session import SessionKey, SessionState
from proxy.core.steps import RecordedStep
from proxy.errors import ContentMissing

_MOST_STEPS = 2**53
_NULL = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class CheckpointSite:
    """See `server.AdminSite`, which has its guard."""

    site: Site

    def routes(self, one: str) -> list[web.RouteDef]:
        """one: the path of one session."""
        return [
            web.get(one + "/checkpoint", self.checkpoint),
            web.get(one + "/diff", self.difference),
        ]

    async def checkpoint(self, request: web.Request) -> web.Response:
        """raw: the request's body alone, byte for byte; raw=next: the one to go on with."""
        key, query = await key_of(self.site, request), request.query
        step = whole_number(query["step"], _MOST_STEPS, "step") if "step" in query else None
        raw, checkpoints = query.get("raw", ""), self.site.records.checkpoints
        if raw not in ("", "0", "next"):
            return _alone(key, *await checkpoints.body(key, step))
        found = await checkpoints.show(key, step)
        if raw != "next":
            return _spliced(checkpoint_json(key, found))
        if found.continuation is None:
            raise ContentMissing(found.unkept or "a request of prompts is not gone on with")
        return _alone(key, found.step, found.continuation.body)

    async def difference(self, request: web.Request) -> web.Response:
        key, query = await key_of(self.site, request), request.query
        before = whole_number(query.get("from", ""), _MOST_STEPS, "from")
        after = whole_number(query.get("to", ""), _MOST_STEPS, "to")
        found = await self.site.records.checkpoints.difference(key, before, after)
        return _spliced({**_names(key), "from": before, "to": after, **difference_json(found)})


def checkpoint_json(key: SessionKey, found: Checkpoint) -> dict[str, object]:
    """Bodies stand in it as they were sent, byte for byte."""
    step, continuation = found.step, found.continuation
    following: dict[str, object] | None = None
    if continuation is not None:
        following = {"body": msgspec.Raw(continuation.body), "owed": [*map(_owed, found.owed)]}
    return {
        **_names(key),
        "step": step.step,
        "last_step": found.last,
        "checkpoint": f"{key.session}@{step.step}",
        "dialect": step.dialect,
        "path": path_of(dialect_of(step)),
        **_came_to(step),
        "attempts": [_came_to(one) for one in found.attempts],
        "request": msgspec.Raw(found.body),
        "answer": None if found.answer is None else _answer(found.answer),
        "next": following,
        "held": _held(found.state),
        "totals": _totals(found.state),
        "notes": [found.unkept] if found.unkept else [],
    }


def difference_json(found: Difference) -> dict[str, object]:
    """What stands there as it was sent."""
    return {
        "same": found.same,
        "messages": [_message(one) for one in found.messages],
        "tools": _settings(found.tools),
        "parameters": _settings(found.parameters),
    }


def _names(key: SessionKey) -> dict[str, object]:
    return {"session": key.session, "tenant": key.tenant}


def _came_to(step: RecordedStep) -> dict[str, object]:
    return {
        "call_id": step.call_id,
        "model": step.model,
        "upstream": step.upstream,
        "stream": step.stream,
        "inherited": step.inherited,
        "outcome": step.outcome,
        "status": step.status,
        "cost_usd": usd(step.cost_micro_usd),
        "tokens": None if step.usage is None else step.usage.total_tokens,
        "tools": [*step.tools],
        "at": timestamp(step.at),
        "settled_at": timestamp(step.settled_at),
    }


def _answer(answer: RecordedAnswer) -> dict[str, object]:
    """An answer that is no JSON (a stream) as text."""
    body = _raw(answer.body)
    return {
        "status": answer.status,
        "stream": answer.stream,
        "headers": dict(answer.headers),
        "body": body,
        "text": answer.body.decode(errors="replace") if body is _NULL else None,
    }


def _raw(body: bytes) -> msgspec.Raw:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
        body.decode()
    except (ValueError, RecursionError):
        return _NULL
    return msgspec.Raw(body)


def _owed(owed: Owed) -> dict[str, object]:
    call, result = owed.call, owed.result
    known: dict[str, object] = {}
    if result is not None:
        known = {"result": result.text, "is_error": result.is_error}
    return {"id": call.call_id, "tool": call.name, "arguments": call.arguments, **known}


def _held(state: SessionState) -> dict[str, object]:
    """What was open right after the step."""
    calls: list[Json] = [
        {"call_id": call_id, "step": held.step, "usd": usd(held.cost_micro_usd)}
        for call_id, held in state.held.items()
    ]
    return {
        "usd": usd(state.held_micro_usd),
        "calls": calls,
        "handoffs": [handoff.handoff for handoff in state.handoffs],
        "guidance": [*state.guidance],
    }


def _totals(state: SessionState) -> dict[str, object]:
    return {
        "steps": state.steps,
        "calls": state.calls,
        "tokens": state.tokens,
        "cost_usd": usd(state.cost_micro_usd),
        "tool_calls": state.tool_calls,
    }


def _message(one: Changed) -> dict[str, object]:
    return {
        "change": one.kind,
        "was": one.was,
        "at": one.at,
        "paths": [*one.paths],
        "before": msgspec.Raw(one.before or b"null"),
        "after": msgspec.Raw(one.after or b"null"),
    }


def _settings(found: Sequence[Setting]) -> list[dict[str, object]]:
    return [
        {
            "change": one.kind,
            "name": one.name,
            "before": msgspec.Raw(one.before or b"null"),
            "after": msgspec.Raw(one.after or b"null"),
        }
        for one in found
    ]


def _alone(key: SessionKey, step: RecordedStep, body: bytes) -> web.Response:
    headers = {
        "cache-control": "no-store",
        "x-holdfast-checkpoint": f"{key.session}@{step.step}",
        "x-holdfast-path": path_of(dialect_of(step)),
    }
    return web.Response(body=body, content_type="application/json", headers=headers)


def _spliced(value: Mapping[str, object]) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        content_type="application/json",
        headers={"cache-control": "no-store"},
    )
