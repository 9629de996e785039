"""All dialects by name, in the order they are documented. A new one is a module and a line."""

from collections.abc import Mapping
from types import MappingProxyType

from proxy.core.dialects.base import Dialect
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.completions import COMPLETIONS
from proxy.core.dialects.embeddings import EMBEDDINGS
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
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
