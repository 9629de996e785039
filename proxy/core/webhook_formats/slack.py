"""`slack`: the text of an incoming webhook.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (read 2026-11-30)
"""

from typing import Final

from proxy.core.notices import Json, Notice
from proxy.core.webhook_formats.base import Format

_TEXT: Final = 3_000
"""Characters of one message that are shown whole."""
_ESCAPED: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_PLAIN: Final = {"mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
"""A preview is fetched by Slack's robot, with whatever a model put into the link."""


def _body(notice: Notice, secret: bytes) -> Json:
    """Plain text: what a model wrote must neither format nor mention anybody, nor begin a line of
    its own."""
    handoff, held = notice.handoff, notice.handoff.held
    agent = f" ({notice.state.agent})" if notice.state.agent else ""
    lines = [f"Session {notice.key.session}{agent} waits for a human.", handoff.message]
    if held is not None:
        arguments = "".join([c if c.isprintable() else " " for c in held.arguments])
        lines.append(f"{held.tool}({arguments})")
    if notice.outcome is not None:
        lines.append(f"Meanwhile: {notice.outcome}.")
    return {"text": "\n".join(lines)[:_TEXT].translate(_ESCAPED), **_PLAIN}


SLACK = Format("slack", _body)
