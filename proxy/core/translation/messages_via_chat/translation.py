"""The translation of calls by clients of the Messages API to a provider of chat completions."""

from proxy.core.translation.base import StreamTranslation, Translation
from proxy.core.translation.errors import messages_error
from proxy.core.translation.json_values import translated
from proxy.core.translation.messages_via_chat import answer, request
from proxy.core.translation.messages_via_chat.stream import MessagesViaChatStream


class _MessagesViaChat:
    def request(self, body: bytes, *, output_bound: int) -> bytes:
        return translated(lambda: request.translate(body, output_bound))

    def answer(self, body: bytes, *, asked: bytes, created: int) -> bytes:
        return answer.translate(body, created)

    def error(self, status: int, body: bytes) -> bytes:
        return messages_error(status, body)

    def stream(self, body: bytes, *, created: int) -> StreamTranslation:
        return MessagesViaChatStream(created)


MESSAGES_VIA_CHAT: Translation = _MessagesViaChat()
