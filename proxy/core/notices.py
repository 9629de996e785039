"""What whoever is told of a handoff is sent: read from the log, and signed.

Signed as Standard Webhooks says (https://www.standardwebhooks.com, read 2026-11-30), so that any of
its libraries verifies it. The bodies are those of `core.webhook_formats`.
"""

import base64
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from proxy.core import events as ev
from proxy.core.policy import MICRO
from proxy.core.session import EMPTY, SessionKey, SessionState, apply

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


def facts_of(notice: Notice) -> Json:
    """All that is known of a handoff."""
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


def time_of(notice: Notice) -> str:
    """When it was handed off: ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(notice.handoff.at, tz=UTC).isoformat(timespec="milliseconds")
