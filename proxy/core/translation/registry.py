"""All translations by (the client's dialect, the one that is spoken). A new one is a line."""

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.request import DialectName
from proxy.core.translation.base import Translation

_TRANSLATIONS: Mapping[tuple[DialectName, DialectName], Translation] = MappingProxyType({})

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
