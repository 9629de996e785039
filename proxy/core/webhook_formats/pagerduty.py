"""`pagerduty`: an event of the Events API v2.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events (read 2026-11-30)
"""

from typing import Final

from proxy.core.notices import Json, Notice, facts_of, time_of
from proxy.core.webhook_formats.base import Format

_SUMMARY: Final = 1_024
"""Characters that are shown."""


def _body(notice: Notice, routing_key: bytes) -> Json:
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
            "timestamp": time_of(notice),
            "component": notice.state.agent or notice.key.session,
            "class": handoff.limit or handoff.code,
            "custom_details": facts_of(notice),
        },
    }


PAGERDUTY = Format("pagerduty", _body, own_key="the routing key")
