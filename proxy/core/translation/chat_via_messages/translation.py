"""The translation of chat clients' calls to a provider of the Messages API."""

from proxy.core.translation.base import StreamTranslation, Translation
from proxy.core.translation.chat_via_messages import answer, request
from proxy.core.translation.chat_via_messages.stream import ChatViaMessagesStream
from proxy.core.translation.errors import chat_error
from proxy.core.translation.json_values import translated


class _ChatViaMessages:
    def request(self, body: bytes, *, output_bound: int) -> bytes:
        return translated(lambda: request.translate(body, output_bound))

    def answer(self, body: bytes, *, asked: bytes, created: int) -> bytes:
        return answer.translate(body, created)

    def error(self, status: int, body: bytes) -> bytes:
        return chat_error(status, body)

    def stream(self, body: bytes, *, created: int) -> StreamTranslation:
        return ChatViaMessagesStream(created)


CHAT_VIA_MESSAGES: Translation = _ChatViaMessages()
