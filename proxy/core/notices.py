"""What whoever is told of a handoff is sent: read from the log, in the receiver's shape, signed.

Signed as Standard Webhooks says (https://www.standardwebhooks.com, read 2026-11-30), so that any of
its libraries verifies it. Slack's incoming webhooks and PagerDuty's Events API v2 have shapes of
their own (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
https://developer.pagerduty.com/docs/events-api-v2/trigger-events; read 2026-11-30).
"""

import base64
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, assert_never

import msgspec

from proxy.core import events as ev
from proxy.core.handoff import WebhookFormat
from proxy.core.policy import MICRO
from proxy.core.session import EMPTY, SessionKey, SessionState, apply

_SUMMARY: Final = 1_024
"""Characters that PagerDuty shows."""
_TEXT: Final = 3_000
"""Characters of one message in Slack that are shown whole."""
_ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

_PLAIN: Final = {"mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
"""A preview is fetched by Slack's robot, with whatever a model put into the link."""

Json = dict[str, object]


class Notice(msgspec.Struct, frozen=True):
    """A handoff, and the session as it is now. outcome: how it was answered since; "closed" where
    it ended without an answer; None while it is open."""

    key: SessionKey
    handoff: ev.HandedOff
    state: SessionState
    outcome: str | None = None


def notice_of(key: SessionKey, log: Iterable[ev.AnyEvent], handoff: str) -> Notice | None:
    """What is owed for this handoff; None where nothing is: it was delivered, or is not there."""
    state, found, outcome = EMPTY, None, None
    for event in log:
        state = apply(state, event)
        match event:
            case ev.HandedOff(handoff=name) if name == handoff:
                found = event
            case ev.HandoffAnswered(handoff=name) if name == handoff:
                outcome = event.action
            case ev.WebhookDelivered(handoff=name) if name == handoff:
                return None
            case _:
                pass
    if found is None:
        return None
    is_open = any(one.handoff == handoff for one in state.handoffs)
    return Notice(key, found, state, outcome or (None if is_open else "closed"))


def body_of(notice: Notice, shape: WebhookFormat, secret: bytes | None) -> bytes:
    """The body to post. secret: PagerDuty's routing key; no other shape has it in it."""
    match shape:
        case "generic":
            body = _generic(notice)
        case "slack":
            body = {"text": _slack_text(notice), **_PLAIN}
        case "pagerduty":
            body = _pagerduty(notice, secret or b"")
        case _:
            assert_never(shape)
    return msgspec.json.encode(body)


def signature_of(secret: bytes, name: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature` of this body, sent under this id at this second."""
    signed = b"%s.%d.%s" % (name.encode(), timestamp, body)
    digest = hmac.digest(_key(secret), signed, "sha256")
    return "v1," + base64.b64encode(digest).decode()


def _key(secret: bytes) -> bytes:
    """`whsec_` and base64, as its libraries make secrets; any other text is the key itself."""
    if secret.startswith(b"whsec_"):
        try:
            return base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
        except ValueError:
            pass
    return secret


def _generic(notice: Notice) -> Json:
    return {
        "type": "handoff.opened",
        "id": notice.handoff.handoff,
        "timestamp": _time(notice.handoff.at),
        "data": _facts(notice),
    }


def _facts(notice: Notice) -> Json:
    handoff, state, held = notice.handoff, notice.state, notice.handoff.held
    call = {"id": held.call_id, "tool": held.tool, "arguments": held.arguments} if held else None
    return {
        "handoff": handoff.handoff,
        "session": notice.key.session,
        "tenant": notice.key.tenant,
        "agent": state.agent,
        "state": state.status,
        "code": handoff.code,
        "limit": handoff.limit,
        "message": handoff.message,
        "tool_call": call,
        "steps": state.steps,
        "cost_usd": state.cost_micro_usd / MICRO,
        "outcome": notice.outcome,
    }


def _slack_text(notice: Notice) -> str:
    """Plain text: what a model wrote must neither format nor mention anybody, nor
    begin a line of its own."""
    handoff, held = notice.handoff, notice.handoff.held
    agent = f" ({notice.state.agent})" if notice.state.agent else ""
    lines = [f"Session {notice.key.session}{agent} waits for a human.", handoff.message]
    if held is not None:
        arguments = "".join([c if c.isprintable() else " " for c in held.arguments])
        lines.append(f"{held.tool}({arguments})")
    if notice.outcome is not None:
        lines.append(f"Meanwhile: {notice.outcome}.")
    return "\n".join(lines)[:_TEXT].translate(_ESCAPED)


def _pagerduty(notice: Notice, routing_key: bytes) -> Json:
    """One incident for each handoff, however often it is sent."""
    handoff = notice.handoff
    summary = f"Session {notice.key.session} waits for a human: {handoff.message}"
    return {
        "routing_key": routing_key.decode("utf-8", "replace"),
        "event_action": "trigger" if notice.outcome is None else "resolve",
        "dedup_key": handoff.handoff,
        "client": "Holdfast",
        "payload": {
            "summary": summary[:_SUMMARY],
            "source": f"holdfast/{notice.key.session}",
            "severity": "error",
            "timestamp": _time(handoff.at),
            "component": notice.state.agent or notice.key.session,
            "class": handoff.limit or handoff.code,
            "custom_details": _facts(notice),
        },
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")
