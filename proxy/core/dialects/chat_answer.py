"""Puts an answer together, streamed or not, for chat completions and legacy completions."""

import msgspec

from proxy.core.dialects.chat_parts import Call, Choice, Said, read_parts
from proxy.core.usage import Answer, ToolCall

_BYTES_PER_ASCII_TOKEN = 4
_BYTES_PER_OTHER_TOKEN = 2  # a CJK character is 3 bytes and up to 1.3 tokens
_BYTES_PER_AUDIO_TOKEN = 1024  # base64; of 24 kHz, 16 bit PCM a token takes some 3 KB
_LEGACY_INDEX = -1  # of `function_call`, which has no index and no id


class _Call:
    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []


class _Choice:
    __slots__ = ("by_index", "calls", "finish_reason", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.calls: list[_Call] = []
        self.by_index: dict[int, _Call] = {}
        self.finish_reason: str | None = None

    def call_of(self, delta: Call, name: str) -> _Call:
        """The call that a delta goes on with. Without an index, a name or id begins a new one; so
        does another id with a name under a used index (Gemini numbers all parallel calls 0)."""
        if delta.index is None:
            known = None if (name or delta.id or not self.calls) else self.calls[-1]
        else:
            known = self.by_index.get(delta.index)
            if known and name and delta.id and known.call_id not in ("", delta.id):
                known = None
        if known is None:
            known = _Call()
            self.calls.append(known)
            if delta.index is not None:
                self.by_index[delta.index] = known
        return known


class AnswerBuilder:
    """What has come so far of one answer.

    committed: something has come that a client would show or act on. pieces: how often content
    came, each a token at the least. Of several choices, the answer is the first.
    """

    __slots__ = (
        "_ascii_bytes",
        "_audio_bytes",
        "_choices",
        "_open",
        "_other_bytes",
        "committed",
        "pieces",
    )

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._open = 0
        self._ascii_bytes = 0
        self._other_bytes = 0
        self._audio_bytes = 0
        self.committed = False
        self.pieces = 0

    @property
    def finished(self) -> bool:
        """Whether each choice that has been seen has its finish reason."""
        return bool(self._choices) and not self._open

    @property
    def tokens(self) -> int:
        """Estimated from the bytes that came; other scripts take more tokens a byte than ASCII."""
        return (
            -(-self._ascii_bytes // _BYTES_PER_ASCII_TOKEN)
            - (-self._other_bytes // _BYTES_PER_OTHER_TOKEN)
            - (-self._audio_bytes // _BYTES_PER_AUDIO_TOKEN)
        )

    def answer(self, response_id: str | None) -> Answer:
        if not self._choices:
            return Answer(response_id=response_id)
        first = self._choices[min(self._choices)]
        calls = (ToolCall(call.call_id, call.name, "".join(call.arguments)) for call in first.calls)
        return Answer("".join(first.text), tuple(calls), response_id, first.finish_reason)

    def take(self, choice: Choice, said: Said | None) -> None:
        """Adds one choice of a chunk (`said`: its delta) or of a whole answer (its message).

        Raises msgspec.DecodeError for content parts that are none.
        """
        index = choice.index or 0
        so_far = self._choices.get(index)
        if so_far is None:
            so_far = self._choices[index] = _Choice()
            self._open += 1
        size = self._ascii_bytes + self._other_bytes
        if said is not None:
            self._take_said(so_far, said)
        if choice.text:
            self._add_text(so_far, choice.text)
        self.pieces += self._ascii_bytes + self._other_bytes > size
        if choice.finish_reason is not None:
            self._open -= so_far.finish_reason is None
            so_far.finish_reason = choice.finish_reason

    def _take_said(self, so_far: _Choice, said: Said) -> None:
        if said.content:
            self._add_content(so_far, said.content)
        if reasoning := said.reasoning_content or said.reasoning:
            self._count(reasoning)
        if said.tool_calls:
            for call in said.tool_calls:
                self._add_call(so_far, call)
        self._take_rare(so_far, said)

    def _take_rare(self, so_far: _Choice, said: Said) -> None:
        if said.refusal:
            self._add_text(so_far, said.refusal)
        if said.reasoning_details:  # encrypted, or the same as `reasoning`
            self.committed = True
        if said.function_call is not None:
            self._add_call(so_far, Call(index=_LEGACY_INDEX, function=said.function_call))
        if said.audio:
            self._add_audio(said.audio)

    def _add_content(self, so_far: _Choice, content: str | list[msgspec.Raw]) -> None:
        if isinstance(content, str):
            self._add_text(so_far, content)
            return
        for part, raw in read_parts(content):
            if part.thinking:
                self._count(bytes(raw).decode())
            elif part.said:
                self._add_text(so_far, part.said)

    def _add_text(self, so_far: _Choice, text: str) -> None:
        so_far.text.append(text)
        self._count(text)

    def _add_call(self, so_far: _Choice, delta: Call) -> None:
        name, arguments = delta.called
        call = so_far.call_of(delta, name)
        call.call_id = call.call_id or delta.id or ""
        if not call.name:
            call.name = name
            self._count(name)
        call.arguments.append(arguments)
        self._count(arguments)

    def _add_audio(self, audio: dict[str, msgspec.Raw]) -> None:
        self.committed = True
        self._audio_bytes += sum(len(memoryview(part)) for part in audio.values())

    def _count(self, text: str) -> None:
        self.committed = True
        if text.isascii():
            self._ascii_bytes += len(text)
        else:
            ascii_bytes = len(text.encode("ascii", "ignore"))
            self._ascii_bytes += ascii_bytes
            self._other_bytes += len(text.encode()) - ascii_bytes
