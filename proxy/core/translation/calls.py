"""Calls of tools: chat writes their arguments as a text, messages as an object; and their ids."""

import re
from collections import deque
from typing import Generic, TypeVar

import msgspec
import xxhash

from proxy.core.translation.json_values import is_given

UNPARSED = "INVALID_JSON"
"""Arguments that are no JSON object are kept under this key, as Anthropic advises
(https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming)."""

T = TypeVar("T")

_PLAIN = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST_CHARACTERS = 40
"""OpenAI refuses longer ids."""
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


class Unanswered(Generic[T]):
    """Which call a result is of, where ids come twice: some providers of chat number the calls of
    each answer anew, or give them none. A result is of the first call of its id that has none yet,
    and else of the last that had one."""

    def __init__(self) -> None:
        self._open: dict[str, deque[T]] = {}
        self._last: dict[str, T] = {}

    def called(self, call_id: str, call: T) -> None:
        self._open.setdefault(call_id, deque()).append(call)

    def call_of(self, call_id: str) -> T | None:
        """Takes in a result of this id."""
        waiting = self._open.get(call_id)
        if waiting:
            self._last[call_id] = waiting.popleft()
        return self._last.get(call_id)


def input_of(arguments: str) -> object:
    """The input of a call, in the very bytes that the arguments were written in."""
    if not arguments.strip():
        return {}
    try:
        _OBJECT.decode(arguments)
    except (ValueError, RecursionError):
        return {UNPARSED: arguments}
    return msgspec.Raw(arguments.encode())


def arguments_of(sent: msgspec.Raw) -> str:
    """The arguments of a call, in the very bytes that its input was sent in. Raises ValueError for
    what is no object."""
    if not is_given(sent):
        return "{}"
    members = _OBJECT.decode(sent)
    if list(members) == [UNPARSED] and bytes(members[UNPARSED]).startswith(b'"'):
        return _TEXT.decode(members[UNPARSED])
    return bytes(sent).decode()


def plain_id(sent: str) -> str:
    """The id where it is one that Anthropic takes, else one made of it."""
    return sent if _PLAIN.fullmatch(sent) else _made_of(sent)


def short_id(sent: str) -> str:
    """The id where it is one that OpenAI takes, else one made of it."""
    return sent if len(sent) <= _MOST_CHARACTERS else _made_of(sent)


def call_id_of(sent: str, answer_id: str, place: int, created: int) -> str:
    """The id of a call in an answer where it is one that Anthropic takes, should the client's next
    request go there; else one made up, the same for the same answer. Some providers give answers no
    id either: those of one session are told apart by when they were asked for."""
    if _PLAIN.fullmatch(sent):
        return sent
    seed = f"{answer_id}\n{created}\n{place}\n{sent}"
    return f"toolu_{xxhash.xxh3_64_hexdigest(seed.encode())}"


def _made_of(sent: str) -> str:
    return f"call_{xxhash.xxh3_128_hexdigest(sent.encode())}"
