"""Calls of the Responses API that are answered by chat."""

from proxy.core.translation.base import StreamTranslation, Translation
from proxy.core.translation.responses_via_chat.answer import response_of
from proxy.core.translation.responses_via_chat.errors import error_of
from proxy.core.translation.responses_via_chat.request import chat_request
from proxy.core.translation.responses_via_chat.stream import ResponseStream


class _ResponsesViaChat:
    """Implements `Translation`."""

    def request(self, body: bytes, *, output_bound: int) -> bytes:
        return chat_request(body)

    def answer(self, body: bytes, *, asked: bytes, created: int) -> bytes:
        return response_of(body, asked, created)

    def error(self, status: int, body: bytes) -> bytes:
        return error_of(status, body)

    def stream(self, body: bytes, *, created: int) -> StreamTranslation:
        return ResponseStream(body, created)


RESPONSES_VIA_CHAT: Translation = _ResponsesViaChat()
