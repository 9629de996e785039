"""Refusals and errors as HTTP: the one place that turns them into a status, headers and a body."""

import secrets
from dataclasses import replace

import msgspec

from proxy.core.decision import LimitFacts, Refusal
from proxy.core.dialects.base import Dialect
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from proxy.errors import HoldfastError, MalformedRequest, StoreUnavailable, UpstreamUnavailable
from proxy.wire import Answering, Headers

_JSON = ("content-type", "application/json")


class Reply(msgspec.Struct, frozen=True):
    """A whole answer of our own."""

    status: int
    headers: Headers
    body: bytes


def refusal_reply(
    refusal: Refusal, dialect: DialectName, request_id: str, extra: Headers = ()
) -> Reply:
    """A refusal in the client's dialect. Only where waiting helps is a retry invited."""
    retry: Headers = (("x-should-retry", "false"),)
    if refusal.retry_after_ms is not None:
        retry = (("retry-after-ms", str(refusal.retry_after_ms)),)
    body = DIALECTS[dialect].render_refusal(refusal, request_id)
    return json_reply(refusal.status, body, request_id, (*retry, *extra))


def json_reply(status: int, body: bytes, request_id: str, extra: Headers = ()) -> Reply:
    """An answer of our own in JSON."""
    return Reply(status, (_JSON, *ids_of(request_id), *extra), body)


def ids_of(request_id: str) -> Headers:
    """By the names that OpenAI's and Anthropic's SDKs look for."""
    return (("x-request-id", request_id), ("request-id", request_id))


def refusal_of(error: HoldfastError) -> Refusal:
    """What a client is told of an error."""
    match error:
        case MalformedRequest():
            return Refusal(
                error.status, error.code, "invalid_request_error", error.message, param=error.param
            )
        case UpstreamUnavailable():
            return Refusal(error.status, error.code, "upstream_error", error.message)
        case StoreUnavailable():
            return Refusal(error.status, error.code, "store_error", error.message)
        case _:
            raise error


def in_session(refusal: Refusal, session: str) -> Refusal:
    """The refusal with the session it is about, where it does not name one yet."""
    if refusal.facts is not None:
        return refusal
    return replace(refusal, facts=LimitFacts(session=session))


async def send(exchange: Answering, reply: Reply) -> None:
    await exchange.respond(reply.status, reply.headers, reply.body)


def dialect_of(name: DialectName) -> Dialect:
    return DIALECTS[name]


def wire_refusal(error: HoldfastError) -> tuple[Headers, bytes]:
    """What is told to a client whose request never became one."""
    known = error if isinstance(error, MalformedRequest) else MalformedRequest("internal error")
    reply = refusal_reply(refusal_of(known), "chat", f"req_{secrets.token_hex(12)}")
    return reply.headers, reply.body
