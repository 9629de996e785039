"""All translations by (the client's dialect, the one that is spoken). A new one is a line."""

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.request import DialectName
from proxy.core.translation.base import Translation
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from proxy.core.translation.composed import Composed
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT
from proxy.core.translation.responses_via_chat.translation import RESPONSES_VIA_CHAT

_TRANSLATIONS: Mapping[tuple[DialectName, DialectName], Translation] = MappingProxyType(
    {
        ("chat", "messages"): CHAT_VIA_MESSAGES,
        ("messages", "chat"): MESSAGES_VIA_CHAT,
        ("responses", "chat"): RESPONSES_VIA_CHAT,
        ("responses", "messages"): Composed(RESPONSES_VIA_CHAT, CHAT_VIA_MESSAGES),
    }
)

_PATHS: Mapping[DialectName, str] = MappingProxyType(
    {
        "chat": "/v1/chat/completions",
        "responses": "/v1/responses",
        "messages": "/v1/messages",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
    }
)


def translation(client: DialectName, spoken: DialectName) -> Translation | None:
    """None where both are the same, and where nobody translates."""
    return _TRANSLATIONS.get((client, spoken))


def path_of(spoken: DialectName) -> str:
    """Where a dialect is served."""
    return _PATHS[spoken]
