"""Fakes of the session-identity tests."""

from collections.abc import Mapping, Sequence

from proxy.core.canonical import digest, message_digest
from proxy.core.request import DialectName, Message, Request
from proxy.core.usage import ToolCall


class FakeLinkStore:
    """What stores do with links, in a dict; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._links: dict[tuple[str, bytes], tuple[str, ...]] = {}

    def persist(self, tenant: str, session: str, links: Sequence[bytes]) -> None:
        """As the settling append would."""
        for link in links:
            sessions = self._links.get((tenant, link), ())
            if session not in sessions:
                self._links[tenant, link] = (*sessions, session)[-8:]

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        self.asked += 1
        known = {link: self._links.get((tenant, link)) for link in links}
        return {link: sessions for link, sessions in known.items() if sessions}


def user(text: str) -> Message:
    return Message("user", text, message_digest("user", text))


def said(text: str, *calls: ToolCall) -> Message:
    """An answer as its client echoes it."""
    return Message("assistant", text, message_digest("assistant", text, calls), calls)


def result(call_id: str, text: str) -> Message:
    digest = message_digest("tool", text, tool_result_id=call_id)
    return Message("tool", text, digest, tool_result_id=call_id)


def request_of(
    *messages: Message,
    model: str = "m",
    dialect: DialectName = "chat",
    previous_response_id: str | None = None,
) -> Request:
    """A request whose body digest depends on its messages alone."""
    return Request(
        dialect=dialect,
        model=model,
        stream=False,
        messages=messages,
        output_bound=None,
        choices=1,
        text_bytes=0,
        previous_response_id=previous_response_id,
        body_digest=digest(b"".join([message.content_digest for message in messages])),
    )
