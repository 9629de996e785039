"""The state that OpenAI keeps between Responses calls: stored responses and conversations."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.simulator.conversation import Rejected, string
from proxy.simulator.ids import Ids
from proxy.simulator.tokens import Json

_MOST_RESPONSES = 10_000
_MOST_CONVERSATIONS = 1_000


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored response: what it was, what it followed, and the items that it adds."""

    body: Json
    previous: str | None
    items: tuple[object, ...]


class Memory:
    """Bounded; the oldest go first, and what followed a forgotten response cannot be continued."""

    def __init__(self) -> None:
        self._responses: OrderedDict[str, Stored] = OrderedDict()
        self._conversations: OrderedDict[str, tuple[object, ...]] = OrderedDict()

    def history(self, body: Json) -> tuple[object, ...]:
        """The items before this request's input. Raises Rejected where they are not known."""
        previous, conversation = body.get("previous_response_id"), conversation_of(body)
        if previous is not None and conversation is not None:
            raise Rejected(
                "Mutually exclusive parameters: 'previous_response_id' and 'conversation'.",
                "previous_response_id",
                "mutually_exclusive_parameters",
            )
        if conversation is not None:
            return self._of_conversation(conversation)
        return () if previous is None else self._before(string(previous))

    def store(self, response_id: str, stored: Stored, conversation: str | None) -> None:
        """Keeps a finished response."""
        self._responses[response_id] = stored
        if len(self._responses) > _MOST_RESPONSES:
            self._responses.popitem(last=False)
        if conversation is not None and conversation in self._conversations:
            self._conversations[conversation] += stored.items

    def response(self, response_id: str) -> Stored:
        """A stored response. Raises Rejected."""
        stored = self._responses.get(response_id)
        if stored is None:
            raise Rejected(f"Response with id '{response_id}' not found.", "id", status=404)
        return stored

    def forget(self, response_id: str) -> None:
        """Deletes a stored response. Raises Rejected."""
        self.response(response_id)
        del self._responses[response_id]

    def open_conversation(self, items: Sequence[object], ids: Ids) -> str:
        """A new conversation; its id."""
        conversation = ids.hexadecimal("conv_", 48)
        self._conversations[conversation] = tuple(items)
        if len(self._conversations) > _MOST_CONVERSATIONS:
            self._conversations.popitem(last=False)
        return conversation

    def _of_conversation(self, conversation: str) -> tuple[object, ...]:
        items = self._conversations.get(conversation)
        if items is None:
            raise Rejected(
                f"Conversation with id '{conversation}' not found.", "conversation", status=404
            )
        return items

    def _before(self, previous: str) -> tuple[object, ...]:
        parts: list[tuple[object, ...]] = []
        at: str | None = previous
        while at is not None:
            stored = self._responses.get(at)
            if stored is None:
                raise Rejected(
                    f"Previous response with id '{at}' not found.",
                    "previous_response_id",
                    "previous_response_not_found",
                )
            parts.append(stored.items)
            at = stored.previous
        return tuple(item for part in reversed(parts) for item in part)


def conversation_of(body: Json) -> str | None:
    """The id of the conversation that a request belongs to."""
    named = body.get("conversation")
    if isinstance(named, dict):
        named = named.get("id")
    return named if isinstance(named, str) else None
