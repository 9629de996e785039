"""`generic`: an envelope with all that is known."""

from proxy.core.notices import Json, Notice, facts_of, time_of
from proxy.core.webhook_formats.base import Format


def _body(notice: Notice, secret: bytes) -> Json:
    return {
        "type": "handoff.opened",
        "id": notice.handoff.handoff,
        "timestamp": time_of(notice),
        "data": facts_of(notice),
    }


GENERIC = Format("generic", _body)
