"""The provider's mind: from a request's body to what is answered and billed. Knows no HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from proxy.clock import Clock
from proxy.errors import UNREADABLE
from proxy.simulator import chat, chat_read, completions, messages, messages_read, responses_read
from proxy.simulator.answer import Answer, Event, Pace, Reply, Usage, compose
from proxy.simulator.cache import PromptCache
from proxy.simulator.conversation import Conversation, Dialect, Rejected
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.ids import Ids
from proxy.simulator.memory import Memory, Stored, conversation_of
from proxy.simulator.responses import Response, encode
from proxy.simulator.responses_read import input_items
from proxy.simulator.script import Actor, Turn
from proxy.simulator.tokens import Json, TokenCounter

_NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not "
    "valid JSON.)"
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer that has been decided on, and not yet been sent."""

    conversation: Conversation
    answer: Answer
    pace: Pace
    body: bytes = b""
    events: Iterator[Event] | None = None
    response: Response | None = None


class Provider:
    """Answers requests: reads them, asks the actor, counts tokens, remembers what is stored."""

    def __init__(self, actor: Actor, ids: Ids, clock: Clock, cache: PromptCache | None) -> None:
        self._actor, self._ids, self._clock, self._cache = actor, ids, clock, cache
        self._counter = TokenCounter()
        self.memory = Memory()

    def read(self, dialect: Dialect, raw: bytes) -> Conversation:
        """The request's view. Raises Rejected."""
        body = self.json_object(dialect, raw)
        match dialect:
            case "chat":
                return chat_read.read(body)
            case "responses":
                return responses_read.read(body, self.memory)
            case "messages":
                return messages_read.read(body)
            case "completions":
                return completions.read_completion(body)
            case "embeddings":
                return completions.read_embeddings(body)

    def json_object(self, dialect: Dialect, raw: bytes) -> Json:
        """The body as a JSON object. Raises Rejected."""
        try:
            body = msgspec.json.decode(raw)
        except UNREADABLE as error:
            text = f"The request body is not valid JSON: {error}"
            raise Rejected(text if dialect == "messages" else _NOT_JSON) from error
        if not isinstance(body, dict):
            raise Rejected("Invalid body: expected an object.")
        return body

    def count(self, raw: bytes) -> bytes:
        """The answer of `count_tokens`. Raises Rejected."""
        body = self.json_object("messages", raw)
        conversation = messages_read.read(body, counting=True)
        return msgspec.json.encode({"input_tokens": self._input(conversation).input_tokens})

    def turn(self, conversation: Conversation) -> Turn:
        """What the actor says to this request."""
        return self._actor.turn(conversation)

    def prepare(
        self, conversation: Conversation, turn: Turn, faults: tuple[Fault, ...]
    ) -> Prepared:
        """The whole answer, ready to be sent."""
        usage = self._input(conversation)
        pace = Pace(turn.latency_seconds, turn.first_token_seconds, turn.chunk_gap_seconds)
        pace = pace.slowed(faults)
        bounded = all(fault.kind is not FaultKind.IGNORE_BOUND for fault in faults)
        answer = compose(turn, conversation, usage, bounded=bounded)
        if conversation.dialect == "embeddings":
            answer = compose(Turn(), conversation, usage)
            body = completions.embeddings(conversation, usage)
            return Prepared(conversation, answer, pace, body)
        reply = Reply(conversation, answer, self._ids, int(self._clock.now()))
        response = Response(reply) if conversation.dialect == "responses" else None
        if conversation.stream:
            return Prepared(
                conversation, answer, pace, events=_events(reply, response), response=response
            )
        return Prepared(conversation, answer, pace, _whole(reply, response), response=response)

    def remember(self, prepared: Prepared) -> None:
        """Stores a response that has been sent whole, unless the client asked not to."""
        body = prepared.conversation.body or {}
        if prepared.response is None or body.get("store") is False:
            return
        previous = body.get("previous_response_id")
        stored = Stored(
            prepared.response.whole(),
            previous if isinstance(previous, str) else None,
            (*input_items(body), *prepared.response.items),
        )
        self.memory.store(prepared.response.id, stored, conversation_of(body))

    def stored_at_end(self, prepared: Prepared) -> Iterator[Event]:
        """The events of a stream; the response is stored before its last event can be read."""
        events = prepared.events or iter(())
        held = next(events, None)
        while held is not None:
            following = next(events, None)
            if following is None:
                self.remember(prepared)
            yield held
            held = following

    def _input(self, conversation: Conversation) -> Usage:
        tokens = [self._counter.part(part) for part in conversation.parts if part]
        total = sum(tokens)
        if self._cache is None:
            return Usage(total)
        parts = [part for part in conversation.parts if part]
        marked = conversation.dialect != "messages" or b"cache_control" in msgspec.json.encode(
            conversation.body
        )
        if not marked:
            return Usage(total)
        known = self._cache.read(conversation.model, parts, tokens)
        written = total - known if conversation.dialect == "messages" else 0
        return Usage(total, cache_read_tokens=known, cache_write_tokens=written)


def _whole(reply: Reply, response: Response | None) -> bytes:
    if response is not None:
        return encode(response.whole())
    if reply.conversation.dialect == "messages":
        return messages.whole(reply)
    if reply.conversation.dialect == "completions":
        return completions.completion(reply)
    return chat.whole(reply)


def _events(reply: Reply, response: Response | None) -> Iterator[Event]:
    if response is not None:
        return response.events()
    if reply.conversation.dialect == "messages":
        return messages.stream(reply)
    if reply.conversation.dialect == "completions":
        return completions.completion_stream(reply)
    return chat.stream(reply)
