"""All dialects by name, in the order they are documented. A new one is a module and a line."""

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.dialects import chat_parse, messages_request, reader, responses_request
from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.completions import COMPLETIONS
from proxy.core.dialects.embeddings import EMBEDDINGS
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.memo import Memo
from proxy.core.request import DialectName

DIALECTS: Mapping[DialectName, Dialect] = MappingProxyType(
    {
        "chat": CHAT,
        "responses": RESPONSES,
        "messages": MESSAGES,
        "completions": COMPLETIONS,
        "embeddings": EMBEDDINGS,
    }
)

_CONVERSATIONS: Mapping[DialectName, reader.Style] = MappingProxyType(
    {
        "chat": chat_parse.STYLE,
        "responses": responses_request.STYLE,
        "messages": messages_request.STYLE,
    }
)


def unread_bytes(dialect: DialectName, body: bytes, bounds: Bounds, memo: Memo) -> int:
    """About how much of a body `parse` has to read: little, where it goes on from a known one."""
    style = _CONVERSATIONS.get(dialect)
    return len(body) if style is None else reader.unread_bytes(style, body, bounds, memo)
